"""Intervals: how sure a share of so many pictures is."""

from __future__ import annotations

import math

Interval = tuple[float, float]


def wilson(hits: int, count: int, z: float = 1.959964) -> Interval:
    """The 95 % interval of a share (Wilson 1927), which stays inside 0 to 1 and holds for small counts."""
    if not count:
        return 0.0, 1.0
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)
