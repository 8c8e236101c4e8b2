"""Calibration: whether 80 % sure means right four times in five, and the one number that mends it.

Temperature scaling, the expected calibration error and the reliability diagram are those of Guo, Pleiss, Sun and
Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017, arXiv 1706.04599).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.abstain import for_precision
from eyespot.bundle.store import Bundle, write_with_card
from eyespot.core.card import Card
from eyespot.errors import UsageError
from eyespot.image.readout import softmax

if TYPE_CHECKING:
    from eyespot.accuracy.evaluation import Evaluation

BINS = 15
LEAST_IMAGES = 20  # to calibrate a bundle on
COOLEST, HOTTEST = 0.05, 20.0  # bounds of a fitted temperature
_ROWS = 4096  # logits in float64 at the same time
_STEPS = 60  # Newton needs under ten; halving the bracket, the worst case, gives ten digits in 40


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """The T for which softmax(logits / T) fits best: the least negative log-likelihood, which is convex in 1 / T.

    logits: (n, classes), without a background class; targets: (n,), the right class of each row. Rows must be ones
    that the network was not trained on. T lies between 0.05 and 20.

    Few rows, or rows that are all right, would make T as small as it may be, and the network sure of everything. So
    each target counts as wrong by 1 / (n + 2), spread over all classes: an error rate of n pictures cannot be known to
    be smaller (Laplace's rule; Platt 1999 does the same for two classes). With many rows that vanishes. Where nothing
    can be fitted (no rows, one class, logits that are all the same) T is 1. UsageError for arrays that do not belong
    together or are not numbers.
    """
    targets = _checked(logits, targets)
    count, classes = logits.shape
    if not count or classes < 2:
        return 1.0
    low, high = 1 / HOTTEST, 1 / COOLEST
    sharpness = 1.0  # 1 / T
    for _ in range(_STEPS):
        slope, curvature = _slope(logits, targets, sharpness)
        if not slope and not curvature:
            return 1.0
        if slope > 0:
            high = sharpness
        else:
            low = sharpness
        step = sharpness - slope / curvature if curvature > 0 else low
        before, sharpness = sharpness, step if low < step < high else (low * high) ** 0.5
        if abs(sharpness - before) <= 1e-10 * before:
            break
    return float(min(max(1 / sharpness, COOLEST), HOTTEST))


def calibrated(
    card: Card, logits: NDArray[np.floating], targets: NDArray[np.integer], *, precision: float | None = None
) -> Card:
    """The card with the temperature that fits; for a wanted precision (0–1) also with the threshold that gives it.

    Arrays as for ``fit_temperature``. The threshold is chosen at the new temperature; it is None when no answers are
    right that often, or when no precision is asked for.
    """
    temperature = fit_temperature(logits, targets)
    threshold = None
    if precision is not None:
        probabilities = softmax(logits, temperature)
        kept = for_precision(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets, precision)
        threshold = kept.threshold if kept else None
    return replace(card, temperature=temperature, threshold=threshold)


def write_calibrated(bundle: Bundle, result: Evaluation, out: str | Path) -> Bundle:
    """The bundle with the temperature, and the threshold for ``result.wanted``, that fit an evaluation of it.

    Written to ``out``: a new directory, or the bundle's own, whose card is then replaced. UsageError where fewer than
    20 images count, or ones that the bundle was trained on, since it is surer of those.
    """
    if result.overlap is not None and result.overlap.counted:
        raise UsageError("every image was trained on, and the network is surer of those; calibrate on other images")
    if result.pictures < LEAST_IMAGES:
        raise UsageError(f"expected {LEAST_IMAGES} images or more to calibrate on, got {result.pictures}")
    card = calibrated(bundle.card, result.answers.logits, result.answers.targets, precision=result.wanted)
    return write_with_card(bundle, card, out)


def _slope(logits: NDArray[np.floating], targets: NDArray[np.int64], sharpness: float) -> tuple[float, float]:
    """First and second derivative, with respect to ``sharpness``, of the summed loss."""
    wrong = 1 / (len(targets) + 2)
    slope = curvature = 0.0
    for start in range(0, len(targets), _ROWS):
        rows = logits[start : start + _ROWS].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        powers = np.exp(rows * sharpness)
        powers /= powers.sum(axis=1, keepdims=True)
        expected = (powers * rows).sum(axis=1)
        right = rows[np.arange(len(rows)), targets[start : start + _ROWS]]
        slope += float((expected - (1 - wrong) * right - wrong * rows.mean(axis=1)).sum())
        curvature += float(((powers * np.square(rows)).sum(axis=1) - np.square(expected)).sum())
    return slope, curvature


class Bin(NamedTuple):
    """The pictures whose confidence lies in (low, high]; confidence and accuracy are their means, 0 for none."""

    low: float
    high: float
    pictures: int
    confidence: float
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        """The bin as JSON values."""
        return {
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "pictures": self.pictures,
            "confidence": round(self.confidence, 6),
            "accuracy": round(self.accuracy, 6),
        }


def reliability(confidences: NDArray[np.floating], right: NDArray[np.bool_], *, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal width over 0 to 1. confidences: (n,) the probability of each answer; right: (n,) whether it was."""
    if confidences.shape != right.shape or confidences.ndim != 1:
        raise UsageError(f"confidences are {confidences.shape}, right is {right.shape}; both must be (pictures,)")
    exact = confidences.astype(np.float64)
    if exact.size and not (exact.min() >= 0 and exact.max() <= 1):
        raise UsageError("confidences must be probabilities between 0 and 1; pass those of the readout")
    place = np.clip(np.ceil(exact * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=exact, minlength=bins)
    hits = np.bincount(place, weights=right.astype(np.float64), minlength=bins)
    each = np.maximum(counts, 1)
    return tuple(
        Bin(i / bins, (i + 1) / bins, int(counts[i]), float(sums[i] / each[i]), float(hits[i] / each[i]))
        for i in range(bins)
    )


def expected_error(bins: tuple[Bin, ...]) -> float:
    """The expected calibration error (ECE, 0–1): how far confidence and accuracy lie apart, over all pictures."""
    total = sum(b.pictures for b in bins)
    return sum(b.pictures * abs(b.accuracy - b.confidence) for b in bins) / total if total else 0.0


def _checked(logits: NDArray[np.floating], targets: NDArray[np.integer]) -> NDArray[np.int64]:
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise UsageError(f"logits are {logits.shape}, targets {targets.shape}; (n, classes) and (n,) are needed")
    if not np.isfinite(logits).all():
        raise UsageError("logits hold infinity or not-a-number; finite ones are needed: run eyespot verify")
    if len(targets) and not (targets.min() >= 0 and targets.max() < logits.shape[1]):
        raise UsageError(f"targets reach from {targets.min()} to {targets.max()}; there are {logits.shape[1]} classes")
    return targets.astype(np.int64)
