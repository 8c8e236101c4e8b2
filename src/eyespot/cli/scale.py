"""``eyespot scale``: the width, depth and resolution with which a family spends a budget best."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import Quantity, settings

if TYPE_CHECKING:
    from eyespot.arch.scale import Candidate, Found


@click.command("scale")
@click.argument("name")
@click.option("--macs", type=Quantity(), help="At most so many multiply-accumulates a picture: 150M.")
@click.option("--parameters", type=Quantity(), help="At most so many parameters: 3M.")
@click.option("--memory", type=Quantity(), help="At most so many bytes of float32 activations at the peak: 2M.")
@click.option("--classes", type=click.IntRange(1), help="Outputs of the network; they count as parameters.")
@click.option("--set", "given", multiple=True, metavar="KEY=VALUE", help="An argument of the architecture: eps=0.001.")
@click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="How many networks to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per network, on a terminal too.")
def command(
    name: str,
    macs: float | None,
    parameters: float | None,
    memory: float | None,
    classes: int | None,
    given: tuple[str, ...],
    top: int,
    as_json: bool,
) -> None:
    """Finds the width, depth and picture size at which NAME, a family or a variant, spends a budget best.

    All budgets given are kept to. A thousand networks are weighed; the best uses most of the tightest budget with
    depth, width and resolution in balance, as EfficientNet's are.
    """
    from eyespot.arch.scale import search

    arguments = settings(given) | ({} if classes is None else {"classes": classes})
    found = search(name, macs=macs, parameters=parameters, peak_bytes=memory, arguments=arguments, count=top)
    if as_json or not sys.stdout.isatty():
        for candidate in found.candidates:
            click.echo(json.dumps(_as_json(found.name, candidate, arguments), ensure_ascii=False))
        return
    click.echo(_table(found))
    best = {**arguments, **found.candidates[0].arguments}
    click.echo(f"\nof {found.weighed:,} networks. The first, as a command and in Python:")
    click.echo(f"  {_command(found.name, best)}\n  eyespot.arch.catalogue.draw({found.name!r}, {best!r})")


def _as_json(name: str, candidate: Candidate, arguments: dict[str, object]) -> dict[str, Any]:
    return {
        "architecture": name,
        "arguments": {**arguments, **candidate.arguments},
        "parameters": candidate.cost.parameters,
        "macs": candidate.cost.macs,
        "peak_activation_bytes": candidate.cost.peak_activation_bytes,
        "unused": round(candidate.unused, 3),
        "imbalance": round(candidate.imbalance, 3),
    }


def _table(found: Found) -> str:
    rows = [["width", "depth", "size", "parameters", "MACs", "memory", "unused", "imbalance"]]
    for c in found.candidates:
        rows.append(
            [
                f"{c.width:g}",
                f"{c.depth:g}",
                str(c.size),
                terminal.number(c.cost.parameters),
                terminal.number(c.cost.macs),
                f"{terminal.number(c.cost.peak_activation_bytes)}B",
                f"{c.unused:.2f}",
                f"{c.imbalance:.2f}",
            ]
        )
    return terminal.table(rows, right=range(len(rows[0])))


def _command(name: str, arguments: dict[str, object]) -> str:
    words = [f"--set {shlex.quote(f'{key}={value}')}" for key, value in arguments.items()]
    return " ".join(["eyespot show", shlex.quote(name), *words])
