"""Makes the bundle of a candidate that was ranked first, measures that very bundle, and keeps it if it is inside."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from eyespot.accuracy.dataset import Example
from eyespot.accuracy.evaluation import evaluate
from eyespot.bundle.resolve import open_bundle
from eyespot.bundle.store import CARD, Bundle, put_in_place, read
from eyespot.choose.budget import WORDS, Budget, Figures
from eyespot.choose.candidate import LOSS, Candidate
from eyespot.choose.device import Device
from eyespot.choose.search import Bench, Tried
from eyespot.choose.training import Trained
from eyespot.errors import EyespotError
from eyespot.measure.record import Way
from eyespot.run.predict import Model
from eyespot.shrink.ladder import Limits
from eyespot.shrink.quantize import Wish, quantize

_EVALUATED = 500  # pictures on which a quantized network's loss is measured, at the most
_FINAL, _FINAL_TURNS = 4.0, 10  # times as long as a candidate's measurement: as long as `eyespot measure` takes


class Delivered(NamedTuple):
    """A bundle inside the budget. top1: per cent, where it was measured; of: on what."""

    figures: Figures
    top1: float | None
    of: str


class _TimeUp(Exception):
    """Quantizing took longer than there was time."""


class Refused(NamedTuple):
    """Why there is none."""

    why: str


def deliver_trained(
    trained: Trained,
    tried: Tried,
    pictures: Sequence[Example],
    out: Path,
    budget: Budget,
    bench: Bench,
    *,
    until: float,
    say: Callable[[str], None],
) -> Delivered | Refused:
    """The trained network at the precision that was measured, as ``out``. ``pictures``: those it did not learn from.

    until: when, on the clock of ``time.monotonic``, quantizing must have ended.
    """

    def in_time(text: str) -> None:
        if time.monotonic() >= until:
            raise _TimeUp
        say(text)

    title, runtime = tried.candidate.title, tried.candidate.runtime
    with tempfile.TemporaryDirectory(prefix=".choose-", dir=out.parent) as folder:
        place = Path(folder) / "bundle"
        top1, of = trained.top1, f"pictures that it did not learn from ({trained.how})"
        if tried.candidate.precision == "int8":
            say(f"quantizing {trained.entry.name}")
            # Whether it is fast enough is for the budget to say, not for the float32 network's time.
            wish = Wish("int8", Limits(LOSS / 100), evaluate=_EVALUATED, slower=True)
            try:
                shrunk = quantize(read(trained.bundle), pictures, place, wish=wish, say=in_time)
            except EyespotError as error:
                return Refused(f"{title}: {error}")
            except _TimeUp:
                return Refused(f"{title}: quantizing it took longer than the time that was left; give more --minutes")
            if shrunk.bundle is None:
                return Refused(f"{title}: {shrunk.why}")
            top1, of = shrunk.found.after, f"{shrunk.found.pictures} pictures that it did not learn from"
            if runtime != "onnxruntime":  # which quantizing judged it by; this one rounds elsewhere
                say(f"evaluating {trained.entry.name} on {runtime}")
                with Model(read(place), runtime=runtime) as model:
                    found = evaluate(model, pictures)
                top1, of = found.top1, f"{found.pictures} pictures that it did not learn from, on {runtime}"
                if top1 < trained.top1 - LOSS / 100:
                    lost = 100 * (trained.top1 - top1)
                    return Refused(f"{title}: on {runtime} it lost {lost:.2f} points ({LOSS:g} are allowed)")
        else:
            shutil.copytree(trained.bundle, place)
        return _keep(read(place), tried.candidate, out, budget, bench, say, top1=100 * top1, of=of)


def deliver_published(
    tried: Tried, out: Path, budget: Budget, bench: Bench, *, say: Callable[[str], None]
) -> Delivered | Refused:
    """The published bundle, which must be ``ready``, as ``out``."""
    candidate = tried.candidate
    top1, of = candidate.expected, candidate.source
    with tempfile.TemporaryDirectory(prefix=".choose-", dir=out.parent) as folder:
        try:
            bundle = open_bundle(candidate.ready)
            lost = next((metric.value for metric in bundle.card.metrics if metric.name == "top1_drop"), None)
            if lost is not None and candidate.top1 is not None:
                top1, of = (
                    candidate.top1 - lost,
                    f"{of}, less the {lost:g} points that its int8 bundle was measured to lose",
                )
            place = Path(folder) / "bundle"
            place.mkdir()
            for name in (CARD, *bundle.card.files):
                shutil.copyfile(bundle.path / name, place / name)
            opened = read(place)
        except EyespotError as error:
            return Refused(f"{candidate.title}: {error}")
        return _keep(opened, candidate, out, budget, bench, say, top1=top1, of=of)


def how_to_get(candidate: Candidate, weights: str) -> list[str]:
    """Commands that bring a published network that choosing could not write."""
    commands = []
    if not candidate.start:
        by: dict[str, str] = {
            "fetch": f"eyespot fetch {candidate.name}",
            "pip": f"eyespot fetch {candidate.name}",
            "import": f"eyespot import FILE   # its publisher's file of weights; see `eyespot models {candidate.name}`",
        }
        sides = f"--set size={candidate.side}"
        otherwise = f"eyespot train PICTURES --model {candidate.architecture} --recipe scratch {sides} --out run"
        commands.append(by.get(weights, otherwise))
    if candidate.precision == "int8":
        commands.append(f"eyespot quantize {candidate.name} --data PICTURES --max-drop {LOSS:g}")
    return commands


def _keep(
    bundle: Bundle,
    candidate: Candidate,
    out: Path,
    budget: Budget,
    bench: Bench,
    say: Callable[[str], None],
    *,
    top1: float | None,
    of: str,
) -> Delivered | Refused:
    """Measured once more, as it is; moved to its place if that is inside the budget."""
    title = candidate.title
    say(f"measuring the bundle of {title}")
    device: Device = bench.device
    starts = int(budget.memory_bytes is not None)
    seconds = bench.effort.seconds * _FINAL
    effort = replace(bench.effort, seconds=seconds, turns=_FINAL_TURNS, cold_starts=starts)
    try:
        figures = Figures.of(device.measure([Way(bundle, candidate.runtime)], effort, bench.picture)[0])
    except EyespotError as error:  # it does not verify, say
        return Refused(f"{title}: {error}")
    exceeded = budget.exceeded(figures)
    if exceeded:
        worst = ", ".join(f"{WORDS[name]} × {share:.2f}" for name, share in exceeded.items())
        return Refused(f"{title}: its bundle, measured again, was outside ({worst})")
    put_in_place(bundle.path, out, replace=True)
    return Delivered(figures, top1, of)
