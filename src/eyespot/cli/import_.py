"""``eyespot import``: published or own weights become a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import arguments

if TYPE_CHECKING:
    from eyespot.core.labels import Labels


@click.command("import")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The bundle's directory.  [default: the cache]")
@click.option("--name", help="The bundle's name, architecture.recipe.")
@click.option("--arch", help="The architecture, where the file does not say it (see `eyespot show ARCH`).")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An argument of the architecture: size=160."
)
@click.option("--scheme", help="Whose names the tensors have: torchvision, timm, keras, gluon, …")
@click.option("--by-order", is_flag=True, help="The names say nothing; the tensors come in order of execution.")
@click.option("--pixels", help="How pixels become numbers: imagenet, tf, lite, caffe, unit, raw.")
@click.option("--labels", type=click.Path(path_type=Path), help="File of labels (lines or JSON), or imagenet_1k.")
@click.option("--background", is_flag=True, help="The first output is 'none of these' and has no line in --labels.")
@click.option("--licence", help="The weights' licence.")
@click.option("--replace", is_flag=True, help="Put it in the place of a bundle that is there.")
def command(
    weights: Path,
    out: Path | None,
    name: str | None,
    arch: str | None,
    settings: tuple[str, ...],
    scheme: str | None,
    by_order: bool,
    pixels: str | None,
    labels: Path | None,
    background: bool,
    licence: str | None,
    replace: bool,
) -> None:
    """Makes a bundle of WEIGHTS: .safetensors, .pth (torch), .npz, Keras' .h5 or .keras, or a model's directory.

    Files that are published need no options, nor do directories as on the Hugging Face hub.

    Without --out the bundle goes into the cache, where `--model NAME` finds it.
    """
    from eyespot.bundle.adopt import Request, adopt
    from eyespot.cli.terminal import note, number
    from eyespot.core.cost import cost

    request = Request(
        architecture=arch,
        arguments=arguments.settings(settings),
        scheme=scheme,
        by_order=by_order,
        name=name,
        pixels=pixels,
        labels=_labels(labels, background=background),
        licence=licence,
    )
    bundle = adopt(weights, out, request=request, replace=replace, say=note)
    total = cost(bundle.card.graph)
    click.echo(
        f"{bundle.path} holds {bundle.card.name}: {len(bundle.labels)} classes, {number(total.parameters)} parameters, "
        f"{number(total.macs)} MACs, {bundle.size() / 1e6:.1f} MB"
    )


def _labels(path: Path | None, *, background: bool) -> Labels | None:
    from eyespot.bundle.label_file import read_labels
    from eyespot.errors import UsageError

    if path is not None:
        return read_labels(path, background=background)
    if background:
        raise UsageError("--background goes with --labels; the published label sets know by themselves")
    return None
