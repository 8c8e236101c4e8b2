"""The arithmetic on shapes and constants that exporters leave in ONNX files, done once while reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eyespot.weights.onnx.model import OnnxNode, Tensor

MAX_ELEMENTS = 1 << 26  # of a folded constant


def fold(node: OnnxNode, values: Sequence[Tensor | None]) -> Tensor | None:
    """What an operator makes of constants; None when it is none that is folded, or an input is no constant.

    Raises:
        ValueError: The constants do not fit it.
    """
    if node.kind == "Constant":
        return _constant(node)
    if node.kind not in _FOLDS or any(value is None for value in values):
        return None
    given = [value for value in values if value is not None]
    if sum(value.size for value in given) > MAX_ELEMENTS:
        raise ValueError(f"{node.kind} of more than {MAX_ELEMENTS:,} constants")
    try:
        with np.errstate(all="ignore"):
            made = np.asarray(_FOLDS[node.kind](node, given))
    except (IndexError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{node.kind} {node.name!r} does not fit its constants ({error})") from None
    if made.size > MAX_ELEMENTS:
        raise ValueError(f"{node.kind} makes more than {MAX_ELEMENTS:,} constants")
    return made


def _constant(node: OnnxNode) -> Tensor | None:
    for value in node.attributes.values():
        return value if isinstance(value, np.ndarray) else np.array(value)
    return None


def axes_of(node: OnnxNode, values: Sequence[Any], place: int = 1) -> tuple[int, ...]:
    """Axes as older operators have them (an attribute) or newer ones (an input)."""
    if "axes" in node.attributes:
        return node.integers("axes")
    if len(values) > place and isinstance(values[place], np.ndarray):
        return tuple(int(axis) for axis in values[place].ravel())
    return ()


def _unsqueeze(node: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    axes = axes_of(node, v)
    rank = v[0].ndim + len(axes)
    made = v[0]
    for axis in sorted(axis % rank for axis in axes):
        made = np.expand_dims(made, axis)
    return made


def _squeeze(node: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    axes = axes_of(node, v)
    return np.squeeze(v[0], axes or None)


def _slice(node: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    starts, stops, axes, steps = slice_bounds(node, v, v[0].ndim)
    cut = [slice(None)] * v[0].ndim
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        cut[axis] = slice(start, None if step < 0 and stop < -v[0].shape[axis] else stop, step)
    return v[0][tuple(cut)]


def slice_bounds(
    node: OnnxNode, v: Sequence[Any], rank: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(starts, stops, axes, steps) of a Slice of any version."""

    def of(place: int, name: str, default: Sequence[int]) -> tuple[int, ...]:
        if name in node.attributes:
            return node.integers(name)
        if len(v) > place and v[place] is not None:
            return tuple(int(n) for n in np.asarray(v[place]).ravel())
        return tuple(default)

    starts, stops = of(1, "starts", ()), of(2, "ends", ())
    axes = tuple(axis % rank for axis in of(3, "axes", range(len(starts))))
    return starts, stops, axes, of(4, "steps", [1] * len(starts))


def _reshape(_: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    return v[0].reshape(reshaped(v[0].shape, v[1].ravel().tolist()))


def reshaped(shape: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """The shape that Reshape gives: 0 keeps an axis, -1 takes what is left."""
    sides = [shape[i] if n == 0 else int(n) for i, n in enumerate(wanted)]
    if sides.count(-1) == 1:
        rest = math.prod(n for n in sides if n != -1)
        sides[sides.index(-1)] = math.prod(shape) // max(rest, 1)
    if math.prod(sides) != math.prod(shape):
        raise ValueError(f"a map {tuple(shape)} cannot be reshaped to {tuple(wanted)}")
    return tuple(sides)


def _cast(node: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    kinds = {
        1: np.float32,
        6: np.int32,
        7: np.int64,
        9: np.bool_,
        10: np.float16,
        11: np.float64,
        2: np.uint8,
        3: np.int8,
    }
    return v[0].astype(kinds[node.integer("to", 1)])


def _constant_of_shape(node: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    shape = [int(n) for n in v[0].ravel()]
    if math.prod(shape) > MAX_ELEMENTS:
        raise ValueError("ConstantOfShape makes too many constants")
    return np.full(shape, np.asarray(value).ravel()[0])


def _expand(_: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    shape = np.broadcast_shapes(v[0].shape, tuple(int(n) for n in v[1].ravel()))
    if math.prod(shape) > MAX_ELEMENTS:
        raise ValueError("Expand makes too many constants")
    return np.broadcast_to(v[0], shape)


def _range(_: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    start, stop, step = (one.item() for one in v)
    if step == 0 or abs((stop - start) / step) > MAX_ELEMENTS:
        raise ValueError("Range makes too many constants")
    return np.arange(start, stop, step, dtype=v[0].dtype)


def _divide(_: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    return v[0] // v[1] if v[0].dtype.kind in "iu" else v[0] / v[1]


def _clip(node: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    low = v[1] if len(v) > 1 and v[1].size else node.real("min", -np.inf)
    high = v[2] if len(v) > 2 and v[2].size else node.real("max", np.inf)
    return np.clip(v[0], low, high).astype(v[0].dtype)


def _dequantize(node: OnnxNode, v: Sequence[Tensor]) -> Tensor:
    axis = node.integer("axis", 1)
    shape = [-1 if i == axis % max(v[0].ndim, 1) else 1 for i in range(v[0].ndim)] if v[1].size > 1 else []
    scale = v[1].reshape(shape)
    zero = v[2].reshape(shape).astype(np.int32) if len(v) > 2 else 0
    return ((v[0].astype(np.int32) - zero) * scale).astype(np.float32)


_FOLDS: Mapping[str, Callable[[OnnxNode, Sequence[Tensor]], Any]] = {
    "Identity": lambda _, v: v[0],
    "Cast": _cast,
    "Gather": lambda n, v: np.take(v[0], v[1].astype(np.int64), axis=n.integer("axis", 0)),
    "Concat": lambda n, v: np.concatenate([np.atleast_1d(one) for one in v], axis=n.integer("axis", 0)),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": lambda n, v: np.transpose(v[0], n.integers("perm") or None),
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Range": _range,
    "Add": lambda _, v: v[0] + v[1],
    "Sub": lambda _, v: v[0] - v[1],
    "Mul": lambda _, v: v[0] * v[1],
    "Div": _divide,
    "Neg": lambda _, v: -v[0],
    "Pow": lambda _, v: np.power(v[0], v[1]).astype(v[0].dtype),
    "Sqrt": lambda _, v: np.sqrt(v[0]),
    "Exp": lambda _, v: np.exp(v[0]),
    "Reciprocal": lambda _, v: (1 / v[0]).astype(v[0].dtype),
    "Floor": lambda _, v: np.floor(v[0]),
    "Ceil": lambda _, v: np.ceil(v[0]),
    "Clip": _clip,
    "Min": lambda _, v: np.minimum.reduce(v),
    "Max": lambda _, v: np.maximum.reduce(v),
    "ReduceProd": lambda _, v: np.prod(v[0], keepdims=True),
    "Equal": lambda _, v: v[0] == v[1],
    "Where": lambda _, v: np.where(v[0], v[1], v[2]),
    "Shape": lambda _, v: np.array(v[0].shape, np.int64),
    "DequantizeLinear": _dequantize,
}
