"""How the maps of Darknet's ``[yolo]`` and ``[region]`` layers become boxes (1612.08242, 1804.02767)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eyespot.tasks.detect.suppress import MOST_CANDIDATES, Candidates, Floats
from eyespot.weights.darknet_cfg import DarknetHead


def darknet_candidates(
    outputs: Mapping[str, Floats], heads: Sequence[DarknetHead], size: tuple[int, int], *, confidence: float = 0.25
) -> Candidates:
    """The boxes of one image whose score is ``confidence`` or more; a box may stand for several classes.

    Args:
        outputs: Each head's map by its node's name, (channels, height, width).
        heads: What the maps mean.
        size: (height, width) of the network's input in pixels.
        confidence: The least score: of an object being there times its class, above 0 and below 1.
    """
    parts = []
    first = 0
    for head in heads:
        parts.append(_of_head(outputs[head.output], head, size, confidence, first))
        first += outputs[head.output][0].size * len(head.anchors) * head.classes
    return Candidates(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _of_head(output: Floats, head: DarknetHead, size: tuple[int, int], confidence: float, first: int) -> Candidates:
    height, width = output.shape[1:]
    table = output.reshape(len(head.anchors), 5 + head.classes, height * width)
    # A product of two shares is no larger than either: most cells are left out by one comparison of logits.
    least = np.float32(np.log(confidence) - np.log1p(-confidence))
    anchor, cell = np.nonzero(table[:, 4] >= least)
    logits = table[anchor, 5:, cell]
    shares = _softmax(logits) if head.softmax else _sigmoid(logits)
    scores = _sigmoid(table[anchor, 4, cell])[:, None] * shares
    box, one = np.nonzero(scores >= confidence)
    score = scores[box, one]
    index = first + (anchor[box] * height * width + cell[box]) * head.classes + one
    if len(score) > MOST_CANDIDATES:
        best = np.lexsort((index, -score))[:MOST_CANDIDATES]
        box, one, score, index = box[best], one[best], score[best], index[best]
    anchor, cell = anchor[box], cell[box]
    return Candidates(_boxes(table[anchor, :4, cell], anchor, cell, head, (height, width), size), score, one, index)


def _boxes(
    raw: Floats, anchor: NDArray[np.int64], cell: NDArray[np.int64], head: DarknetHead,
    cells: tuple[int, int], size: tuple[int, int],
) -> Floats:  # fmt: skip
    """(n, 4) corners in the network's pixels, of (n, 4) raw numbers."""
    step = np.array([size[1] / cells[1], size[0] / cells[0]], np.float32)
    place = np.stack([cell % cells[1], cell // cells[1]], 1).astype(np.float32)
    scale = np.float32(head.scale_xy)
    centre = (place + _sigmoid(raw[:, :2]) * scale - (scale - 1) / 2) * step
    anchors: Floats = np.array(head.anchors, np.float32)
    if head.kind == "region":
        anchors = (anchors * step).astype(np.float32)
    half = np.exp(np.minimum(raw[:, 2:], 30)) * anchors[anchor] / 2
    corners: Floats = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
    return corners


def _sigmoid(x: Floats) -> Floats:
    result: Floats = np.reciprocal(1 + np.exp(-np.clip(x, -80, 80)), dtype=np.float32)
    return result


def _softmax(x: Floats) -> Floats:
    shares = np.exp(x - x.max(1, keepdims=True))
    result: Floats = shares / shares.sum(1, keepdims=True)
    return result
