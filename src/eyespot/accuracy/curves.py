"""Two classes at every threshold: the ROC and the precision-recall curve, and the areas below them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import UsageError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Curves:
    """What every threshold on a score gives for one class against the other, from the strictest to the loosest.

    false_positives, recall (the true positive rate) and precision are shares, one for each score that occurs, after a
    first point where nothing is accepted. auc is the area under the ROC curve, with its 95 % interval (DeLong 1988);
    average_precision is the mean of precision over the steps of recall, without interpolation.
    """

    positives: int
    negatives: int
    auc: float
    auc_interval: tuple[float, float]
    average_precision: float
    false_positives: Floats = field(repr=False)
    recall: Floats = field(repr=False)
    precision: Floats = field(repr=False)


def curves(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Curves:
    """scores: (n,), higher for the positive class; positive: (n,). UsageError unless both classes have pictures."""
    if scores.shape != positive.shape or scores.ndim != 1:
        raise UsageError(f"scores are {scores.shape}, positive is {positive.shape}; both must be (pictures,)")
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        raise UsageError(f"{positives} pictures of one class and {negatives} of the other; curves need both")
    order = np.argsort(-scores, kind="stable")
    values, hits = scores[order], positive[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # equal scores are accepted together
    accepted = last + 1
    true = np.cumsum(hits)[last]
    recall, false = true / positives, (accepted - true) / negatives
    precision = true / accepted
    average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    auc, interval = _auc(scores, positive)
    return Curves(
        positives,
        negatives,
        auc,
        interval,
        average,
        np.concatenate([[0.0], false]),
        np.concatenate([[0.0], recall]),
        np.concatenate([[1.0], precision]),
    )


def _auc(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], z: float = 1.959964
) -> tuple[float, tuple[float, float]]:
    """The share of pairs in the right order, equal scores counting half, and its interval.

    DeLong, DeLong and Clarke-Pearson 1988 with the midranks of Sun and Xu 2014; on the logit scale, so that it stays
    inside 0 to 1. Where every pair is in order, or none, the spread says nothing: the bound is then that of as many
    trials as the smaller class has pictures (the rule of three).
    """
    high, low = scores[positive], scores[~positive]
    m, n = len(high), len(low)
    both = _midranks(np.concatenate([high, low]))
    of_high = (both[:m] - _midranks(high)) / n  # for each positive, the share of negatives below it
    of_low = 1 - (both[m:] - _midranks(low)) / m
    auc = float(of_high.mean())
    if auc in (0.0, 1.0):
        edge = 1 - 0.05 ** (1 / min(m, n))
        return auc, (1 - edge, 1.0) if auc else (0.0, edge)
    if min(m, n) < 2:
        return auc, (0.0, 1.0)
    spread = math.sqrt(of_high.var(ddof=1) / m + of_low.var(ddof=1) / n)
    middle, half = math.log(auc / (1 - auc)), z * spread / (auc * (1 - auc))
    return auc, (_sigmoid(middle - half), _sigmoid(middle + half))


def _midranks(values: NDArray[np.floating]) -> Floats:
    """The rank of each value from 1, equal ones sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: Floats = np.cumsum(counts) - (counts - 1) / 2
    return middle[inverse]


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))
