"""Counts per class, averages over them, and what is taken for what: from right and given labels alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import UsageError

Indices = NDArray[np.integer]


class ClassCount(NamedTuple):
    """One class: how many pictures are of it, how many were said to be, and how many were both; by its index."""

    label: int
    support: int
    predicted: int
    right: int

    @property
    def precision(self) -> float | None:
        """Of the pictures said to be of this class, the share that is; None when none was."""
        return self.right / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Of the pictures of this class, the share that was said to be; None when there are none."""
        return self.right / self.support if self.support else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both, 2 · right / (support + predicted); None when the class came nowhere up."""
        return 2 * self.right / (self.support + self.predicted) if self.support + self.predicted else None


class Macro(NamedTuple):
    """Means over the classes that have pictures, each class counting the same; recall's is the balanced accuracy."""

    precision: float
    recall: float
    f1: float


class Confusion(NamedTuple):
    """How many pictures of one class were said to be of another."""

    target: int
    predicted: int
    pictures: int


def per_class(targets: Indices, predicted: Indices, classes: int) -> tuple[ClassCount, ...]:
    """The counts of every class that has pictures or was given as an answer, by index."""
    _check(targets, predicted, classes)
    support = np.bincount(targets, minlength=classes)
    said = np.bincount(predicted, minlength=classes)
    right = np.bincount(targets[targets == predicted], minlength=classes)
    return tuple(
        ClassCount(i, int(support[i]), int(said[i]), int(right[i])) for i in np.flatnonzero(support + said).tolist()
    )


def macro(counts: Sequence[ClassCount]) -> Macro:
    """Averages over the classes with pictures. A class that was never given as an answer has precision 0 here."""
    present = [c for c in counts if c.support]
    if not present:
        return Macro(0.0, 0.0, 0.0)
    means = (sum(getattr(c, name) or 0.0 for c in present) / len(present) for name in Macro._fields)
    return Macro(*means)


def confused(targets: Indices, predicted: Indices, classes: int) -> tuple[Confusion, ...]:
    """The pairs of classes that were taken for one another, the most frequent first."""
    _check(targets, predicted, classes)
    wrong = targets != predicted
    pairs = targets[wrong].astype(np.int64) * classes + predicted[wrong]
    found, counts = np.unique(pairs, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple(Confusion(*divmod(int(found[i]), classes), int(counts[i])) for i in order)


def confusion_matrix(targets: Indices, predicted: Indices, shown: Sequence[int], classes: int) -> NDArray[np.int64]:
    """Counts (right label, given label) for the classes in ``shown``, in their order."""
    _check(targets, predicted, classes)
    place = np.full(classes, -1, np.int64)
    place[list(shown)] = np.arange(len(shown))
    rows, columns = place[targets], place[predicted]
    both = (rows >= 0) & (columns >= 0)
    cells = np.bincount(rows[both] * len(shown) + columns[both], minlength=len(shown) ** 2)
    return cells.astype(np.int64).reshape(len(shown), len(shown))


def _check(targets: Indices, predicted: Indices, classes: int) -> None:
    if targets.shape != predicted.shape or targets.ndim != 1:
        raise UsageError(f"targets are {targets.shape}, answers {predicted.shape}; both must be (pictures,)")
    for name, values in (("targets", targets), ("answers", predicted)):
        if len(values) and not (values.min() >= 0 and values.max() < classes):
            raise UsageError(f"{name} reach from {values.min()} to {values.max()}; there are {classes} classes")
