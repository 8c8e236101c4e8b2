"""Two models on the same pictures: the drop in accuracy with the difference's interval, and how often they agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.interval import Interval


@dataclass(frozen=True, slots=True)
class Paired:
    """Shares are of ``pictures``, between 0 and 1. drop: top-1 before minus after, with its 95 % interval."""

    pictures: int
    before: float
    after: float
    drop: float
    drop_interval: Interval
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """The figures, to six digits."""
        return {
            "pictures": self.pictures,
            "top1_before": round(self.before, 6),
            "top1_after": round(self.after, 6),
            "drop": round(self.drop, 6),
            "drop_interval": [round(v, 6) for v in self.drop_interval],
            "agreement": round(self.agreement, 6),
        }


def paired(before: NDArray[np.int64], after: NDArray[np.int64], targets: NDArray[np.int64]) -> Paired:
    """Labels (n,) that two models gave to the same pictures, and the right ones."""
    right, now = before == targets, after == targets
    lost, won = int((right & ~now).sum()), int((now & ~right).sum())
    count = len(targets)
    drop = (lost - won) / count
    return Paired(
        count,
        float(right.mean()),
        float(now.mean()),
        drop,
        difference_interval(lost, won, count),
        float((before == after).mean()),
    )


def difference_interval(lost: int, won: int, count: int, z: float = 1.959964) -> Interval:
    """The 95 % interval of a difference of two shares of the same pictures.

    lost, won: pictures that only the first, only the second has right. Wald's interval with half a picture added to
    each of the four cells (Agresti and Min 2005), which holds for few pictures too.
    """
    b, c, n = lost + 0.5, won + 0.5, count + 2
    middle = (b - c) / n
    half = z * math.sqrt(max(b + c - (b - c) ** 2 / n, 0.0)) / n
    return max(middle - half, -1.0), min(middle + half, 1.0)
