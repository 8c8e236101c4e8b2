"""Runs an IntegerProgram in numpy, in whole numbers alone: what the C program must give bit for bit.

From ``quantized_run`` it differs by how scales are rounded: there float32 factors, halves to even; here fixed points,
halves up. A level of one tensor moves by one at the most, where it lay between two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core.graph import INPUT
from eyespot.core.ops import Padding, Pair
from eyespot.errors import UsageError
from eyespot.lower.c.integer_program import (
    Ends,
    Fixed,
    Flat,
    Gather,
    Highest,
    IntegerProgram,
    Layer,
    Levels,
    Lookup,
    Mean,
    Product,
    Step,
    Sum,
    Total,
)
from eyespot.lower.int8.quantized import LEVELS
from eyespot.lower.numpy_ops import compute

Whole = NDArray[np.int64]
_EXACT = 1 << 24  # integers up to here are exact in float32


def run_integer(program: IntegerProgram, pixels: Levels, *, keep: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """The answer by its tensor's name, int32 (n, classes), and the tensors in ``keep``, uint8 (n, channels, h, w).

    pixels: uint8 (n, height, width, 3), RGB. UsageError for pictures of another size.
    """
    _, height, width = program.shapes[INPUT]
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, 3):
        raise UsageError(
            f"the input is {pixels.dtype} {pixels.shape}; this network reads uint8 (n, {height}, {width}, 3)"
        )
    values: dict[str, NDArray[Any]] = {
        INPUT: np.stack([table[pixels[..., colour]] for colour, table in program.pixels], 1)
    }
    last = {name: at for at, step in enumerate(program.steps) for name in step.inputs}
    wanted = {program.output, *keep}
    for at, step in enumerate(program.steps):
        inputs = [values[name] for name in step.inputs]
        values[step.name] = _compute(step, inputs)
        for name in {*step.inputs} - wanted:
            if last[name] == at:
                del values[name]
    return {name: values[name] for name in (program.output, *keep)}


def scaled(total: Whole, scale: Fixed | Sequence[Fixed]) -> Whole:
    """Sums (n, channels, …) times a fixed point, or one per channel."""
    fixed = np.array(scale, np.int64).reshape(-1, 2)
    column = (-1, *[1] * (total.ndim - 2))
    multiplier, shift = fixed[:, 0].reshape(column), fixed[:, 1].reshape(column)
    out: Whole = (total * multiplier + (np.int64(1) << (30 - shift))) >> (31 - shift)
    return out


def _compute(step: Step, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    return _MEANING[type(step)](step, inputs)


def _put(values: Whole, ends: Ends) -> Levels:
    levels: Levels = np.clip(values + ends.zero, ends.low, ends.high).astype(np.uint8)
    return levels


def _layer(step: Layer, inputs: list[Levels]) -> NDArray[Any]:
    exact: Any = np.float32 if step.weight[0].size * LEVELS * 128 < _EXACT else np.float64
    x = inputs[0].astype(exact) - exact(step.zero)
    total = compute(step.op, [x], {"weight": step.weight.astype(exact)}).astype(np.int64)
    value = scaled(total + step.bias.reshape(-1, 1, 1), step.scales)
    return value[:, :, 0, 0].astype(np.int32) if step.ends is None else _put(value, step.ends)


def _lookup(step: Lookup, inputs: list[Levels]) -> Levels:
    return step.table[inputs[0]]


def _sum(step: Sum, inputs: list[Levels]) -> Levels:
    terms = zip(inputs, step.zeros, step.multipliers, strict=True)
    total: Whole = reduce(np.add, ((x.astype(np.int64) - zero) * multiplier for x, zero, multiplier in terms))
    return _put((total + (1 << (step.shift - 1))) >> step.shift, step.ends)


def _product(step: Product, inputs: list[Levels]) -> Levels:
    a, b = (x.astype(np.int64) - zero for x, zero in zip(inputs, step.zeros, strict=True))
    return _put(scaled(a * b, step.scale), step.ends)


def _windows(x: NDArray[Any], kernel: Pair, stride: Pair, padding: Padding, fill: int) -> Iterator[NDArray[Any]]:
    """For each place in a window, what lies there, (n, c, windows down, windows across)."""
    top, left, bottom, right = padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    height, width = x.shape[2] - kernel[0] + 1, x.shape[3] - kernel[1] + 1
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield x[:, :, i : i + height : stride[0], j : j + width : stride[1]]


def _highest(step: Highest, inputs: list[Levels]) -> Levels:
    # Padding, at the lowest level, never wins over a pixel.
    highest: Levels = reduce(np.maximum, _windows(inputs[0], step.kernel, step.stride, step.padding, 0))
    return highest if step.table is None else step.table[highest]


def _mean(step: Mean, inputs: list[Levels]) -> Levels:
    x = inputs[0].astype(np.int64) - step.zero
    total: Whole = reduce(np.add, _windows(x, step.kernel, step.stride, step.padding, 0))
    if len(step.scales) == 1:
        return _put(scaled(total, step.scales[0]), step.ends)
    inside: Whole = reduce(np.add, _windows(np.ones_like(x[:1, :1]), step.kernel, step.stride, step.padding, 0))
    fixed = np.array(step.scales, np.int64)[inside - 1]
    multiplier, shift = fixed[..., 0], fixed[..., 1]
    return _put((total * multiplier + (np.int64(1) << (30 - shift))) >> (31 - shift), step.ends)


def _gather(step: Gather, inputs: list[Levels]) -> Levels:
    by_name = dict(zip(step.inputs, inputs, strict=True))
    n, _, *size = inputs[0].shape
    out = np.full((n, step.channels, *size), step.fill, np.uint8)
    for part in step.parts:
        taken = by_name[part.input][:, part.start : part.start + part.channels]
        places = slice(part.at, part.at + part.stride * part.channels, part.stride)
        out[:, places] = taken if part.table is None else part.table[taken]
    return out


def _flat(_: Flat, inputs: list[Levels]) -> Levels:
    return inputs[0].reshape(len(inputs[0]), -1, 1, 1)


def _total(step: Total, inputs: list[Levels]) -> NDArray[np.int32]:
    total: NDArray[np.int32] = (inputs[0].astype(np.int64) - step.zero).sum((2, 3)).astype(np.int32)
    return total


_MEANING: Mapping[type[Step], Callable[[Any, list[NDArray[Any]]], NDArray[Any]]] = {
    Layer: _layer, Lookup: _lookup, Sum: _sum, Product: _product, Highest: _highest, Mean: _mean, Gather: _gather,
    Flat: _flat, Total: _total,
}  # fmt: skip
