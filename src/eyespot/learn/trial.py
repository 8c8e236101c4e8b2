"""One training of a tournament: what it reached, and which of several reached more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eyespot.accuracy.interval import Interval, wilson
from eyespot.choose.training import Entry, Trained
from eyespot.core.recipe import Kind
from eyespot.learn.run import Run


@dataclass(frozen=True)
class Trial:
    """One training. seconds: that this call took; epochs: that it finished in all; epoch: seconds of one of them.
    sampled: on a sample of the pictures, so that its figure is for comparing with its like alone."""

    trained: Trained
    kind: Kind
    seconds: float
    epochs: int
    epoch: float
    sampled: bool


def judged(run: Run, entry: Entry, kind: Kind, seconds: float, *, stopped: bool, sampled: bool) -> Trial:
    """What a run reached: of one that is done, its verdict, else the best that was validated."""
    events: list[dict[str, Any]] = run.events()
    epochs = [event for event in events if event["event"] == "epoch"]
    result = run.result
    best_events = [event for event in events if event.get("best") or event["event"] == "probe"]
    top1 = next((event["top1"] for event in reversed(best_events) if event.get("top1") is not None), 0.0)
    interval: Interval | None
    if result is not None and result["top1"] is not None:
        top1, interval = result["top1"], tuple(result["top1_interval"])
    else:
        held = next((event.get("val", 0) for event in events if event["event"] == "start"), 0)
        interval = wilson(round(top1 * held), held)
    count = len(epochs)
    best = max((event.get("epoch", 0) for event in best_events), default=0)
    how = f"{kind} of {count} epoch{'' if count == 1 else 's'}" if best else "probe"
    how += " on a sample" if sampled else ""
    epoch = epochs[-1]["seconds"] / count if count else 0.0
    return Trial(Trained(entry, top1, interval, run.best, how, stopped), kind, seconds, count, epoch, sampled)


def epochs_of(run: Run) -> int:
    """How many are done."""
    return sum(event["event"] == "epoch" for event in run.events())


def by_accuracy(trial: Trial) -> tuple[float, float]:
    """The most accurate first; of equals, the fastest."""
    return -trial.trained.top1, trial.trained.entry.network_ms


def rank(trials: Sequence[Trial]) -> tuple[bool, tuple[float, float]]:
    """For halving: what was trained on all pictures goes before what was not."""
    whole = [trial for trial in trials if not trial.sampled]
    return not whole, min(map(by_accuracy, whole or trials), default=(0.0, math.inf))
