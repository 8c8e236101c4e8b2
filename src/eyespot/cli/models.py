"""``eyespot models``: every network one can name, what it costs, how well it does, and whether its weights are here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import Quantity

if TYPE_CHECKING:
    from eyespot.bundle.listing import Listed

_HEAD = ("model", "parameters", "MACs", "memory", "input", "top-1", "top-5", "licence", "weights")
_SPARED = ("top-5", "licence", "memory", "parameters", "input")  # left out of a narrow terminal, in this order
_RIGHT = ("parameters", "MACs", "memory", "input", "top-1", "top-5")


@click.command("models")
@click.option("--max-macs", type=Quantity(), help="At most so many multiply-accumulates a picture: 300M.")
@click.option("--max-parameters", type=Quantity(), help="At most so many parameters: 5M.")
@click.option("--min-top1", type=click.FloatRange(0, 100), help="At least this top-1 on ImageNet, in per cent.")
@click.option("--family", "families", multiple=True, help="Of this family, or of all that begin so: mobilenet.")
@click.option("--here", is_flag=True, help="Only those whose weights are on this machine.")
@click.option("--all", "every", is_flag=True, help="Every published recipe, not one for each network.")
@click.option("--sort", metavar="KEY", help="name, family, parameters, macs, memory, input, top1, top5, weights; -KEY.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw accuracy against MACs to an .svg.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per network, on a terminal too.")
def command(
    max_macs: float | None,
    max_parameters: float | None,
    min_top1: float | None,
    families: tuple[str, ...],
    here: bool,
    every: bool,
    sort: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Lists the networks of the catalogue, and their published and own weights.

    A network with several recipes is shown with the one whose weights are nearest; --all shows them all.
    """
    from eyespot.bundle.listing import listing, nearest, ordered, select

    rows = select(
        listing(),
        max_macs=max_macs,
        max_parameters=max_parameters,
        min_top1=min_top1,
        families=families,
        here=here,
    )
    if plot is not None:
        drawn = [row for row in rows if row.imagenet_top1 is not None]
        _plot(plot, drawn if every else nearest(drawn))
    rows = rows if every else nearest(rows)
    rows = ordered(rows, sort) if sort is not None else rows
    if not rows:
        click.echo("no network is within these limits; loosen one of them", err=True)
    elif as_json or not sys.stdout.isatty():
        for row in rows:
            click.echo(json.dumps(row.to_json(), ensure_ascii=False))
    else:
        click.echo(_table(rows))


def _plot(path: Path, rows: list[Listed]) -> None:
    from eyespot.bundle.pareto import front, plot, plotted
    from eyespot.errors import UsageError

    if path.suffix.lower() != ".svg":
        raise UsageError(f"--plot {path} is not an .svg; the plot is written as SVG")
    points = plotted(rows)
    if not points:
        raise UsageError("nothing to plot: none of these networks has a published top-1 on ImageNet")
    try:
        path.write_text(plot(points), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    click.echo(f"{path} shows {len(points)} networks, {len(front(points))} of them on the Pareto front", err=True)


def _table(rows: list[Listed]) -> str:
    table = [list(_HEAD), *map(_cells, rows)]
    kept = list(range(len(_HEAD)))
    for spared in ("", *_SPARED):
        kept = [i for i in kept if _HEAD[i] != spared]
        if sum(max(terminal.width_of(row[i]) for row in table) + 2 for i in kept) - 2 <= terminal.columns():
            break
    right = [at for at, i in enumerate(kept) if _HEAD[i] in _RIGHT]
    head, *lines = terminal.table([[row[i] for i in kept] for row in table], right=right).splitlines()
    return "\n".join([click.style(head, bold=True), *lines, "", click.style(_legend(rows), dim=True)])


def _cells(row: Listed) -> list[str]:
    height, width = row.input
    size = "" if row.macs is None else str(height) if height == width else f"{height}×{width}"
    return [
        row.name,
        "" if row.parameters is None else terminal.number(row.parameters),
        "" if row.macs is None else terminal.number(row.macs),
        "" if row.peak_activation_bytes is None else f"{row.peak_activation_bytes / 1e6:.1f} MB",
        size,
        _per_cent(row.top1, row),
        _per_cent(row.top5, row),
        row.licence,
        "" if row.weights == "none" else row.weights,
    ]


def _per_cent(value: float | None, row: Listed) -> str:
    mark = "" if row.imagenet_top1 is not None else "*"
    return "" if value is None else f"{value:.1f}{mark}"


def _legend(rows: list[Listed]) -> str:
    meanings = {
        "built in": "in the package",
        "cached": "fetched or imported",
        "installed": "in an installed distribution",
        "fetch": "downloaded at first use",
        "pip": "in a distribution to install, which `eyespot classify -m` names",
        "import": "bring the file and run `eyespot import`",
        "damaged": "cannot be read",
        "blank": "figures only",
    }
    seen = {"blank" if row.weights == "none" else row.weights for row in rows}
    weights = "; ".join(f"{name}: {meaning}" for name, meaning in meanings.items() if name in seen)
    count = f"{len(rows)} network{'' if len(rows) == 1 else 's'}"
    other = any(row.top1 is not None and row.imagenet_top1 is None for row in rows)
    return "\n".join(
        [
            f"{count}. top-1 and top-5 in per cent on ImageNet-1K's validation pictures, as published"
            + (" (*: on another set, which --json names)" if other else ""),
            *([f"weights: {weights}"] if weights else []),
        ]
    )
