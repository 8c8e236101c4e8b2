"""Whether a network gives the logits that travel with its weights; needs no Pillow, so it holds wherever one runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Goldens

# Shares of the logits' range. The runtime sums float32 in its own order; a few more layers or another instruction set
# move the last digits, a wrong layer moves the first.
LOGITS_BUDGET = 1e-4


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: what was found against what was allowed."""

    name: str
    passed: bool
    found: str


def check_logits(logits: NDArray[np.float32], goldens: Goldens) -> Check:
    """Logits (n, outputs) of the stored pixels, held against the reference's: near enough, and the same label."""
    spread = float(np.ptp(goldens.logits)) or 1.0
    error = float(np.abs(logits - goldens.logits).max()) / spread
    same = bool((logits.argmax(1) == goldens.logits.argmax(1)).all())
    found = f"differ by {error:.1e} of their range from the reference's (allowed {LOGITS_BUDGET:.0e})"
    return Check("logits", error <= LOGITS_BUDGET and same, found)
