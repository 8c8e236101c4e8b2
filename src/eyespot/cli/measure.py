"""``eyespot measure``: what bundles take on this machine, and how sure that is."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import RUNTIME
from eyespot.errors import UsageError

if TYPE_CHECKING:
    from eyespot.core.roof import Roofline
    from eyespot.core.timing import Measurement, Samples
    from eyespot.measure.record import Effort, Way


@click.command("measure")
@click.argument("bundles", nargs=-1, required=True)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=RUNTIME,
    help="More than one: in turns.  [default: onnxruntime]",
)
@click.option("--threads", type=click.IntRange(1), help="Inside one call.  [default: one per core, up to eight]")
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Classify this one.  [default: the bundle's own, 18 kB]"
)
@click.option(
    "--seconds",
    default=4.0,
    show_default=True,
    type=click.FloatRange(0.01),
    help="For one picture at a time, each bundle.",
)
@click.option(
    "--turns", default=20, show_default=True, type=click.IntRange(1), help="In which bundles share that time."
)
@click.option("--warmup", default=5, show_default=True, type=click.IntRange(0), help="Runs before that, at the least.")
@click.option(
    "--cold-starts", default=5, show_default=True, type=click.IntRange(0), help="Fresh processes, each bundle."
)
@click.option("--quick", is_flag=True, help="One picture at a time only: no throughput, cold start, memory or peak.")
@click.option("--layers", is_flag=True, help="What each layer takes, and whether computing or memory binds it.")
@click.option("--on", "target", metavar="TARGET", help="Elsewhere: ssh:HOST, adb, or adb:SERIAL.")
@click.option("--python", default="python3", show_default=True, help="The interpreter there, for ssh.")
@click.option("--tool", type=click.Path(path_type=Path), help="The benchmark program to copy to the phone, for adb.")
@click.option("--model-file", type=click.Path(path_type=Path), help="The .tflite that LiteRT's program runs, for adb.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per bundle and runtime, on a terminal too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw every sample into this .svg.")
def command(
    bundles: tuple[str, ...],
    runtimes: tuple[str, ...],
    threads: int | None,
    picture: Path | None,
    seconds: float,
    turns: int,
    warmup: int,
    cold_starts: int,
    quick: bool,
    layers: bool,
    target: str | None,
    python: str,
    tool: Path | None,
    model_file: Path | None,
    as_json: bool,
    plot: Path | None,
) -> int:
    """Latency, throughput, cold start, memory and size of BUNDLES (names or directories), here or elsewhere.

    Two or more bundles, or runtimes, are measured in turns, so that their ratio holds on a busy machine. In a pipe, or
    with --json, each line is a JSON object with every sample. Doubts go to standard error. On another machine, ssh
    needs Python 3.11, numpy and onnxruntime there; adb needs ONNX Runtime's or LiteRT's own benchmark program.
    """
    if plot is not None and plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot {plot}: a name that ends in .svg was needed")
    effort = _effort(seconds, turns, warmup, cold_starts, threads, quick=quick, layers=layers)
    with terminal.Progress() as progress:
        say = _counting(progress.stage)
        if target is None or target.startswith("ssh:"):
            found = _by_python(bundles, runtimes, effort, picture, target, python, say)
        elif target == "adb" or target.startswith("adb:"):
            found = _by_adb(bundles, runtimes, effort, target, tool, model_file, say)
        else:
            raise UsageError(f"--on {target}: ssh:HOST, adb or adb:SERIAL was needed")
    if as_json or not sys.stdout.isatty():
        for line in _lines(found):
            click.echo(line)
    else:
        click.echo("\n\n".join(_alone(one, layers=layers) for one in found))
        if len(found) > 1:
            click.echo("\n" + _ratios(found))
    _doubt(found)
    if plot is not None:
        _draw(plot, found)
    return 0


def _effort(
    seconds: float, turns: int, warmup: int, cold_starts: int, threads: int | None, *, quick: bool, layers: bool
) -> Effort:
    from eyespot.measure.record import Effort

    if quick:
        return Effort(seconds, turns, warmup, cold_starts=0, throughput=0.0, threads=threads, roof=layers)
    return Effort(seconds, turns, warmup, cold_starts=cold_starts, throughput=seconds / 2, threads=threads)


def _by_python(
    bundles: tuple[str, ...],
    runtimes: tuple[str, ...],
    effort: Effort,
    picture: Path | None,
    target: str | None,
    python: str,
    say: Callable[[str], None],
) -> list[Measurement]:
    """Here, or on the machine that ``target`` names."""
    from eyespot.run.pictures import read_bytes

    data = read_bytes(picture) if picture else None
    ways = _ways(bundles, runtimes)
    if target is None:
        from eyespot.measure.latency import measure

        return measure(ways, effort=effort, picture=data, step=say)
    from eyespot.measure.remote import measure_by_ssh

    return measure_by_ssh(ways, target.removeprefix("ssh:"), python=python, effort=effort, picture=data, step=say)


def _by_adb(
    bundles: tuple[str, ...],
    runtimes: tuple[str, ...],
    effort: Effort,
    target: str,
    tool: Path | None,
    model_file: Path | None,
    say: Callable[[str], None],
) -> list[Measurement]:
    from eyespot.measure.phone import measure_by_adb, tool_for

    if runtimes:
        raise UsageError("--on adb takes no --runtime; the benchmark program decides it: name that with --tool")
    chosen = tool_for(tool, model_file)
    serial = target.removeprefix("adb").removeprefix(":")
    return measure_by_adb(_ways(bundles, ()), serial, tool=chosen, effort=effort, step=say)


def _ways(bundles: tuple[str, ...], runtimes: tuple[str, ...]) -> list[Way]:
    from eyespot.bundle.resolve import open_bundle
    from eyespot.measure.record import Way

    return [Way(open_bundle(name), runtime) for name in bundles for runtime in runtimes or ("onnxruntime",)]


def _counting(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says also how often something was done."""
    times: Counter[str] = Counter()

    def told(text: str) -> None:
        times[text] += 1
        say(f"{text} {times[text]}")

    return told


def _lines(found: list[Measurement]) -> list[str]:
    """A JSON object for each; those after the first say how many times as long they took."""
    from eyespot.core.timing import ratio

    first, *others = found
    lines = [first.to_json()]
    for one in others:
        against: dict[str, object] = {"bundle": first.bundle, "runtime": first.runtime}
        against["network"] = ratio(one.network, first.network).to_json()
        if one.latency and first.latency:
            against["latency"] = ratio(one.latency, first.latency).to_json()
        lines.append({**one.to_json(), "against": against})
    return [json.dumps(line, ensure_ascii=False) for line in lines]


def _alone(one: Measurement, *, layers: bool) -> str:
    """All figures of one measurement."""
    rows = [["", "median", "MAD", "p95", "p99", ""]]
    rows += [["network alone", *_times(one.network)]]
    if one.latency and one.picture:
        note = f"{one.picture.width}×{one.picture.height}, {one.picture.bytes / 1e3:,.0f} kB"
        rows += [["JPEG to label", *_times(one.latency)[:-1], f"{note}; {len(one.latency.values):,} runs"]]
    if one.cold:
        starts = f"{len(one.cold.values)} {_s(len(one.cold.values), 'start')} of a fresh process"
        rows += [["cold start", *_times(one.cold)[:-1], f"{starts}, files in the page cache"]]
    table = terminal.table(rows, right=(1, 2, 3, 4)).splitlines()
    facts = [["size", f"{one.size_bytes / 1e6:.1f} MB", f"of which model.onnx {one.model_bytes / 1e6:.1f} MB"]]
    if one.peak_memory_bytes:
        facts += [["peak memory", f"{one.peak_memory_bytes / 1e6:.0f} MB", "of a fresh process, Python and all"]]
    if one.throughput:
        facts += [["throughput", f"{one.throughput.median:.0f} /s", f"JPEG to label, {one.workers} at a time"]]
    speed = f"{one.macs / one.network.median / 1e6:.1f} G a second; {terminal.number(one.parameters)} parameters"
    facts += [["MACs", terminal.number(one.macs), speed]]
    if one.roofline:
        bounds = ", ".join(f"{name} {share:.0%}" for name, share in one.roofline.shares().items())
        facts += [["of the peak", f"{one.roofline.reach:.0%}", f"of this machine; the time is bound by {bounds}"]]
    parts = [click.style(_head(one), bold=True), *table, "", terminal.table(facts, right=(1,)), ""]
    parts += [_layers(one.roofline), ""] if layers and one.roofline else []
    return "\n".join([*parts, _where(one)])


def _layers(roof: Roofline) -> str:
    """The layers in order of execution, and the roof above them."""
    rows = [["layer", "kernel", "ms", "share", "MACs", "moved", "bound by", "of the roof"]]
    for layer in roof.layers:
        macs = terminal.number(layer.macs) if layer.macs else ""
        moved, reach = f"{layer.bytes / 1e3:,.0f} kB", f"{layer.reach:.0%}"
        row = [layer.name, layer.op, f"{layer.ms:.3f}", f"{layer.share:.1%}", macs, moved, layer.bound, reach]
        rows.append([terminal.fit(row[0], 36).rstrip(), *row[1:]])
    head, *lines = terminal.table(rows, right=(2, 3, 4, 5, 7)).splitlines()
    peaks = ", ".join(f"{rate:.0f} G MACs a second in {name}" for name, rate in roof.peak.gmacs.items())
    low, high = roof.peak.gbytes[-1][1], roof.peak.gbytes[0][1]
    threads = f"{roof.peak.threads} {_s(roof.peak.threads, 'thread')}"
    roofs = [f"the roof with {threads}: {peaks};", f"{low:.0f} GB/s from memory, {high:.0f} GB/s from the caches"]
    return "\n".join([click.style(head, bold=True), *lines, *(click.style(line, dim=True) for line in roofs)])


def _head(one: Measurement) -> str:
    threads = f"{one.threads} {_s(one.threads, 'thread')}"
    place = {"here": "", "ssh": ", by ssh", "adb": ", by adb"}[one.place]
    return f"{one.bundle}, {one.precision}, on {f'{one.runtime} {one.runtime_version}'.strip()}, {threads}{place}"


def _where(one: Measurement) -> str:
    machine = one.machine
    parts = [machine.processor, f"{machine.cores} of {machine.cores_present} {_s(machine.cores_present, 'core')}"]
    if machine.instructions:
        parts.append(" ".join(machine.instructions[-4:]))
    parts += [f"governor {machine.governor}"] if machine.governor else []
    others = one.conditions.others
    parts += [f"others took {others:.0%}"] if others is not None else []
    python = f", Python {machine.python}" if machine.python else ""
    return click.style(f"{', '.join(parts)}; {machine.system}{python}", dim=True)


def _times(samples: Samples) -> list[str]:
    figures = (samples.median, samples.mad, samples.p95, samples.p99)
    return [*(f"{value:{_precision(samples.median)}} ms" for value in figures), f"{len(samples.values):,} runs"]


def _precision(median: float) -> str:
    return ".3f" if median < 1 else ".2f" if median < 100 else ".0f"


def _s(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _ratios(found: list[Measurement]) -> str:
    from eyespot.core.timing import ratio

    first, *others = found
    rows = [[f"times as long as {_short(first, found)}", "network alone", "95 %", "JPEG to label", "95 %"]]
    for one in others:
        row = [_short(one, found)]
        for mine, theirs in ((one.network, first.network), (one.latency, first.latency)):
            if mine is None or theirs is None:
                row += ["", ""]
                continue
            found_ratio = ratio(mine, theirs)
            between = found_ratio.interval
            row += [f"{found_ratio.value:.3g}", f"{between[0]:.3g} – {between[1]:.3g}" if between else "too few turns"]
        rows.append(row)
    head, *lines = terminal.table(rows, right=(1, 3)).splitlines()
    return "\n".join([click.style(head, bold=True), *lines])


def _short(one: Measurement, found: list[Measurement]) -> str:
    return one.bundle if len({m.runtime for m in found}) == 1 else f"{one.bundle} on {one.runtime}"


def _doubt(found: list[Measurement]) -> None:
    """Each doubt once; whose it is where not all share it."""
    for one in found:
        for caution in one.cautions:
            shared = all(caution in other.cautions for other in found)
            if shared and one is not found[0]:
                continue
            whose = "" if shared else f"{_short(one, found)}: "
            click.echo(click.style("caution: ", fg="yellow") + f"{whose}{caution}", err=True)


def _draw(path: Path, found: list[Measurement]) -> None:
    from eyespot.measure.plot import plot

    staging = path.with_name(f".{path.name}.staging")
    try:
        staging.write_text(plot(found), encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        staging.unlink(missing_ok=True)
    click.echo(f"{path} shows every sample", err=True)
