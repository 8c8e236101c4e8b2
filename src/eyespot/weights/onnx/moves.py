"""ONNX operators that only move values: reshaping, transposing, joining, cutting, padding."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from eyespot.weights.onnx import layout
from eyespot.weights.onnx.constants import axes_of, reshaped, slice_bounds
from eyespot.weights.onnx.drawing import Drawing, Value, number, tail
from eyespot.weights.onnx.layers import Handler
from eyespot.weights.onnx.model import OnnxNode


def _reshape(d: Drawing, _: OnnxNode, given: list[Value]) -> layout.Value:
    if len(given) < 2 or not isinstance(given[1], np.ndarray):
        raise ValueError("its shape is no constant")
    x = tail(given[0])
    return _to_shape(d, x, reshaped(x.shape, given[1].ravel().tolist()))


def _to_shape(d: Drawing, x: layout.Value, shape: tuple[int, ...]) -> layout.Value:
    shuffled = layout.shuffle_groups(x, shape)
    if shuffled is not None:
        return layout.Leaf(d.sketch.shuffle(d.free("shuffle"), *shuffled))
    return layout.reshaped(x, shape)


def _flatten(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x = tail(given[0])
    axis = node.integer("axis", 1) % (len(x.shape) + 1)
    return _to_shape(d, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _squeeze(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x = tail(given[0])
    axes = {axis % len(x.shape) for axis in axes_of(node, given)} or {i for i, n in enumerate(x.shape) if n == 1 and i}
    return _to_shape(d, x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def _unsqueeze(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x = tail(given[0])
    axes = axes_of(node, given)
    shape = list(x.shape)
    for axis in sorted(axis % (len(x.shape) + len(axes)) for axis in axes):
        shape.insert(axis, 1)
    return _to_shape(d, x, tuple(shape))


def _transpose(_: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x = tail(given[0])
    return layout.transposed(x, node.integers("perm") or tuple(reversed(range(len(x.shape)))))


def _concat(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    parts = tuple(tail(value) for value in given)
    axis = node.integer("axis", 0) % len(parts[0].shape)
    if axis == 1 and all(isinstance(part, layout.Cells) for part in parts):
        cells = [part for part in parts if isinstance(part, layout.Cells)]
        if len({(part.inside, part.step) for part in cells}) == 1:
            starts = tuple(start for part in cells for start in part.starts)
            return layout.Cells(cells[0].inside, cells[0].step, starts)
    if all(isinstance(part, layout.Transposed) and part.axes == (0, 2, 3, 1) for part in parts) and axis == 3:
        inside = [part.inside for part in parts if isinstance(part, layout.Transposed)]
        return layout.transposed(layout.Leaf(d.sketch.concat(d.free("concat"), *map(d.map, inside))), (0, 2, 3, 1))
    if axis == 1 and all(isinstance(part, layout.Leaf) for part in parts):
        return layout.Leaf(d.sketch.concat(d.free("concat"), *(d.either(part) for part in parts)))
    return layout.Joined(parts, axis)


def _slice(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x = tail(given[0])
    starts, stops, axes, steps = slice_bounds(node, given, len(x.shape))
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        first, last, _ = slice(start, stop).indices(x.shape[axis])
        if step == 1 and (first, last) == (0, x.shape[axis]):
            continue
        x = _cut(d, x, axis, first, last, step)
    return x


def _cut(d: Drawing, x: layout.Value, axis: int, first: int, last: int, step: int) -> layout.Value:
    if axis == 1 and step == 1 and isinstance(x, layout.Leaf):
        return layout.Leaf(d.sketch.slice(d.free("slice"), x.map, first, last))
    if axis in (2, 3) and step > 1 and last == x.shape[axis] and first < step:
        return _every(x, axis, first, step)
    raise ValueError(f"it takes {first} to {last} of axis {axis} in steps of {step}; channels were needed")


def _every(x: layout.Value, axis: int, first: int, step: int) -> layout.Value:
    """Every step-th row (axis 2) or column (3); both together are cells."""
    if isinstance(x, layout.Leaf) and len(x.map.shape) == 3:
        start = (first, -1) if axis == 2 else (-1, first)
        return layout.Cells(x.map, step, (start,))
    if isinstance(x, layout.Cells) and x.step == step and len(x.starts) == 1:
        row, column = x.starts[0]
        if (axis == 2 and row < 0) or (axis == 3 and column < 0):
            return layout.Cells(x.inside, step, ((first, column) if axis == 2 else (row, first),))
    raise ValueError("every second row or column of that is not known")


def split(d: Drawing, node: OnnxNode, given: list[Value]) -> list[layout.Value]:
    """The parts of a Split along channels."""
    x = tail(given[0])
    axis = node.integer("axis", 0) % len(x.shape)
    sizes = node.integers("split")
    if not sizes and len(given) > 1 and isinstance(given[1], np.ndarray):
        sizes = tuple(int(n) for n in given[1].ravel())
    count = len(node.outputs)
    sizes = sizes or tuple(-(-x.shape[axis] // count) for _ in range(count))
    if axis != 1 or not isinstance(x, layout.Leaf):
        raise ValueError(f"it divides axis {axis} of {x.shape}; channels of a map were needed")
    parts: list[layout.Value] = []
    at = 0
    for size in sizes:
        stop = min(at + size, x.map.channels)
        parts.append(layout.Leaf(d.sketch.slice(d.free("slice"), x.map, at, stop)))
        at = stop
    return parts


def _pad(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    """Channels of zeros; a border of zeros before a convolution belongs to the convolution (see ``graph``)."""
    x = d.map(given[0])
    pads = node.integers("pads")
    if len(given) > 1 and isinstance(given[1], np.ndarray):
        pads = tuple(int(n) for n in given[1].ravel())
    if node.text("mode", "constant") != "constant" or number(given, 2, node.real("value", 0.0)) or len(pads) != 8:
        raise ValueError("only zeros around a map are known")
    if any(pads[i] for i in (0, 2, 3, 4, 6, 7)):
        raise ValueError("a border around a map is known before a convolution or pool only")
    return layout.Leaf(d.sketch.pad_channels(d.free("pad"), x, pads[1], pads[5]))


MOVES: Mapping[str, Handler] = {
    "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose,
    "Concat": _concat, "Slice": _slice, "Pad": _pad,
}  # fmt: skip
