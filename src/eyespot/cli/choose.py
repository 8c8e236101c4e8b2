"""``eyespot choose``: the most accurate network that was measured inside a budget."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import RUNTIME
from eyespot.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eyespot.choose.device import Device
    from eyespot.choose.outcome import Chosen
    from eyespot.choose.training import Trainer


class Amount(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A number with a unit: 8ms, 5MB."""

    def __init__(self, name: str, units: dict[str, float], example: str) -> None:
        self.name, self._units, self._example = name, units, example

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number in the first unit; a usage error when it is none."""
        if isinstance(value, (int, float)):
            return float(value)
        match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-zµ]*)\s*", str(value).lower())
        if match is None or match[2] not in self._units or not float(match[1]) > 0:
            self.fail(f"{value!r} is not an amount such as {self._example}", param, ctx)
        return float(match[1]) * self._units[match[2]]


DURATION = Amount("duration", {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}, "8ms or 0.5s")
SIZE = Amount("size", {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}, "5MB")


@click.command("choose")
@click.option("--latency-p95", type=DURATION, help="95 % of the runs, from JPEG to label, are faster: 8ms.")
@click.option("--latency", type=DURATION, help="Half of the runs are faster: 5ms.")
@click.option("--size", type=SIZE, help="Of the file that the runtime reads: 5MB.")
@click.option("--memory", type=SIZE, help="The most that a fresh process holds, Python and all: 120MB.")
@click.option("--data", type=click.Path(path_type=Path), help="Your own labelled pictures, as for train.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="A folder for the bundle and report.")
@click.option("--minutes", default=20.0, show_default=True, type=click.FloatRange(0.01), help="In all.")
@click.option("--family", "families", multiple=True, help="Only families that begin so; more than once.")
@click.option("--here", is_flag=True, help="Without --data: only networks whose weights are on this machine.")
@click.option(
    "--runtime", "runtimes", multiple=True, type=RUNTIME, help="More than one: each is tried.  [default: onnxruntime]"
)
@click.option("--group", help="As for train: pictures that stay on one side.")
@click.option("--threads", type=click.IntRange(1), help="Inside one call.  [default: one per core, up to eight]")
@click.option("--picture", type=click.Path(path_type=Path), help="Time this one.  [default: every bundle's, 18 kB]")
@click.option("--on", "target", metavar="TARGET", help="Measure elsewhere: ssh:HOST.")
@click.option("--python", default="python3", show_default=True, help="The interpreter there.")
@click.option("--fresh", is_flag=True, help="Measure anew what the cache knows of this machine.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object, on a terminal too.")
def command(
    latency_p95: float | None,
    latency: float | None,
    size: float | None,
    memory: float | None,
    data: Path | None,
    out: Path,
    minutes: float,
    families: tuple[str, ...],
    here: bool,
    runtimes: tuple[str, ...],
    group: str | None,
    threads: int | None,
    picture: Path | None,
    target: str | None,
    python: str,
    fresh: bool,
    as_json: bool,
) -> int:
    """Finds the most accurate network inside a budget, by measurement, and leaves it in OUT.

    Networks of all families, sizes and precisions are costed, those that may fit are measured with random weights, and
    those inside are ranked: by published accuracy, or, with --data, by training them on your pictures against one
    another. The winner is quantized where that is what fits, and measured again as the very bundle that is written.
    Interrupted, the same command goes on. Exit code 1 when nothing fits.
    """
    from eyespot.choose.budget import Budget
    from eyespot.choose.choose import WORK, Wants, choose
    from eyespot.run.pictures import read_bytes

    wants = Wants(
        Budget(latency_p95, latency, size, memory),
        minutes=minutes,
        families=families,
        here=here,
        runtimes=runtimes or ("onnxruntime",),
        threads=threads,
        fresh=fresh,
        picture=read_bytes(picture) if picture else None,
    )
    device = _device(target, python)
    try:
        with terminal.Progress() as progress:
            trainer = None if data is None else _trainer(data, out / WORK, threads, group, progress.stage)
            chosen = choose(wants, out, trainer=trainer, device=device, say=progress.stage)
    except KeyboardInterrupt:
        click.echo("eyespot: interrupted; the same command goes on", err=True)
        return 130
    if as_json or not sys.stdout.isatty():
        click.echo(json.dumps(chosen.to_json(), ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(chosen, out)))
    for text in chosen.notes:
        terminal.note(text)
    return 0 if chosen.choice is not None else 1


def _device(target: str | None, python: str) -> Device:
    from eyespot.choose.device import Here, Ssh

    if target is None:
        return Here()
    if not target.startswith("ssh:"):
        raise UsageError(
            f"--on {target}: ssh:HOST was needed; a phone runs no Python: choose here, then measure what was chosen "
            "there with `eyespot measure --on adb`"
        )
    return Ssh(target.removeprefix("ssh:"), python=python)


def _trainer(data: Path, work: Path, threads: int | None, group: str | None, say: Callable[[str], None]) -> Trainer:
    """The torch tower's; MissingExtra where torch is not installed."""
    from eyespot.cli.train import load_torch

    load_torch("eyespot choose --data")
    from eyespot.learn.tournament import Tournament

    return Tournament(data, work, threads=threads, group=group, say=say)


def _lines(chosen: Chosen, out: Path) -> list[str]:
    """What a person reads."""
    from eyespot.choose.budget import HEADROOM, WORDS, amount
    from eyespot.choose.outcome import table

    rows = table(chosen)
    head, *others = terminal.table(rows, right=range(3, len(rows[0]) - 1)).splitlines()
    limits = ", ".join(f"{WORDS[name]} {amount(name, value)}" for name, value in chosen.budget.to_json().items())
    lines = [f"budget: {limits}", click.style(head, bold=True), *others, ""]
    row = chosen.chosen
    if row is None:
        inside = any(one.inside for one in chosen.rows)
        lines.append(click.style("nothing was chosen" if inside else "none fits", fg="red"))
    else:
        top1 = "" if chosen.top1 is None else f": top-1 {chosen.top1:.1f} %, {chosen.top1_of}"
        lines.append(f"chosen: {click.style(row.title, bold=True)}{top1}")
    if chosen.figures is not None:
        figures = chosen.figures
        memory = f", {figures.memory_bytes / 1e6:.0f} MB of memory" if figures.memory_bytes else ""
        lines.append(
            f"measured again: median {figures.median_ms:.2f} ms, p95 {figures.p95_ms:.2f} ms, "
            f"{figures.model_bytes / 1e6:.1f} MB{memory}"
        )
        lines.append(f"written: {out / (chosen.bundle or '')}")
    lines += [f"to get it: {line}" for line in chosen.to_do]
    for better in chosen.better:
        top1 = "" if better.top1 is None else f", top-1 {better.top1:.1f} %"
        lines += [f"better: {better.title}{top1}", *(f"  to get it: {line}" for line in better.to_do)]
    lines.append(f"timed: {chosen.timed}; {1 - HEADROOM:.0%} of a latency is kept free")
    load = "" if chosen.load is None else f"; load {chosen.load:.1f}"
    lines.append(f"machine: {chosen.machine}{load}")
    lines += [f"not measured: {count}, {why}" for why, count in chosen.left_out.items()]
    lines.append(f"{out} holds report.json, table.txt and plot.svg; {chosen.seconds:.0f} seconds")
    return lines
