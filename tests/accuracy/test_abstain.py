"""Abstaining: the threshold for a wanted precision, by hand and by trying every one."""

import numpy as np
import pytest

from eyespot.accuracy.abstain import at_threshold, curve, for_precision
from eyespot.errors import UsageError

SURE = np.array([0.9, 0.9, 0.8, 0.7, 0.7, 0.6], np.float32)
RIGHT = np.array([True, True, False, True, True, False])


def test_every_threshold_that_makes_a_difference():
    assert [(step.answered, step.right) for step in curve(SURE, RIGHT)] == [(2, 2), (3, 2), (5, 4), (6, 4)]
    assert curve(np.zeros(0), np.zeros(0, bool)) == []


@pytest.mark.parametrize(("wanted", "answered"), [(1.0, 2), (0.9, 2), (0.8, 5), (0.5, 6)])
def test_the_lowest_threshold_that_is_good_enough(wanted, answered):
    found = for_precision(SURE, RIGHT, wanted)
    assert (found.answered, found.coverage) == (answered, answered / 6)
    assert found == at_threshold(SURE, RIGHT, found.threshold)


def test_a_precision_that_cannot_be_reached():
    assert for_precision(SURE, ~RIGHT, 0.9) is None
    assert for_precision(np.zeros(0), np.zeros(0, bool), 0.9) is None


def test_no_threshold_below_it_does():
    random = np.random.default_rng(0)
    sure = np.round(random.random(500), 2).astype(np.float32)
    right = random.random(500) < sure
    found = for_precision(sure, right, 0.8)
    for threshold in np.unique(sure):
        kept = sure >= threshold
        assert (right[kept].mean() >= 0.8) <= (threshold >= found.threshold)
    assert right[sure >= found.threshold].mean() == found.precision >= 0.8


def test_its_figures_as_json():
    assert at_threshold(SURE, RIGHT, 0.7).to_json() == {
        "threshold": 0.7,
        "answered": 3,
        "precision": 0.666667,
        "precision_interval": [0.207660, 0.938508],
        "coverage": 0.5,
        "coverage_interval": [0.187616, 0.812384],
    }
    assert at_threshold(SURE, RIGHT, 1.0).to_json()["precision_interval"] == [0.0, 1.0]


@pytest.mark.parametrize("precision", [0, -1, 1.1, float("nan")])
def test_no_precision(precision):
    with pytest.raises(UsageError, match="must lie above 0"):
        for_precision(SURE, RIGHT, precision)
    with pytest.raises(UsageError, match=r"\(pictures,\)"):
        curve(SURE, RIGHT[:2])
