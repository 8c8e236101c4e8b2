"""Curves of two classes: by hand, by counting pairs, and an interval that holds as often as it says."""

import numpy as np
import pytest

from eyespot.accuracy.curves import curves
from eyespot.errors import UsageError
from tolerances import COVERED, PROBABILITY

SCORES = np.array([0.9, 0.8, 0.8, 0.3, 0.1], np.float32)
POSITIVE = np.array([True, True, False, True, False])


def test_five_pictures_by_hand():
    """Thresholds 0.9, 0.8 (two at once), 0.3, 0.1. Of the six pairs four and a half are in order."""
    got = curves(SCORES, POSITIVE)
    assert got.recall == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert got.false_positives == pytest.approx([0, 0, 1 / 2, 1 / 2, 1])
    assert got.precision == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])
    assert got.auc == pytest.approx(4.5 / 6, abs=PROBABILITY)
    assert got.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3, abs=PROBABILITY)
    assert (got.positives, got.negatives) == (3, 2)


def test_the_area_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(0)
    scores, positive = np.round(random.normal(size=300), 1), random.random(300) < 0.3
    high, low = scores[positive][:, None], scores[~positive]
    got = curves(scores, positive)
    assert got.auc == pytest.approx(((high > low) + (high == low) / 2).mean(), abs=PROBABILITY)
    trapezia = np.diff(got.false_positives) * (got.recall[1:] + got.recall[:-1]) / 2
    assert got.auc == pytest.approx(trapezia.sum(), abs=PROBABILITY)
    assert curves(-scores, ~positive).auc == pytest.approx(got.auc, abs=PROBABILITY)


def test_the_interval_holds_nineteen_times_in_twenty():
    """Normal scores one deviation apart: the area is the normal distribution at 1 / √2, 0.76025."""
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        positive = np.arange(60) < 25
        low, high = curves(random.normal(size=60) + positive, positive).auc_interval
        inside += low < 0.76025 < high
    assert abs(inside / 400 - 0.95) < COVERED


def test_perfect_order_and_none():
    positive = np.arange(30) < 10
    got = curves(positive.astype(float), positive)
    assert (got.auc, got.average_precision, got.auc_interval[1]) == (1.0, 1.0, 1.0)
    assert got.auc_interval[0] == pytest.approx(0.05**0.1)
    assert curves(-positive.astype(float), positive).auc_interval == pytest.approx((0, 1 - 0.05**0.1))
    assert curves(np.array([2.0, 1.0, 3.0]), np.array([True, False, False])).auc_interval == (0.0, 1.0)


@pytest.mark.parametrize("positive", [np.ones(3, bool), np.zeros(3, bool)])
def test_one_class_has_no_curve(positive):
    with pytest.raises(UsageError, match="curves need both"):
        curves(np.zeros(3), positive)
    with pytest.raises(UsageError, match=r"\(pictures,\)"):
        curves(np.zeros(2), positive)
