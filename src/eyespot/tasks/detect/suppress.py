"""Non-maximum suppression: of boxes of a class that cover one another, the best score stays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_CANDIDATES = 1000  # decoded and compared; the best ones

Floats = NDArray[np.float32]


class Candidates(NamedTuple):
    """Boxes that a network proposes for one image, before suppression.

    Attributes:
        boxes: (n, 4) float32: left, top, right, bottom, in pixels of the network's input.
        scores: (n,) float32, 0 to 1.
        classes: (n,) int64.
        place: (n,) int64, the number among all that the network can propose; equal scores are ordered by it, so that
            every runtime gives the same boxes.
    """

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]
    place: NDArray[np.int64]


def suppress(candidates: Candidates, *, iou: float = 0.45, most: int = 100) -> NDArray[np.int64]:
    """Which candidates stay, the best score first.

    Args:
        candidates: What a decoder gives.
        iou: Intersection over union from above which the box with the lower score goes, 0 to 1.
        most: Boxes that stay at most.

    Returns:
        Indices into ``candidates``, (m,).
    """
    order = np.lexsort((candidates.place, -candidates.scores))[:MOST_CANDIDATES]
    classes = candidates.classes[order]
    stays = np.zeros(len(order), np.bool_)
    for one in np.unique(classes):
        members = np.flatnonzero(classes == one)
        stays[members[_best(candidates.boxes[order[members]], iou, most)]] = True
    return order[stays][:most]


def _best(boxes: Floats, iou: float, most: int) -> list[int]:
    """Of boxes of one class, best first, those that no better one covers."""
    left, top, right, bottom = boxes.T
    area = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    alive = np.ones(len(boxes), np.bool_)
    best: list[int] = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        best.append(i)
        if len(best) == most:
            break
        width = np.minimum(right[i], right) - np.maximum(left[i], left)
        height = np.minimum(bottom[i], bottom) - np.maximum(top[i], top)
        both = np.maximum(width, 0) * np.maximum(height, 0)
        alive &= both <= iou * (area[i] + area - both)
    return best
