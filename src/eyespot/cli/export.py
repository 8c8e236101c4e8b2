"""``eyespot export``: a bundle as a folder for another runtime, proven to answer as the bundle does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal

if TYPE_CHECKING:
    from eyespot.export.export import Exported
    from eyespot.export.formats import QuantizedWriter, Writer
    from eyespot.export.proof import Proof


@click.command("export")
@click.argument("bundle")
@click.option("--to", required=True, metavar="FORMAT", help="onnx, openvino, ncnn, litert, executorch, c, coreml.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Pictures to compare on: labelled ones as for evaluate, or a folder.  [default: the bundle's goldens alone]",
)
@click.option(
    "--pictures", default=200, show_default=True, type=click.IntRange(1), help="Of those, spread evenly, at the most."
)
@click.option("--max-error", type=click.FloatRange(0), help="Largest error of a logit, as a share of their range.")
@click.option("--min-agreement", type=click.FloatRange(0, 100), help="Per cent of equal labels, from 20 pictures on.")
@click.option(
    "--max-drop", default=0.5, show_default=True, type=click.FloatRange(-100, 100), help="Points of top-1 it may lose."
)
@click.option("--board", metavar="NAME", help="For c: whether it fits this board; an unknown name lists them.")
@click.option("--cc", metavar="COMMAND", help="For c: the compiler whose figures of flash and RAM are reported.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Inside one call.")
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0), help="Of timing; 0: none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
@click.option("--replace", is_flag=True, help="Put it in the place of an export that is there.")
def command(
    bundle: str,
    to: str,
    out: Path,
    data: Path | None,
    pictures: int,
    max_error: float | None,
    min_agreement: float | None,
    max_drop: float,
    board: str | None,
    cc: str | None,
    threads: int,
    seconds: float,
    as_json: bool,
    replace: bool,
) -> int:
    """Writes BUNDLE (a name or a directory) in another runtime's format and runs what was written, beside the bundle.

    The folder holds the format's files, labels, the contract of the pixels, goldens, an example program and the report.
    A file whose answers lie too far from the bundle's is removed, and the first layer where the two part is named. A
    bundle that `eyespot quantize` made is written in 8 bits.
    """
    from eyespot.bundle.resolve import open_bundle
    from eyespot.export.export import check_place, export, pictures_of
    from eyespot.export.formats import find_format

    format = find_format(to)
    format.needs()
    facts = _facts(to, board, cc)
    check_place(out, replace=replace)
    opened = open_bundle(bundle)
    usual = format.budgets[opened.card.precision == "int8"]
    budget = usual._replace(
        logits=usual.logits if max_error is None else max_error,
        middle=usual.middle if max_error is None else None,
        agreement=usual.agreement if min_agreement is None else min_agreement / 100,
        drop=max_drop / 100,
    )
    tower = tower_writers() if format.from_tower else (None, None)
    with terminal.Progress() as progress:
        shown = pictures_of(data, opened, most=pictures, say=progress.stage) if data else None
        done = export(
            opened, to, out, pictures=shown, threads=threads, seconds=seconds, budget=budget, facts=facts,
            writer=tower[0], quantized_writer=tower[1], replace=replace, say=progress.stage,
        )  # fmt: skip
    if as_json or not sys.stdout.isatty():
        click.echo(json.dumps({"out": str(done.path), **done.to_json()}, ensure_ascii=False))
    else:
        _print(done)
    for error in done.unreadable:
        click.echo(f"not counted: {error}", err=True)
    return 0


def tower_writers() -> tuple[Writer, QuantizedWriter]:
    """The writers that need torch, of float32 and of 8 bits."""
    from eyespot.errors import MissingExtra

    try:
        from eyespot.learn.executorch import quantized_to_executorch, to_executorch
    except ModuleNotFoundError:
        raise MissingExtra("--to executorch", "executorch") from None
    return to_executorch, quantized_to_executorch


def _facts(to: str, board: str | None, cc: str | None) -> Callable[[Path], Mapping[str, object]] | None:
    """What to find of the written folder for a board or with another compiler; None leaves that to the format."""
    if board is None and cc is None:
        return None
    from eyespot.errors import UsageError
    from eyespot.export.microcontroller import facts, find_board

    if to != "c":
        raise UsageError(f"--board and --cc are for --to c; {to} runs on no microcontroller: leave them out")
    chosen = find_board(board) if board else None
    return lambda folder: facts(folder, board=chosen, command=cc)


def _print(done: Exported) -> None:
    click.secho(f"{done.model} → {done.format}, {done.precision}", bold=True)
    rows = [["", "found", "allowed"]]
    proof = done.proof
    if proof is not None:
        budget = proof.budget
        found = f"{proof.pictures:,} pictures through {done.runtime}"
        rows += [
            ["compared on", found, ""],
            ["largest logit error", f"{proof.error:.1e} of their range", f"{budget.logits:.0e}"],
            ["top-1 agreement", f"{100 * proof.agreement:.2f} %", f"{100 * budget.agreement:g} %"],
        ]
        if proof.accuracy is not None:
            low, high = (100 * end for end in proof.accuracy.drop_interval)
            drop = f"{100 * proof.accuracy.drop:+.2f} points, 95 % {low:+.2f} … {high:+.2f}"
            rows += [["drop of top-1", drop, f"{100 * budget.drop:g}"]]
        rows += _latency(proof)
    rows += [["size", ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in done.sizes.items()), ""]]
    rows += [[name, str(value), ""] for name, value in (done.facts or {}).items()]
    click.echo(terminal.table(rows))
    for note in done.notes:
        click.echo(note)
    click.echo(f"{done.path} holds it, with labels, goldens and an example program")


def _latency(proof: Proof) -> list[list[str]]:
    if proof.milliseconds is None:
        return []
    source, exported = proof.milliseconds
    threads = f"{proof.threads} thread" + "s" * (proof.threads > 1)
    ratio = f"× {proof.ratio:.2f}"
    return [["latency", f"{exported:.2f} ms, the bundle on ONNX Runtime {source:.2f} ms ({ratio}), {threads}", ""]]
