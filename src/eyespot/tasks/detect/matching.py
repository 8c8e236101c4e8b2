"""Which detection hits which annotated box: COCO's rule, for all thresholds and size ranges at once.

Detections of a class in an image are taken from the best score down. Each takes the annotated box of that class that
it overlaps most (intersection over union), of those at the threshold or above that no better one has taken. A box
outside the size range, or a crowd, is ignored: it is taken only if nothing else can be, and the detection then counts
neither as right nor as wrong; nor does a detection without a box whose own size lies outside the range. In a crowd any
number of detections may lie, and their overlap is the share of the detection that lies in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.data.coco import Instances, Results

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # intersection over union
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST = 100  # detections of a class in an image that count

WRONG, RIGHT, IGNORED = 0, 1, 2


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """What became of each detection that counts, from the best score down, class by class.

    Attributes:
        image, category: Indices, (d,); ascending by category, then descending by score.
        rank: Place of a detection among those of its class in its image, from 0, (d,).
        outcome: (sizes, thresholds, d) int8: WRONG, RIGHT or IGNORED.
        counted: (sizes, boxes) bool: the annotated boxes that should be found.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    rank: NDArray[np.int64]
    outcome: NDArray[np.int8]
    counted: NDArray[np.bool_]


def match(results: Results, instances: Instances) -> Matches:
    """Matches detections with annotated boxes; at most ``MOST`` of a class in an image count."""
    order, rank = _ranked(results, len(instances.images))
    low, high = np.array(list(SIZES.values())).T
    ignored = instances.crowds | (instances.areas < low[:, None]) | (instances.areas > high[:, None])
    boxes = results.boxes[order]
    areas = boxes[:, 2] * boxes[:, 3]
    outside = (areas < low[:, None]) | (areas > high[:, None])
    outcome = np.where(outside, IGNORED, WRONG).astype(np.int8)[:, None].repeat(len(THRESHOLDS), 1)
    image, category = results.image[order], results.category[order]
    _take(outcome, _pairs(image, category, boxes, instances), ignored, instances.crowds)
    by_score = np.lexsort((-results.scores[order], category))
    return Matches(image[by_score], category[by_score], rank[by_score], outcome[..., by_score], ~ignored)


def _ranked(results: Results, images: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Detections by image, class and falling score, ties as in the file, and the place of each; those that count."""
    group = results.category * images + results.image
    order = np.lexsort((-results.scores, results.image, group))
    group = group[order]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    rank = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    counts = rank < MOST
    return order[counts], rank[counts]


class _Pairs(NamedTuple):
    """Detections and annotated boxes of one class in one image that overlap enough; ascending by detection, box."""

    detection: NDArray[np.int64]
    box: NDArray[np.int64]
    overlap: NDArray[np.float64]


def _pairs(
    image: NDArray[np.int64], category: NDArray[np.int64], boxes: NDArray[np.float64], instances: Instances
) -> _Pairs:
    of_detection = category * len(instances.images) + image
    of_box = instances.category * len(instances.images) + instances.image
    by_group = np.argsort(of_box, kind="stable")
    groups, starts = np.unique(of_detection, return_index=True)
    first, behind = (np.searchsorted(of_box[by_group], groups, side=side) for side in ("left", "right"))
    detections, known, shares = [], [], []
    stops = np.append(starts, len(image))[1:]
    for start, stop, low, high in zip(*(part.tolist() for part in (starts, stops, first, behind)), strict=True):
        if low == high:
            continue
        members = by_group[low:high]
        overlap = overlaps(boxes[start:stop], instances.boxes[members], instances.crowds[members])
        row, column = np.nonzero(overlap >= THRESHOLDS[0])
        detections.append(row + start)
        known.append(members[column])
        shares.append(overlap[row, column])
    if not detections:
        return _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return _Pairs(np.concatenate(detections), np.concatenate(known), np.concatenate(shares))


def overlaps(boxes: NDArray[np.float64], known: NDArray[np.float64], crowds: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of (n, 4) boxes with (m, 4) known ones, over the box itself for crowds: (n, m)."""
    corners = np.minimum(boxes[:, None, :2] + boxes[:, None, 2:], known[:, :2] + known[:, 2:])
    sides = np.maximum(corners - np.maximum(boxes[:, None, :2], known[:, :2]), 0)
    both = sides[..., 0] * sides[..., 1]
    area = (boxes[:, 2] * boxes[:, 3])[:, None]
    union = np.where(crowds, area, area + known[:, 2] * known[:, 3] - both)
    overlap: NDArray[np.float64] = np.divide(both, union, out=np.zeros_like(both), where=both > 0)
    return overlap


def _take(outcome: NDArray[np.int8], pairs: _Pairs, ignored: NDArray[np.bool_], crowds: NDArray[np.bool_]) -> None:
    """Gives each detection its box, in all size ranges and at all thresholds."""
    needed = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    given = np.where(ignored, IGNORED, RIGHT).astype(np.int8)
    of_detection, of_box = np.bincount(pairs.detection), np.bincount(pairs.box)
    alone = (of_detection[pairs.detection] == 1) & (of_box[pairs.box] == 1)
    detection, box, overlap = (part[alone] for part in pairs)
    outcome[..., detection] = np.where(overlap >= needed, given[:, None, box], outcome[..., detection])

    detection, box, overlap = (part[~alone] for part in pairs)
    taken = np.zeros((*outcome.shape[:2], len(crowds)), np.bool_)
    size, threshold = np.ogrid[: outcome.shape[0], : outcome.shape[1]]
    starts = np.flatnonzero(np.diff(detection, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(detection)]):
        known, share = box[start:stop], overlap[start:stop]
        free = (share >= needed) & (~taken[..., known] | crowds[known])
        # An ignored box is worth less than any other; the power of two keeps their order. Of equals the last is taken.
        worth = np.where(free, np.where(ignored[:, known], share * 2.0**-60, share)[:, None], -1.0)
        best = worth.shape[-1] - 1 - worth[..., ::-1].argmax(-1)
        hit = worth[size, threshold, best] > 0
        mine = known[best]
        taken[size, threshold, mine] |= hit
        outcome[..., detection[start]][hit] = given[size, mine][hit]
