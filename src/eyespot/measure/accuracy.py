"""Top-1 and top-5 of a bundle on labelled pictures, each with its interval; the path is the one that serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eyespot.measure.dataset import Example
from eyespot.measure.interval import wilson
from eyespot.run.many import Failure, classify_many
from eyespot.run.predict import Model


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often the right label was the first, or among the first five, of the pictures that could be read."""

    model: str
    pictures: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    top5_interval: tuple[float, float]
    failures: tuple[Failure, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "model": self.model,
            "pictures": self.pictures,
            "top1": round(self.top1, 6),
            "top1_interval": [round(v, 6) for v in self.top1_interval],
            "top5": round(self.top5, 6),
            "top5_interval": [round(v, 6) for v in self.top5_interval],
            "unreadable": [failure.to_json() for failure in self.failures],
        }


def evaluate(
    model: Model,
    data: Sequence[Example],
    *,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Accuracy:
    """Classifies every example as ``eyespot classify`` would and counts; ``step`` is called after each."""
    first = fifth = 0
    failures = []
    outcomes = classify_many(model, (example.path for example in data), workers=workers)
    for example, outcome in zip(data, outcomes, strict=True):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            ranks = [p.index for p in outcome.top(5)]
            first += ranks[0] == example.target
            fifth += example.target in ranks
        step()
    count = len(data) - len(failures)
    return Accuracy(
        model.bundle.card.name,
        count,
        first / count if count else 0.0,
        wilson(first, count),
        fifth / count if count else 0.0,
        wilson(fifth, count),
        tuple(failures),
    )
