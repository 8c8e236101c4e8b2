"""Pictures that stand out by themselves: blank, dark, blurred, or of an unusual size or shape.

A picture is held against limits of its own (blank, dark) or against the others of its collection (the rest, from
ENOUGH pictures on), so that a collection of thumbnails or of soft X-rays is not reported whole.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.data.look import Looks

Kind = Literal["blank", "dark", "blurred", "size", "shape"]

BLANK = 4.0  # a standard deviation of grey levels (0–255) below which there is nothing to see
DARK = 50.0  # a grey level that 99 % of the pixels do not exceed
BLURRED = 10.0  # times less variance of the Laplacian than the median picture has
TIMES = 2.0  # as large, as small or as long as the median picture is
SPREADS = 3.5  # and as many robust deviations (1.4826 times the median absolute one) away from it
ENOUGH = 8  # pictures, to hold one against the others

MEANING: dict[Kind, str] = {
    "blank": f"grey levels vary by less than {BLANK:g}",
    "dark": f"99 % of the pixels are at most {DARK:g} of 255",
    "blurred": f"the variance of the Laplacian is less than 1/{BLURRED:g} of the median",
    "size": f"the side is more than {TIMES:g} times the median, or less than half, and unlike the rest",
    "shape": f"it is more than {TIMES:g} times as long as the median picture for its width, and unlike the rest",
}


class Odd(NamedTuple):
    """A picture that stands out. text: what was measured, for a person; value: the same as a number."""

    name: str
    kind: Kind
    value: float
    text: str


def odd_ones(looks: Looks) -> tuple[Odd, ...]:
    """What stands out, by kind and name. A blank picture is not called dark or blurred too, nor a dark one blurred."""
    names = [sample.name for sample in looks.samples]
    blank = looks.spread < BLANK
    dark = (looks.light <= DARK) & ~blank
    found = [Odd(names[i], "blank", _round(looks.spread[i]), f"varies by {looks.spread[i]:.1f}") for i in _rows(blank)]
    found += [
        Odd(names[i], "dark", _round(looks.light[i]), f"at most {looks.light[i]:.0f} of 255") for i in _rows(dark)
    ]
    if len(looks) < ENOUGH:
        return tuple(sorted(found, key=_order))
    median = float(np.median(looks.sharpness))
    blurred = (looks.sharpness < median / BLURRED) & ~blank & ~dark
    found += [
        Odd(names[i], "blurred", _round(looks.sharpness[i]), f"sharpness {looks.sharpness[i]:.0f}, median {median:.0f}")
        for i in _rows(blurred)
    ]
    height, width = looks.sizes.T
    sides, lengths = np.sqrt(height * width), np.maximum(height, width) / np.minimum(height, width)
    unlike: tuple[tuple[Kind, NDArray[np.float64]], ...] = (("size", sides), ("shape", lengths))
    for kind, values in unlike:
        found += [
            Odd(names[i], kind, _round(values[i]), f"{width[i]}×{height[i]} pixels") for i in _rows(_unlike(values))
        ]
    return tuple(sorted(found, key=_order))


def _order(one: Odd) -> tuple[int, str]:
    return list(MEANING).index(one.kind), one.name


def _unlike(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    away = np.abs(np.log2(values) - np.median(np.log2(values)))
    far: NDArray[np.bool_] = away > max(np.log2(TIMES), SPREADS * 1.4826 * float(np.median(away)))
    return far


def _rows(mask: NDArray[np.bool_]) -> list[int]:
    return [int(row) for row in np.flatnonzero(mask)]


def _round(value: float) -> float:
    return round(float(value), 2)
