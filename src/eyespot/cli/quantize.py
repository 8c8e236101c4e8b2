"""``eyespot quantize``: a bundle in 8 bits that loses no more than was allowed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyespot.accuracy.paired import Paired
    from eyespot.lower.int8.plan import Ready
    from eyespot.lower.int8.quantized import Quantized
    from eyespot.shrink.ladder import Tune
    from eyespot.shrink.prune import Pruned
    from eyespot.shrink.quantize import Shrunk
    from eyespot.shrink.timing import Timed

_LISTED = 8  # of the noisiest layers


@click.command("quantize")
@click.argument("bundle")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled pictures, as for evaluate.")
@click.option(
    "--max-drop", default=0.5, show_default=True, type=click.FloatRange(-100, 100), help="Points of top-1 it may lose."
)
@click.option(
    "--min-agreement",
    default=90.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Per cent of the answers that must stay the same.",
)
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The new bundle's directory.  [default: the cache]")
@click.option(
    "--precision",
    default="int8",
    show_default=True,
    type=click.Choice(["int8", "int8-weights", "float16", "bfloat16"]),
    help="All but int8 make the file smaller only.",
)
@click.option(
    "--calibrate", default=100, show_default=True, type=click.IntRange(1), help="Pictures to choose ranges on."
)
@click.option(
    "--evaluate", default=1000, show_default=True, type=click.IntRange(1), help="Others to measure on, at the most."
)
@click.option(
    "--fine-tune",
    default=300,
    show_default=True,
    type=click.IntRange(0),
    help="Steps of the last resort, a training that knows of the rounding (needs torch); 0: none.",
)
@click.option("--integers-only", is_flag=True, help="No layer stays in float32, as a microcontroller needs.")
@click.option("--slower", is_flag=True, help="Write it even if it is slower than float32 on this machine.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
@click.option("--replace", is_flag=True, help="Put it in the place of a bundle that is there.")
def command(
    bundle: str,
    data: Path,
    max_drop: float,
    min_agreement: float,
    out: Path | None,
    precision: str,
    calibrate: int,
    evaluate: int,
    fine_tune: int,
    integers_only: bool,
    slower: bool,
    as_json: bool,
    replace: bool,
) -> int:
    """Makes an 8-bit bundle of BUNDLE (a name or a directory) whose top-1 on DATA falls by MAX-DROP points at most.

    Ranges are chosen on some of the pictures and the loss is measured on others. Step by step more is done (ranges,
    bias correction, equalising channels, sensitive layers in float32, rounding by answers, ranges tensor by tensor, a
    short fine-tune) until the loss holds. Then layers that are slower in 8 bits on this machine go back to float32.
    Exit code 1, and no bundle, when no step holds or the result would be slower than float32.
    """
    from eyespot.accuracy.dataset import examples
    from eyespot.bundle.build_quantized import name_of
    from eyespot.bundle.cache import bundle_directory
    from eyespot.bundle.resolve import open_bundle
    from eyespot.shrink.ladder import Limits
    from eyespot.shrink.quantize import Wish, quantize

    opened = open_bundle(bundle)
    limits = Limits(max_drop / 100, min_agreement / 100)
    wish = Wish(precision, limits, calibrate, evaluate, slower, integers_only)
    place = out or bundle_directory(name_of(opened.card.name, precision))
    tune, untuned = tuner(fine_tune)
    labelled = examples(data, opened.labels)
    with terminal.Progress() as progress:
        report = quantize(
            opened, labelled, place,
            wish=wish, replace=replace, tune=tune, untuned=untuned, say=progress.stage,
        )  # fmt: skip
    return close(report, as_json=as_json or not sys.stdout.isatty(), show=lambda: _print(report))


def close(report: Shrunk | Pruned, *, as_json: bool, show: Callable[[], None]) -> int:
    """Prints a report, as JSON or by ``show``, and what a person must know beside it; gives the exit code."""
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        show()
    for error in report.unreadable:
        click.echo(f"not counted: {error}", err=True)
    if report.bundle is None:
        click.echo(f"eyespot: no bundle was written: {report.why}", err=True)
        return 1
    return 0


def tuner(steps: int) -> tuple[Tune | None, str]:
    """(what fine-tunes with so many steps, or None, and why not). torch is loaded when it comes to that."""
    if not steps:
        return None, "--fine-tune is 0"
    if find_spec("torch") is None:
        return None, "it needs torch; run: pip install 'eyespot[train]'"

    def tune(
        ready: Ready, network: Quantized, pictures: NDArray[np.uint8], *, step: Callable[[int], None]
    ) -> Quantized:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as for `eyespot train`, and for its reason
        from eyespot.learn.quantize_aware import fine_tune

        return fine_tune(ready, network, pictures, steps=steps, step=step)

    return tune, ""


def _print(report: Shrunk) -> None:
    found = report.found
    click.secho(f"{report.model} → {report.precision}", bold=True)
    click.echo(
        f"{found.pictures:,} pictures measured on, {report.calibration:,} others calibrated on; "
        f"answers agree in {100 * found.agreement:.1f} %"
    )
    if report.trained_on is not None:
        trained = f"{report.trained_on:,} of them" if report.trained_on else "none of them"
        click.secho(f"The bundle was trained on {trained}.", fg="yellow" if report.trained_on else None)
    timed = report.timed
    rows = [
        ["", "before", "after", "", "95 % interval"],
        *([compared(f"top-1 %, {report.others.pictures} others", report.others)] if report.others else []),
        compared("top-1 %, all" if report.others else "top-1 %", found),
        ["ms", f"{timed.before:.2f}", f"{timed.after:.2f}", f"× {timed.ratio.value:.2f}", times(timed)],
        ["MB", *(f"{size / 1e6:.2f}" for size in report.sizes), f"× {report.sizes[1] / report.sizes[0]:.2f}", ""],
    ]
    click.echo(terminal.table(rows, right=(1, 2, 3)))
    if report.steps:
        click.echo("\n" + _steps(report))
    if report.untuned:
        click.echo(f"no fine-tune was tried: {report.untuned}")
    if report.noise:
        click.echo("\n" + _noise(report))
    if report.floats:
        click.echo("\nin float32: " + ", ".join(report.floats))
    if report.bundle is not None:
        click.echo(f"\n{report.bundle.path} holds {report.bundle.card.name}, {report.bundle.size() / 1e6:.1f} MB")


def compared(title: str, found: Paired) -> list[str]:
    """A row of top-1 before and after, in per cent, with the difference and its interval."""
    low, high = found.drop_interval
    return [title, f"{100 * found.before:.2f}", f"{100 * found.after:.2f}", points(-found.drop), ends(-high, -low)]


def _steps(report: Shrunk) -> str:
    rows = [["step", "divergence", "drop", "95 % interval", "agree %", ""]]
    for step in report.steps:
        row = [step.name, f"{step.divergence:.4f}"]
        if step.found is None:
            row += ["", "", "", "no nearer, left out"]
        else:
            interval = ends(*step.found.drop_interval)
            row += [
                points(step.found.drop),
                interval,
                f"{100 * step.found.agreement:.1f}",
                "holds" if step.held else "",
            ]
        rows.append(row)
    return terminal.table(rows, right=(1, 2, 4))


def _noise(report: Shrunk) -> str:
    worst = sorted(report.noise, key=lambda layer: layer.decibels)[:_LISTED]
    rows = [["noisiest layers", "signal to noise", ""]]
    rows += [[layer.name, f"{layer.decibels:.1f} dB", layer.precision] for layer in worst]
    return terminal.table(rows, right=(1,))


def times(timed: Timed) -> str:
    """The interval of a ratio of times, and the threads."""
    interval = "" if timed.ratio.interval is None else "× {:.2f} … {:.2f}".format(*timed.ratio.interval)
    return f"{interval}, {timed.threads} {'thread' if timed.threads == 1 else 'threads'}".removeprefix(", ")


def points(share: float) -> str:
    """A difference of shares, in points."""
    return f"{100 * share:+.2f}"


def ends(low: float, high: float) -> str:
    """An interval of such differences."""
    return f"{100 * low:+.2f} … {100 * high:+.2f}"
