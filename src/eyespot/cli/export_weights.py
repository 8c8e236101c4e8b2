"""``eyespot export-weights``: a bundle's weights with the names that another library gives them."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export-weights")
@click.argument("name")
@click.option(
    "--as",
    "source",
    required=True,
    help="Whose names: torchvision, timm, keras, transformers; for ShuffleNet V1 mmpretrain, pytorchcv.",
)
@click.option(
    "--out",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    help=".safetensors or .pth; for Keras .weights.h5 or .h5.",
)
@click.option("--replace", is_flag=True, help="Overwrite a file that is there.")
def command(name: str, source: str, out: Path, replace: bool) -> None:
    """Writes the weights of the bundle NAME as another library names them, which loads them strictly.

    A network that would compute something else there, because it pads otherwise, is refused.
    """
    from eyespot.bundle.export import export_weights
    from eyespot.bundle.resolve import open_bundle

    done = export_weights(open_bundle(name), source, out, replace_file=replace)
    click.echo(f"{done.path} holds {done.tensors} tensors as {done.scheme} names them; load them with")
    click.echo(f"  {done.load}")
