"""Resizing without antialiasing, as TensorFlow and Keras resize: the filter's taps stay one stored pixel apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core.pixels import Filter

Floats = NDArray[np.float64]


def sample(
    pixels: NDArray[np.uint8],
    start: tuple[float, float],
    length: tuple[float, float],
    size: tuple[int, int],
    filter: Filter,
) -> NDArray[np.uint8]:
    """``size`` (height, width) samples of the area at ``start`` of ``length`` (both y, x, in pixels).

    pixels: (h, w, 3). Sample i is taken at ``start + (i + 0.5) · length / size``, pixel k lies at k + 0.5; taps outside
    the picture are left out and the others scaled up to sum to one. Rounded to the nearest grey level.
    """
    rows, down = _taps(pixels.shape[0], start[0], length[0], size[0], filter)
    columns, across = _taps(pixels.shape[1], start[1], length[1], size[1], filter)
    if size[0] * pixels.shape[1] <= size[1] * pixels.shape[0]:  # the way that keeps less in between
        total = _mix(_mix(pixels, rows, down).swapaxes(0, 1), columns, across).swapaxes(0, 1)
    else:
        total = _mix(_mix(pixels.swapaxes(0, 1), columns, across).swapaxes(0, 1), rows, down)
    return np.ascontiguousarray(np.clip(np.rint(total), 0, 255).astype(np.uint8))


def _mix(values: NDArray[Any], index: NDArray[np.intp], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weighted sums of ``values`` along its first axis; index and weight are (size, taps)."""
    total = np.zeros((len(index), *values.shape[1:]), np.float32)
    for tap in range(index.shape[1]):
        total += values[index[:, tap]] * weight[:, tap, None, None]
    return total


def _taps(
    count: int, start: float, length: float, size: int, filter: Filter
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Indices and weights, both (size, taps), along one axis of ``count`` pixels."""
    support, kernel = _KERNELS[filter]
    centre = start + (np.arange(size) + 0.5) * (length / size) - 0.5
    index = np.floor(centre).astype(np.intp)[:, None] + np.arange(1 - support, 1 + support)
    weight = kernel(np.abs(centre[:, None] - index))
    weight[(index < 0) | (index >= count)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    return np.clip(index, 0, count - 1), weight.astype(np.float32)


def _bilinear(x: Floats) -> Floats:
    return np.maximum(0, 1 - x)


def _hamming(x: Floats) -> Floats:
    return np.where(x < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(math.pi * x)), 0)


def _bicubic(x: Floats) -> Floats:
    """Keys' cubic with a = -0.5, as Pillow's and as TensorFlow's with half-pixel centres."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: Floats) -> Floats:
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)


_KERNELS: dict[Filter, tuple[int, Callable[[Floats], Floats]]] = {
    "bilinear": (1, _bilinear),
    "hamming": (1, _hamming),
    "bicubic": (2, _bicubic),
    "lanczos": (3, _lanczos),
}
