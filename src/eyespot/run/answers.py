"""Whether a network gives the logits that travel with its weights; needs no Pillow, so it holds wherever one runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Goldens

# Shares of the logits' range. The runtime sums float32 in its own order; a few more layers or another instruction set
# move the last digits, a wrong layer moves the first.
LOGITS_BUDGET = 1e-4
# In 8 bits a sum that lies between two levels may go to either, and what follows takes the step along. (Measured: 0 to
# 1e-3 on one machine.) A processor that adds products in 16 bits overflows, and answers differ by tenths.
INT8_BUDGET = 2e-2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: what was found against what was allowed."""

    name: str
    passed: bool
    found: str


def check_logits(logits: NDArray[np.float32], goldens: Goldens, *, precision: str = "float32") -> Check:
    """Logits (n, outputs) of the stored pixels, held against the reference's: near enough, and the same label.

    precision: the card's. In int8 a label may also be one that the reference finds as likely, within the budget.
    """
    budget = INT8_BUDGET if precision == "int8" else LOGITS_BUDGET
    spread = float(np.ptp(goldens.logits)) or 1.0
    error = float(np.abs(logits - goldens.logits).max()) / spread
    labels = logits.argmax(1)
    same = labels == goldens.logits.argmax(1)
    if precision == "int8":
        short = goldens.logits.max(1) - goldens.logits[np.arange(len(labels)), labels]
        same |= short <= INT8_BUDGET * spread
    found = f"differ by {error:.1e} of their range from the reference's (allowed {budget:.0e})"
    return Check("logits", error <= budget and bool(same.all()), found)
