"""Whether a network gives the logits that travel with its weights; needs no Pillow, so it holds wherever one runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Goldens

# Shares of the logits' range. The runtime sums float32 in its own order; a few more layers or another instruction set
# move the last digits, a wrong layer moves the first.
LOGITS_BUDGET = 1e-4
# In 8 bits a sum that lies between two levels may go to either, and what follows takes the step along. (Measured:
# hardly any goes elsewhere where all is integers; behind a layer in float some do for every picture, which mostly moves
# answers by less than 1e-2, for one in forty by up to 4e-2.) So the nearest answer must be within the first, all within
# the second. A processor that adds products in 16 bits overflows, and answers differ by tenths.
INT8_BUDGET, INT8_FARTHEST = 2e-2, 1e-1
# OpenVINO moves and merges the roundings between layers (measured on six networks: 3e-3 to 5e-2 of the range).
_OPENVINO = 1e-1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: what was found against what was allowed."""

    name: str
    passed: bool
    found: str


def check_logits(
    logits: NDArray[np.float32], goldens: Goldens, *, precision: str = "float32", runtime: str = "onnxruntime"
) -> Check:
    """Logits (n, outputs) of the stored pixels, held against the reference's: near enough, and the same label.

    precision: the card's. In int8 a label may also be one that the reference finds as likely, within the budget.
    """
    int8 = precision == "int8"
    nearest = _OPENVINO if runtime == "openvino" else INT8_BUDGET
    budget, farthest = (nearest, INT8_FARTHEST) if int8 else (LOGITS_BUDGET, LOGITS_BUDGET)
    spread = float(np.ptp(goldens.logits)) or 1.0
    errors = np.abs(logits - goldens.logits).max(1) / spread
    labels = logits.argmax(1)
    short = goldens.logits.max(1) - goldens.logits[np.arange(len(labels)), labels]
    same = short <= (farthest * spread if int8 else 0)
    within = float(errors.min()) <= budget and float(errors.max()) <= farthest
    allowed = f"{budget:.0e} for the nearest picture, {farthest:.0e} for all" if int8 else f"{budget:.0e}"
    found = f"differ by {errors.max():.1e} of their range from the reference's (allowed {allowed})"
    return Check("logits", within and bool(same.all()), found)
