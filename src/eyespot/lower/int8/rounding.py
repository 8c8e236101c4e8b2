"""Rounds weights so that a layer's answers, not its weights, stay nearest: each error is made good by later weights.

Frantar et al., OPTQ (2210.17323), which needs only how the layer's inputs vary together; per group of a convolution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import Node
from eyespot.lower.int8.quantized import LARGEST_WEIGHT
from eyespot.lower.numpy_ops import Array

_DAMP = 0.01  # of the mean variance, added to all: directions that no picture showed must not run away
_PLACES = 48  # windows of each picture that are looked at
_BLOCK = 64  # weights whose errors are passed on together
LARGEST = 2500  # values that a filter sees; above, moments take more time and memory than they are worth


def moments_of(node: Node, x: Array, rng: np.random.Generator) -> NDArray[np.float64]:
    """The sum of products of each two values that the layer's filters see at some places of one picture, per group.

    x: (channels, height, width) or (features,). Returns (groups, k, k), k being the values that one filter sees, in the
    order of its weights.
    """
    if not isinstance(node.op, ops.Conv2d):
        return np.multiply.outer(x, x)[None].astype(np.float64)
    windows = _windows(node.op, x, rng)  # (places, channels, kh, kw)
    groups = node.op.groups
    flat = windows.reshape(len(windows), groups, -1).transpose(1, 0, 2)
    return np.asarray(flat.swapaxes(1, 2) @ flat, np.float64)


def _windows(op: ops.Conv2d, x: Array, rng: np.random.Generator) -> Array:
    top, left, bottom, right = op.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    reach = [d * (k - 1) + 1 for d, k in zip(op.dilation, op.kernel, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, (1, 2))
    view = view[:, :: op.stride[0], :: op.stride[1], :: op.dilation[0], :: op.dilation[1]]
    rows, columns = (rng.integers(0, n, _PLACES) for n in view.shape[1:3])
    picked: Array = view[:, rows, columns].swapaxes(0, 1)
    return picked


def round_with_inputs(steps: Array, moments: NDArray[np.float64]) -> NDArray[np.int8]:
    """Weights in steps, (out, …), rounded to whole steps within ±127."""
    groups = len(moments)
    rows = steps.reshape(groups, len(steps) // groups, -1).astype(np.float64)
    out = np.stack([_round_group(w, h) for w, h in zip(rows, moments, strict=True)])
    return out.reshape(steps.shape).astype(np.int8)


def _round_group(weight: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """weight: (filters, k); moments: (k, k)."""
    k = weight.shape[1]
    damp = _DAMP * float(np.trace(moments)) / k + 1e-12
    order = np.argsort(-np.diag(moments), kind="stable")  # what varies most is rounded first, while others can make up
    inverse = np.linalg.inv(moments[np.ix_(order, order)] + damp * np.eye(k))
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left, rounded = weight[:, order].copy(), np.empty_like(weight)
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k)
        errors = np.empty((len(left), stop - start))
        for j in range(start, stop):
            value = np.clip(np.rint(left[:, j]), -LARGEST_WEIGHT, LARGEST_WEIGHT)
            rounded[:, order[j]] = value
            error = (left[:, j] - value) / upper[j, j]
            left[:, j:stop] -= np.outer(error, upper[j, j:stop])
            errors[:, j - start] = error
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    return rounded
