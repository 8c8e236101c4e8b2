"""Figures per class, by hand."""

import numpy as np
import pytest

from eyespot.accuracy.figures import confused, confusion_matrix, macro, per_class
from eyespot.errors import UsageError
from tolerances import PROBABILITY

# Of class 0 four pictures (three right, one taken for 2), of 1 two (both taken for 0), of 3 one, right.
TARGETS = np.array([0, 0, 0, 0, 1, 1, 3])
ANSWERS = np.array([0, 0, 0, 2, 0, 0, 3])


def test_counts_of_each_class():
    counts = per_class(TARGETS, ANSWERS, 6)
    assert [tuple(c) for c in counts] == [(0, 4, 5, 3), (1, 2, 0, 0), (2, 0, 1, 0), (3, 1, 1, 1)]
    assert [c.precision for c in counts] == [3 / 5, None, 0.0, 1.0]
    assert [c.recall for c in counts] == [3 / 4, 0.0, None, 1.0]
    assert [c.f1 for c in counts] == [6 / 9, 0.0, 0.0, 1.0]


def test_averages_are_over_the_classes_with_pictures():
    got = macro(per_class(TARGETS, ANSWERS, 6))
    assert got == pytest.approx(((0.6 + 0 + 1) / 3, (0.75 + 0 + 1) / 3, (6 / 9 + 0 + 1) / 3), abs=PROBABILITY)
    assert macro(()) == (0.0, 0.0, 0.0)


def test_what_is_taken_for_what():
    assert [tuple(c) for c in confused(TARGETS, ANSWERS, 6)] == [(1, 0, 2), (0, 2, 1)]
    assert confused(TARGETS, TARGETS, 6) == ()


def test_the_matrix():
    assert confusion_matrix(TARGETS, ANSWERS, [0, 1, 2, 3], 6).tolist() == [
        [3, 0, 1, 0],
        [2, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 1],
    ]
    assert confusion_matrix(TARGETS, ANSWERS, [3, 0], 6).tolist() == [[1, 0], [0, 3]]


@pytest.mark.parametrize("function", [per_class, confused])
def test_labels_that_cannot_be(function):
    with pytest.raises(UsageError, match="answers reach from 0 to 9; there are 4 classes"):
        function(np.array([0, 1]), np.array([0, 9]), 4)
    with pytest.raises(UsageError, match=r"\(pictures,\)"):
        function(np.array([0, 1]), np.array([0]), 4)
    assert function(np.zeros(0, int), np.zeros(0, int), 4) == ()
