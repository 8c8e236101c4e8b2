"""The meaning of every op of the vocabulary, in numpy: what all runtimes are compared with. Short before fast.

Arrays carry the batch axis first. Convolutions and pools are sums over the taps of their window: tap (i, j) sees the
padded map shifted by (i, j) times the dilation and read at every stride-th pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from operator import iadd

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.ops import Op, Padding, Pair

Array = NDArray[np.float32]


def compute(op: Op, inputs: Sequence[Array], tensors: Mapping[str, Array]) -> Array:  # noqa: PLR0912 (one case per op)
    """What ``op`` makes of these inputs, (n, …) each; tensors are the op's own by their short names."""
    x = inputs[0]
    match op:
        case ops.Conv2d():
            y = _bias(_conv(op, x, tensors["weight"]), tensors)
        case ops.ConvTranspose2d():
            y = _bias(_conv_transpose(op, x, tensors["weight"]), tensors)
        case ops.Linear():
            y = _bias(x @ tensors["weight"].T, tensors)
        case ops.BatchNorm():
            scale = tensors["weight"] / np.sqrt(tensors["running_var"] + op.eps)
            y = (x - _column(tensors["running_mean"], x)) * _column(scale, x) + _column(tensors["bias"], x)
        case ops.Activation(function="leaky_relu"):
            y = np.where(x >= 0, x, op.slope * x)
        case ops.Activation():
            y = _ACTIVATIONS[op.function](x)
        case ops.MaxPool():
            y = reduce(np.maximum, _taps(_pad(x, op.padding, -np.inf), op.kernel, op.stride))
        case ops.AvgPool():
            y = _average(op, x)
        case ops.GlobalAvgPool():
            y = x.mean((2, 3), keepdims=True)
        case ops.Flatten():
            y = x.reshape(len(x), -1)
        case ops.Add():
            y = reduce(np.add, inputs)
        case ops.Mul():
            y = inputs[0] * inputs[1]
        case ops.Scale():
            y = x * np.float32(op.factor)
        case ops.Concat():
            y = np.concatenate(inputs, 1)
        case ops.Slice():
            y = x[:, op.start : op.stop]
        case ops.PadChannels():
            y = np.pad(x, ((0, 0), (op.before, op.after), *[(0, 0)] * (x.ndim - 2)))
        case ops.Shuffle():
            y = x.reshape(len(x), op.groups, -1, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)
        case ops.Resize():
            y = _resize(op, x)
        case ops.Softmax():
            e = np.exp(x - x.max(1, keepdims=True))
            y = e / e.sum(1, keepdims=True)
        case ops.Dropout() | ops.DropPath():
            y = x
        case _:
            raise TypeError(f"the numpy reference has no meaning for {op.kind}")
    return y


def _column(vector: Array, x: Array) -> Array:
    """A vector over channels, shaped so that it meets ``x``."""
    return vector.reshape(-1, *[1] * (x.ndim - 2))


def _bias(y: Array, tensors: Mapping[str, Array]) -> Array:
    return y + _column(tensors["bias"], y) if "bias" in tensors else y


def _pad(x: Array, padding: Padding, value: float) -> Array:
    top, left, bottom, right = padding
    if not any(padding):
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _taps(x: Array, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Iterator[Array]:
    """For each tap, row by row: what it sees, (n, c, windows down, windows across)."""
    reach = dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1)
    for i in range(0, reach[0] + 1, dilation[0]):
        for j in range(0, reach[1] + 1, dilation[1]):
            yield x[:, :, i : x.shape[2] - reach[0] + i : stride[0], j : x.shape[3] - reach[1] + j : stride[1]]


def _conv(op: ops.Conv2d, x: Array, weight: Array) -> Array:
    n, g = len(x), op.groups
    # (kh · kw, groups, out / groups, in / groups): one matrix per tap and group
    matrices = weight.transpose(2, 3, 0, 1).reshape(-1, g, op.channels // g, weight.shape[1])
    # With one channel per group the matrix product is an outer product, which * does faster.
    product: Callable[[Array, Array], Array] = np.multiply if weight.shape[1] == 1 else np.matmul
    views = list(_taps(_pad(x, op.padding, 0), op.kernel, op.stride, op.dilation))
    columns = (view.reshape(n, g, weight.shape[1], -1) for view in views)
    out: Array = reduce(iadd, map(product, matrices, columns))
    return out.reshape(n, op.channels, *views[0].shape[2:])


def _conv_transpose(op: ops.ConvTranspose2d, x: Array, weight: Array) -> Array:
    """Every input pixel stamps the kernel, ``stride`` apart; the padding is then cut off."""
    n, _, height, width = x.shape
    (kh, kw), (sh, sw), (top, left, bottom, right) = op.kernel, op.stride, op.padding
    out = np.zeros((n, op.channels, (height - 1) * sh + kh, (width - 1) * sw + kw), np.float32)
    for i in range(kh):
        for j in range(kw):
            stamp = np.einsum("io,nihw->nohw", weight[:, :, i, j], x, optimize=True)
            out[:, :, i : i + height * sh : sh, j : j + width * sw : sw] += stamp
    return out[:, :, top : out.shape[2] - bottom, left : out.shape[3] - right]


def _average(op: ops.AvgPool, x: Array) -> Array:
    total = reduce(np.add, _taps(_pad(x, op.padding, 0), op.kernel, op.stride))
    if op.count_padding:
        return total / np.float32(op.kernel[0] * op.kernel[1])
    return total / reduce(np.add, _taps(_pad(np.ones_like(x[:1, :1]), op.padding, 0), op.kernel, op.stride))


def _resize(op: ops.Resize, x: Array) -> Array:
    for axis, scale in ((2, op.scale[0]), (3, op.scale[1])):
        if op.mode == "nearest":
            x = np.repeat(x, scale, axis)
            continue
        n = x.shape[axis]
        centre = np.clip((np.arange(n * scale) + 0.5) / scale - 0.5, 0, n - 1)
        low = centre.astype(int)
        share = (centre - low).astype(np.float32).reshape(-1, *[1] * (3 - axis))
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, n - 1), axis) * share
    return x


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows
    y: Array = np.where(x >= 0, np.float32(1), e) / (1 + e)
    return y


def _hard_sigmoid(x: Array) -> Array:
    y: Array = np.clip(x + np.float32(3), 0, 6) / np.float32(6)
    return y


def _gelu(x: Array) -> Array:
    erf: Array = np.vectorize(math.erf, otypes=[np.float32])(x / math.sqrt(2))
    return x * (1 + erf) / np.float32(2)


_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "hard_sigmoid": _hard_sigmoid,
    "gelu": _gelu,
    "mish": lambda x: x * np.tanh(np.logaddexp(np.float32(0), x)),
    "tanh": np.tanh,
}
