"""Logits beside the goldens': what passes and what does not, in float32 and in 8 bits."""

import numpy as np
import pytest

from eyespot.bundle.store import Goldens
from eyespot.run.answers import check_logits

LOGITS = np.array([[0.0, 1.0, 10.0], [5.0, 4.5, 0.0]], np.float32)
GOLDENS = Goldens(b"", np.zeros((2, 1, 1, 3), np.uint8), LOGITS)


def moved(*by: float) -> np.ndarray:
    """The logits with the first of each picture moved by that share of their range."""
    logits = LOGITS.copy()
    logits[:, 0] -= np.array(by, np.float32) * np.ptp(LOGITS)
    return logits


@pytest.mark.parametrize(
    ("precision", "by", "passed"),
    [
        ("float32", (0.0, 0.0), True),
        ("float32", (5e-5, 5e-5), True),
        ("float32", (2e-4, 0.0), False),
        ("int8", (1e-2, 1e-2), True),
        ("int8", (1e-3, 4e-2), True),  # a rounding that fell to the other side in one picture
        ("int8", (3e-2, 4e-2), False),  # in every picture: another network
        ("int8", (0.0, 0.2), False),
        ("int8", (0.0, float("nan")), False),
    ],
)
def test_how_far_answers_may_be(precision, by, passed):
    assert check_logits(moved(*by), GOLDENS, precision=precision).passed is passed


def test_whole_numbers_are_held_to_equal_levels():
    assert check_logits(LOGITS, GOLDENS, precision="int8", equal_levels=True).passed
    near = moved(1e-4, 0.0)
    assert check_logits(near, GOLDENS, precision="int8").passed
    assert not check_logits(near, GOLDENS, precision="int8", equal_levels=True).passed


def test_a_label_may_change_in_8_bits_only_where_the_reference_hardly_prefers_it():
    close = LOGITS.copy()
    close[1] = 4.7, 4.8, 0.0
    assert check_logits(close, GOLDENS, precision="int8").passed
    assert not check_logits(close, GOLDENS).passed
    swapped = LOGITS[:, ::-1].copy()
    assert not check_logits(swapped, GOLDENS, precision="int8").passed
