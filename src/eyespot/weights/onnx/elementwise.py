"""ONNX operators on every value by itself: activations and arithmetic, and the patterns that exporters make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eyespot.core.ops import ActivationName
from eyespot.core.sketch import Map
from eyespot.weights.onnx import layout
from eyespot.weights.onnx.drawing import UNKNOWN, Drawing, Value, floats, number, tail
from eyespot.weights.onnx.layers import Handler
from eyespot.weights.onnx.model import OnnxNode

_EPS = 1e-5  # of a batch norm that only scales and shifts
_PLAIN: Mapping[str, ActivationName] = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hard_swish", "Mish": "mish",
}  # fmt: skip


def _plain(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    return d.act(given[0], _PLAIN[node.kind])


def _same(_: Drawing, _node: OnnxNode, given: list[Value]) -> layout.Value:
    return tail(given[0])


def _gelu(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    if node.text("approximate", "none") != "none":
        raise ValueError("its approximation by tanh is not known")
    return d.act(given[0], "gelu")


def _half_known(d: Drawing, _: OnnxNode, given: list[Value]) -> layout.Value:
    """A part of an activation, which goes when the whole is recognised; what is left of it is refused in the end."""
    return d.act(given[0], "relu", name=f"part{UNKNOWN}")


def _leaky(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    return d.act(given[0], "leaky_relu", slope=node.real("alpha", 0.01))


def _prelu(d: Drawing, _: OnnxNode, given: list[Value]) -> layout.Value:
    slopes = np.unique(floats(given, 1))
    if slopes.size != 1:
        raise ValueError("its slope differs from channel to channel")
    return d.act(given[0], "leaky_relu", slope=float(slopes[0]))


def _hard_sigmoid(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    if not _is_hard_sigmoid(node):
        raise ValueError("its slope is not 1/6")
    return d.act(given[0], "hard_sigmoid")


def _is_hard_sigmoid(node: OnnxNode) -> bool:
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    return node.kind == "HardSigmoid" and abs(alpha - 1 / 6) < 1e-6 and abs(beta - 0.5) < 1e-6


def _clip(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    low, high = number(given, 1, node.real("min", -np.inf)), number(given, 2, node.real("max", np.inf))
    if low == 0 and high == 6:
        return d.act(given[0], "relu6")
    if low == 0 and high > 1e30:
        return d.act(given[0], "relu")
    raise ValueError(f"it clips to {low:g} and {high:g}; 0 and 6 were needed")


def _softmax(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x = d.either(given[0])
    rank = len(x.shape) + 1
    axis = node.integer("axis", -1 if d.opset >= 13 else 1) % rank
    if axis != 1 or (rank > 2 and d.opset < 13):
        raise ValueError(f"it runs over axis {axis} of a map with {rank} axes; over the channels was needed")
    return layout.Leaf(d.sketch.softmax(d.free("softmax"), x))


def _add(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    for i in (0, 1):
        constant = given[i]
        if isinstance(constant, np.ndarray):
            return _affine(d, node.inputs[1 - i], given[1 - i], 1.0, constant)
    return layout.Leaf(d.sketch.sum(d.free("add"), *(d.either(value) for value in given)))


def _sum(d: Drawing, _: OnnxNode, given: list[Value]) -> layout.Value:
    return layout.Leaf(d.sketch.sum(d.free("add"), *(d.either(value) for value in given)))


def _sub(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    first, second = given
    if isinstance(second, np.ndarray):
        return _affine(d, node.inputs[0], first, 1.0, -second)
    if isinstance(first, np.ndarray):
        return _affine(d, node.inputs[1], second, -1.0, first)
    minus = layout.mapped(tail(second), lambda m: d.sketch.scale(d.free("minus"), m, -1.0))
    return layout.Leaf(d.sketch.sum(d.free("add"), d.either(first), d.either(minus)))


def _div(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    divisor = given[1]
    if not isinstance(divisor, np.ndarray):
        raise ValueError("a quotient of two maps is not known")
    if divisor.size == 1 and divisor.ravel()[0] == 6:
        for inside in _shifted_clips(d, node.inputs[0]):
            return d.act(d.value(inside), "hard_sigmoid")
    return _affine(d, node.inputs[0], given[0], 1 / divisor.astype(np.float64), 0.0)


def _mul(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    for i in (0, 1):
        if (gated := _gated(d, node.inputs[i], node.inputs[1 - i])) is not None:
            return gated
    for i in (0, 1):
        constant = given[i]
        if isinstance(constant, np.ndarray):
            whole = _as_a_gelu(d, node.inputs[1 - i], constant)
            return whole or _affine(d, node.inputs[1 - i], given[1 - i], constant, 0.0)
    a, b = (d.either(value) for value in given)
    return layout.Leaf(d.sketch.mul(d.free("mul"), a, b))


def _gated(d: Drawing, name: str, gate: str) -> layout.Value | None:
    """x · gate(x) as the one activation that it is: SiLU, hard-swish or Mish."""
    maker = d.makers.get(gate)
    if maker is None or not maker.inputs:
        return None
    if maker.inputs[0] == name and maker.kind == "Sigmoid":
        return d.act(d.value(name), "silu")
    if maker.inputs[0] == name and _is_hard_sigmoid(maker):
        return d.act(d.value(name), "hard_swish")
    if maker.kind == "Div" and (d.constant(maker.inputs[1]) == 6) and name in _shifted_clips(d, maker.inputs[0]):
        return d.act(d.value(name), "hard_swish")
    inner = d.makers.get(maker.inputs[0])
    if maker.kind == "Tanh" and inner is not None and inner.kind == "Softplus" and inner.inputs[0] == name:
        return d.act(d.value(name), "mish")
    return None


def _shifted_clips(d: Drawing, name: str) -> Iterator[str]:
    """x of Clip(x + 3, 0, 6)."""
    clip = d.makers.get(name)
    shift = d.makers.get(clip.inputs[0]) if clip is not None and clip.kind in ("Clip", "Min") else None
    if shift is not None and shift.kind == "Add":
        for i in (0, 1):
            three = d.constant(shift.inputs[i])
            if three is not None and three.size == 1 and three.ravel()[0] == 3:
                yield shift.inputs[1 - i]


def _as_a_gelu(d: Drawing, name: str, half: NDArray[np.generic]) -> layout.Value | None:
    """x of 0.5 · x · (1 + erf(x / √2)), in the order in which torch writes it."""
    product = d.makers.get(name)
    if half.size != 1 or half.ravel()[0] != 0.5 or product is None or product.kind != "Mul":
        return None
    for x, other in (product.inputs, product.inputs[::-1]):
        one = d.makers.get(other)
        erf = d.makers.get(one.inputs[0]) if one is not None and one.kind == "Add" else None
        root = d.makers.get(erf.inputs[0]) if erf is not None and erf.kind == "Erf" else None
        if root is not None and root.kind == "Div" and root.inputs[0] == x:
            by = d.constant(root.inputs[1])
            if by is not None and by.size == 1 and abs(float(by.ravel()[0]) - 2**0.5) < 1e-4:
                return d.act(d.value(x), "gelu")
    return None


def _affine(d: Drawing, name: str, value: Value, factor: ArrayLike, offset: ArrayLike) -> layout.Value:
    """Times constants and plus constants: a factor, the bias of the layer before, or a batch norm of its own."""
    x = tail(value)
    factors, offsets = np.asarray(factor, np.float32), np.asarray(offset, np.float32)
    if factors.size == 1 and not offsets.any() and offsets.size == 1:
        by = float(factors.ravel()[0])
        return layout.mapped(x, lambda m: d.sketch.scale(d.free("scale"), m, by))
    if isinstance(x, layout.Leaf) and (factors == 1).all() and _is_its_bias(d, name, x.map, offsets):
        return x
    axis = 3 if isinstance(x, layout.Transposed) and x.axes == (0, 2, 3, 1) else 1
    if len(x.shape) != 4 or not isinstance(x, layout.Leaf | layout.Transposed):
        raise ValueError(f"constants of each channel meet {x.shape}; a feature map was needed")
    weight, bias = (_of_channels(part, x.shape, axis) for part in (factors, offsets))

    def normed(m: Map) -> Map:
        made = d.sketch.norm(d.free("affine"), m, eps=_EPS)
        variance = np.full(m.channels, 1 - _EPS, np.float32)
        d.give(made, weight=weight, bias=bias, running_mean=np.zeros(m.channels), running_var=variance)
        return made

    return layout.mapped(x, normed)


def _is_its_bias(d: Drawing, name: str, x: Map, offsets: NDArray[np.float32]) -> bool:
    """Gives a sum's constants to the linear layer that alone is summed."""
    bias = d.tensors.get(f"{x.name}.bias")
    if len(x.shape) != 1 or bias is None or len(d.readers.get(name, ())) != 1 or offsets.size not in (1, x.channels):
        return False
    d.give(x, bias=bias + offsets.ravel())
    return True


def _of_channels(part: NDArray[np.float32], shape: tuple[int, ...], axis: int) -> NDArray[np.float32]:
    whole = part.reshape((1,) * (4 - part.ndim) + part.shape)
    if whole.ndim != 4 or any(n != 1 for i, n in enumerate(whole.shape) if i != axis):
        raise ValueError(f"constants of the shape {part.shape} meet {shape}; one of each channel was needed")
    return np.broadcast_to(whole.ravel(), (shape[axis],))


ELEMENTWISE: Mapping[str, Handler] = {
    **dict.fromkeys(_PLAIN, _plain), **dict.fromkeys(("Identity", "Dropout", "Cast"), _same),
    **dict.fromkeys(("Softplus", "Erf"), _half_known),
    "Gelu": _gelu, "LeakyRelu": _leaky, "PRelu": _prelu, "HardSigmoid": _hard_sigmoid, "Clip": _clip,
    "Softmax": _softmax, "Add": _add, "Sum": _sum, "Sub": _sub, "Div": _div, "Mul": _mul,
}  # fmt: skip
