"""Abstaining: saying nothing where the network is not sure, so that what it does say is right as often as wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.interval import Interval, wilson
from eyespot.errors import UsageError


@dataclass(frozen=True, slots=True)
class Abstention:
    """What a threshold leaves: of ``pictures``, those answered are as probable as ``threshold`` or more."""

    threshold: float
    pictures: int
    answered: int
    right: int

    @property
    def precision(self) -> float:
        """How often an answer that is given is right."""
        return self.right / self.answered if self.answered else 0.0

    @property
    def coverage(self) -> float:
        """How often there is an answer."""
        return self.answered / self.pictures if self.pictures else 0.0

    @property
    def precision_interval(self) -> Interval:
        """Wilson's interval of ``precision``."""
        return wilson(self.right, self.answered)

    @property
    def coverage_interval(self) -> Interval:
        """Wilson's interval of ``coverage``."""
        return wilson(self.answered, self.pictures)

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values; the threshold with every digit, since it goes into a card."""
        return {
            "threshold": self.threshold,
            "answered": self.answered,
            "precision": round(self.precision, 6),
            "precision_interval": [round(v, 6) for v in self.precision_interval],
            "coverage": round(self.coverage, 6),
            "coverage_interval": [round(v, 6) for v in self.coverage_interval],
        }


def at_threshold(confidences: NDArray[np.floating], right: NDArray[np.bool_], threshold: float) -> Abstention:
    """What this threshold leaves. confidences: (n,) the probability of each answer; right: (n,) whether it was."""
    kept = confidences.astype(np.float64) >= threshold  # as Classification.certain compares
    return Abstention(threshold, len(right), int(kept.sum()), int((kept & right).sum()))


def for_precision(confidences: NDArray[np.floating], right: NDArray[np.bool_], precision: float) -> Abstention | None:
    """The lowest threshold at which the answers that are left are right as often as ``precision`` (0–1); None: none is.

    Chosen and counted on the same pictures, its precision flatters a little; count it on others (``at_threshold``).
    """
    steps = curve(confidences, right)
    if not 0 < precision <= 1:
        raise UsageError(f"a precision of {precision:g} was asked for; it must lie above 0 and be at most 1")
    good = [step for step in steps if step.right >= precision * step.answered]
    return good[-1] if good else None


def curve(confidences: NDArray[np.floating], right: NDArray[np.bool_]) -> list[Abstention]:
    """Every threshold that makes a difference, from the highest down; pictures of equal confidence stay together."""
    if confidences.shape != right.shape or confidences.ndim != 1:
        raise UsageError(f"confidences are {confidences.shape}, right is {right.shape}; both must be (pictures,)")
    order = np.argsort(-confidences, kind="stable")
    values, hits = confidences[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.zeros(0, np.int64)
    return [Abstention(float(values[i]), len(values), i + 1, int(hits[i])) for i in last.tolist()]
