"""``eyespot show``: what a bundle, or an architecture, is."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import PictureSize, settings
from eyespot.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from eyespot.bundle.store import Bundle
    from eyespot.core.graph import Graph
    from eyespot.core.pixels import Preprocess


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
@click.option("--layers/--no-layers", default=True, help="The table of layers with their shapes and cost.")
@click.option("--size", type=PictureSize(), help="Draw an architecture for pictures of this side, or HEIGHTxWIDTH.")
@click.option("--classes", type=click.IntRange(1), help="Draw an architecture with so many outputs.")
@click.option("--set", "given", multiple=True, metavar="KEY=VALUE", help="An argument of the architecture: width=0.5.")
@click.option("--backbone", is_flag=True, help="An architecture up to its feature maps (taps), without its head.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write a diagram of the network there.")
def command(
    name: str,
    as_json: bool,
    layers: bool,
    size: int | tuple[int, int] | None,
    classes: int | None,
    given: tuple[str, ...],
    backbone: bool,
    svg: Path | None,
) -> None:
    """Says what NAME is: a bundle (its name or directory), an architecture, or FILE.py:FUNCTION.

    Input contract, labels, cost, licence, metrics, and every layer. FILE.py is run: it is your own file, and its
    FUNCTION returns a Graph.
    """
    from eyespot.arch.catalogue import draw, is_own, variants
    from eyespot.bundle.resolve import open_bundle

    arguments = settings(given)
    arguments |= {key: value for key, value in (("size", size), ("classes", classes)) if value is not None}
    plain = as_json or not sys.stdout.isatty()
    if (name in variants() or is_own(name)) and not Path(name).is_dir():
        graph = draw(name, arguments)
        if backbone:
            graph = graph.up_to(*graph.taps.values())
        _write_svg(svg, graph, name)
        _architecture(name, graph, plain=plain, layers=layers)
        return
    if arguments or backbone:
        options = [*_options(arguments), *(["--backbone"] if backbone else [])]
        raise UsageError(f"expected an architecture of the catalogue with {', '.join(options)}, got {name}")
    try:
        bundle = open_bundle(name)
    except UnknownName as error:
        raise _unknown(name, error) from None
    _write_svg(svg, bundle.card.graph, bundle.card.name)
    if plain:
        click.echo(json.dumps(_as_json(bundle, layers=layers), ensure_ascii=False))
        return
    click.secho(f"{bundle.card.name}, {bundle.card.task}, {bundle.card.precision}", bold=True)
    click.echo(_bundle_table(bundle))
    if layers:
        click.echo("\n" + _layer_table(bundle.card.graph.inference()))


def _unknown(name: str, error: UnknownName) -> UnknownName:
    """Says the nearest architectures too: both have names here."""
    from difflib import get_close_matches

    from eyespot.arch.catalogue import variants

    near = get_close_matches(name, variants(), n=3, cutoff=0.5)
    return UnknownName(f"{error} Architectures: {', '.join(near)}") if near else error


def _options(arguments: dict[str, object]) -> list[str]:
    return [f"--{key}" if key in ("size", "classes") else f"--set {key}" for key in arguments]


def _architecture(name: str, graph: Graph, *, plain: bool, layers: bool) -> None:
    """Prints a network without weights: as drawn, and what it costs where it is trained in branches that become one."""
    from eyespot.bundle.costs import deployed
    from eyespot.core.cost import cost

    runs = deployed(graph)
    if plain:
        data = {"architecture": name, **_structure(graph, layers=layers), "deployed": asdict(runs)}
        click.echo(json.dumps(data, ensure_ascii=False))
        return
    click.secho(f"{name}, an architecture without weights", bold=True)
    click.echo(_cost_table(graph))
    if runs != cost(graph):
        click.echo(
            f"  deployed     {runs.parameters:,} parameters, {terminal.number(runs.macs)} MACs: parallel branches are "
            "for training and become one"
        )
    if layers:
        click.echo("\n" + _layer_table(graph))


def _write_svg(path: Path | None, graph: Graph, name: str) -> None:
    from eyespot.lower.sketch.diagram import diagram

    if path is None:
        return
    if path.suffix.lower() != ".svg":
        raise UsageError(f"--svg {path} is not an .svg; the diagram is written as SVG")
    try:
        path.write_text(diagram(graph, name), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    click.echo(f"{path} shows {name}", err=True)


def _structure(graph: Graph, *, layers: bool) -> dict[str, Any]:
    from eyespot.core.cost import cost
    from eyespot.core.cost import layers as layer_costs

    total = cost(graph)
    data: dict[str, Any] = {
        "input": list(graph.input),
        "outputs": {name: list(graph.shape(name)) for name in graph.inference().outputs},
        "taps": {str(stride): name for stride, name in graph.taps.items()},
        "parameters": total.parameters,
        "macs": total.macs,
        "peak_activation_bytes": total.peak_activation_bytes,
        "digest": graph.digest,
    }
    if layers:
        data["layers"] = [
            {
                "name": row.node.name,
                "op": row.node.op.kind,
                "shape": list(row.node.shape),
                "parameters": row.parameters,
                "macs": row.macs,
            }
            for row in layer_costs(graph.inference())
        ]
    return data


def _as_json(bundle: Bundle, *, layers: bool) -> dict[str, Any]:
    card = bundle.card
    return {
        "bundle": str(bundle.path),
        "name": card.name,
        "task": card.task,
        "architecture": card.architecture,
        "arguments": dict(card.arguments),
        "precision": card.precision,
        "preprocess": card.preprocess.to_json(),
        "labels": {
            "count": len(bundle.labels),
            "source": bundle.labels.source,
            "background": bundle.labels.background,
            "names": list(bundle.labels.names),
        },
        "metrics": [
            {"name": m.name, "value": m.value, "data": m.data, "source": m.source, "interval": m.interval}
            for m in card.metrics
        ],
        "temperature": card.temperature,
        "threshold": card.threshold,
        "licence": card.licence,
        "source": card.source,
        "description": card.description,
        "parent": card.parent,
        "files": dict(card.files),
        "bytes": bundle.size(),
        **_structure(card.graph, layers=layers),
    }


def _bundle_table(bundle: Bundle) -> str:
    card, labels = bundle.card, bundle.labels
    arguments = ", ".join(f"{k}={v}" for k, v in card.arguments.items())
    rows = [
        ["  what", card.description or card.source],
        ["  architecture", f"{card.architecture}({arguments})"],
        ["  picture", _contract(card.preprocess)],
        ["  labels", f"{len(labels)}, {labels.source or 'unnamed source'}: {', '.join(labels.names[:4])}, …"],
        *([["  background", "the network's first output, dropped by the readout"]] if labels.background else []),
        *[[f"  {m.name}", f"{m.value:g} on {m.data} ({m.source}){_interval(m.interval)}"] for m in card.metrics],
        *(
            [["  calibrated", f"probabilities are softmax(logits / {card.temperature:g})"]]
            if card.temperature != 1
            else []
        ),
        *([["  certain", f"from a probability of {card.threshold:g} on"]] if card.threshold is not None else []),
        ["  licence", card.licence or "none stated"],
        ["  source", card.source or "unknown"],
        *([["  parent", card.parent]] if card.parent else []),
        ["  files", f"{bundle.path} ({bundle.size() / 1e6:.1f} MB)"],
    ]
    return terminal.table(rows) + "\n" + _cost_table(card.graph)


def _interval(interval: tuple[float, float] | None) -> str:
    return f", 95 % interval {interval[0]:g} – {interval[1]:g}" if interval else ""


def _contract(p: Preprocess) -> str:
    height, width = p.size
    geometry = {
        "crop": f"shorter side to {p.shorter_side}, centre {height}×{width}",
        "stretch": f"stretched to {height}×{width}",
        "letterbox": f"fitted into {height}×{width}",
    }[p.rule]
    means, stds = ("/".join(f"{v / p.scale:.4g}" for v in values) for values in (p.mean, p.std))
    antialias = "" if p.antialias else ", not antialiased"
    return f"{p.channels.upper()}, {geometry}, {p.filter}{antialias}, (pixel - {means}) / {stds}"


def _cost_table(graph: Graph) -> str:
    from eyespot.core.cost import cost

    total = cost(graph)
    return terminal.table(
        [
            ["  cost", f"{total.parameters:,} parameters, {terminal.number(total.macs)} MACs"],
            ["  activations", f"{total.peak_activation_bytes / 1e6:.2f} MB at the peak, float32, one picture"],
            ["  taps", ", ".join(f"stride {s}: {n}" for s, n in graph.taps.items()) or "none"],
            ["  digest", graph.digest[:16]],
        ]
    )


def _layer_table(graph: Graph) -> str:
    from eyespot.core.cost import layers

    rows = [["layer", "op", "output", "parameters", "MACs", ""]]
    costs = layers(graph)
    most = max(row.macs for row in costs) or 1
    for row in costs:
        shape = "×".join(map(str, row.node.shape))
        rows.append(
            [
                row.node.name,
                row.node.op.kind,
                shape,
                f"{row.parameters:,}" if row.parameters else "",
                terminal.number(row.macs) if row.macs else "",
                terminal.bar(row.macs / most, 10) if row.macs else "",
            ]
        )
    return terminal.table(rows, right=(3, 4))
