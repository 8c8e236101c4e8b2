"""One node of a network as LiteRT's operators, on float32 or int8 tensors alike: channels last, padding where it fits.

LiteRT pads only as TensorFlow does (SAME, or not at all); any other padding is an operator of its own before the layer,
which XNNPACK takes into the layer again. Zeros of int8 maps are their zero point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from eyespot.core import ops
from eyespot.core.graph import Node
from eyespot.core.ops import Pair, Shape
from eyespot.lower.litert.file import LitertFile, Option, Tensor
from eyespot.lower.numpy_ops import Array

Windowed = ops.Conv2d | ops.MaxPool | ops.AvgPool
_LOWEST = float(np.finfo(np.float32).min)
_FUSED = {"relu": "RELU", "relu6": "RELU6"}
FUSABLE = (ops.Conv2d, ops.Linear, ops.Add, ops.Mul)  # what an activation can be part of


def outside(shape: Shape) -> tuple[int, ...]:
    """One picture's shape in the file: (c, h, w) → (1, h, w, c), (features,) → (1, features)."""
    return (1, *shape[1:], shape[0])


def is_depthwise(node: Node, inputs: Sequence[Shape]) -> bool:
    """Whether LiteRT's depthwise convolution computes it."""
    return isinstance(node.op, ops.Conv2d) and node.op.groups == inputs[0][0] > 1


class Padding(NamedTuple):
    """How a window meets the border. scheme: LiteRT's word; explicit: (top, left, bottom, right) to be added before."""

    scheme: str
    explicit: tuple[int, int, int, int] | None


def padding_of(op: Windowed, size: Pair, out: Pair) -> Padding:
    """LiteRT's padding for a window over a (height, width) map that gives ``out``; explicit where it has no word."""
    dilation = op.dilation if isinstance(op, ops.Conv2d) else (1, 1)
    same, before, after = True, op.padding[:2], []
    for axis in (0, 1):
        reach = (op.kernel[axis] - 1) * dilation[axis] + 1
        used = (out[axis] - 1) * op.stride[axis] + reach - size[axis]  # what is read beyond the map
        after.append(max(used - before[axis], 0))
        total = max(used, 0)
        same &= out[axis] == math.ceil(size[axis] / op.stride[axis]) and before[axis] == total // 2
    if not any((*before, *after)):
        return Padding("VALID", None)
    counted = isinstance(op, ops.AvgPool) and op.count_padding  # SAME never counts the zeros
    return Padding("SAME", None) if same and not counted else Padding("VALID", (*before, after[0], after[1]))


def fused(op: ops.Op) -> str:
    """An activation's name inside another operator; KeyError for those that have none."""
    return _FUSED[op.function] if isinstance(op, ops.Activation) else "NONE"


def write_node(  # noqa: PLR0912 (one case per op)
    file: LitertFile,
    node: Node,
    inputs: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    output: Tensor,
    *,
    activation: str = "NONE",
    positive: bool = False,
) -> None:
    """The operators of one node. parameters: as ``layout`` shapes them, by their short names; of a norm, its affine.

    activation: fused into it. positive: no input is below zero, so that zeros can pad a largest value.
    """
    x, name = inputs[0], node.name
    also = {"fusedActivationFunction": file.enum("ActivationFunctionType", activation)}
    match node.op:
        case ops.Conv2d() as op:
            _conv(file, node, op, x, parameters, output, also)
        case ops.ConvTranspose2d() as op:
            _conv_transpose(file, node, op, x, parameters, output)
        case ops.Linear():
            file.op("FULLY_CONNECTED", [x, parameters["weight"], parameters["bias"]], output, also)
        case ops.BatchNorm():
            scaled = file.op("MUL", [x, parameters["weight"]], between(file, f"{name}:scaled", x, x.shape))
            file.op("ADD", [scaled, parameters["bias"]], output)
        case ops.Activation() as op:
            _activation(file, node, op, x, output)
        case ops.MaxPool() as op:
            _max_pool(file, node, op, x, output, positive=positive)
        case ops.AvgPool() as op:
            _average_pool(file, node, op, x, output)
        case ops.GlobalAvgPool():
            file.op("MEAN", [x, file.integers(1, 2)], output, {"keepDims": True})
        case ops.Add():
            for at, other in enumerate(inputs[1:-1], 1):
                x = file.op("ADD", [x, other], between(file, f"{name}:{at}", output, output.shape))
            file.op("ADD", [x, inputs[-1]], output, also)
        case ops.Mul():
            file.op("MUL", inputs, output, also)
        case ops.Scale() as op:
            file.op("MUL", [x, file.floats(op.factor)], output)
        case ops.Softmax():
            file.op("SOFTMAX", [x], output, {"beta": 1.0})
        case _:
            _move(file, node, inputs, output)


def _move(file: LitertFile, node: Node, inputs: Sequence[Tensor], output: Tensor) -> None:
    """What only moves or spreads values."""
    x, name = inputs[0], node.name
    match node.op:
        case ops.Flatten():
            if x.shape[1:3] != (1, 1):  # features are counted with the channels first
                turned = between(file, f"{name}:turned", x, (1, x.shape[3], *x.shape[1:3]))
                x = file.op("TRANSPOSE", [x, file.integers(0, 3, 1, 2)], turned)
            _reshape(file, x, output)
        case ops.Concat():
            file.op("CONCATENATION", inputs, output, {"axis": len(x.shape) - 1})
        case ops.Slice() as op:
            start = [0] * (len(x.shape) - 1)
            file.op("SLICE", [x, file.integers(*start, op.start), file.integers(*output.shape)], output)
        case ops.PadChannels() as op:
            rest = [0] * (2 * len(x.shape) - 2)
            file.op("PAD", [x, _pairs(file, *rest, op.before, op.after)], output)
        case ops.Shuffle() as op:
            _shuffle(file, node, op, x, output)
        case ops.Resize() as op:
            size = file.integers(*output.shape[1:3])
            if op.mode == "nearest":
                file.op("RESIZE_NEAREST_NEIGHBOR", [x, size], output)
            else:
                file.op("RESIZE_BILINEAR", [x, size], output, {"halfPixelCenters": True})
        case op:
            raise TypeError(f"LiteRT: no operator for {op.kind}")


def layout(node: Node, short: str, tensor: Array, *, depthwise: bool) -> Array:
    """A parameter as LiteRT orders it: (out, kh, kw, in), depthwise (1, kh, kw, out); vectors as they are."""
    if short != "weight" or tensor.ndim != 4:
        return tensor
    if isinstance(node.op, ops.ConvTranspose2d):
        return np.ascontiguousarray(tensor.transpose(1, 2, 3, 0))
    return np.ascontiguousarray(tensor.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)))


def channel_axis(*, depthwise: bool) -> int:
    """The axis of a weight, laid out, along which its output channels lie."""
    return 3 if depthwise else 0


def between(file: LitertFile, name: str, like: Tensor, shape: Sequence[int]) -> Tensor:
    """A value on the way, of the type and grid of ``like``."""
    return file.value(name, shape, like.dtype, like.grid)


def _pairs(file: LitertFile, *values: int) -> Tensor:
    """(before, after) of every axis, (axes, 2)."""
    return file.constant(f"pairs:{','.join(map(str, values))}", np.array(values, np.int32).reshape(-1, 2))


def _reshape(file: LitertFile, x: Tensor, output: Tensor) -> None:
    file.op("RESHAPE", [x, file.integers(*output.shape)], output, {"newShape": list(output.shape)})


def _bordered(file: LitertFile, node: Node, x: Tensor, explicit: tuple[int, int, int, int], lowest: bool) -> Tensor:
    """The map with its border added: zeros, or the lowest value that there is."""
    top, left, bottom, right = explicit
    _, height, width, channels = x.shape
    padded = between(file, f"{node.name}:padded", x, (1, height + top + bottom, width + left + right, channels))
    pairs = _pairs(file, 0, 0, top, bottom, left, right, 0, 0)
    if not lowest:
        return file.op("PAD", [x, pairs], padded)
    if x.grid is None:
        return file.op("PADV2", [x, pairs, file.floats(_LOWEST)], padded)
    floor = file.constant(f"{node.name}:floor", np.zeros(1, np.uint8), grid=x.grid)
    return file.op("PADV2", [x, pairs, floor], padded)


def _window(
    file: LitertFile, node: Node, op: Windowed, x: Tensor, output: Tensor, *, lowest: bool = False
) -> tuple[Tensor, dict[str, Option]]:
    """What the operator reads, padded where it must be, and the options that say how."""
    scheme, explicit = padding_of(op, (x.shape[1], x.shape[2]), (output.shape[1], output.shape[2]))
    if explicit:
        x = _bordered(file, node, x, explicit, lowest)
    scheme_number = file.enum("Padding", scheme)
    return x, {"padding": scheme_number, "strideH": op.stride[0], "strideW": op.stride[1]}


def _conv(
    file: LitertFile,
    node: Node,
    op: ops.Conv2d,
    x: Tensor,
    parameters: Mapping[str, Tensor],
    output: Tensor,
    also: Mapping[str, Option],
) -> None:
    channels = x.shape[3]
    x, options = _window(file, node, op, x, output)
    options |= {**also, "dilationHFactor": op.dilation[0], "dilationWFactor": op.dilation[1]}
    tensors = [x, parameters["weight"], parameters["bias"]]
    if op.groups == channels > 1:
        version = 2 if op.dilation != (1, 1) and x.dtype == "float32" else None
        options["depthMultiplier"] = op.channels // channels
        file.op("DEPTHWISE_CONV_2D", tensors, output, options, version=version)
    else:
        file.op("CONV_2D", tensors, output, options, version=6 if op.groups > 1 else None)


def _conv_transpose(
    file: LitertFile,
    node: Node,
    op: ops.ConvTranspose2d,
    x: Tensor,
    parameters: Mapping[str, Tensor],
    output: Tensor,
) -> None:
    """Whole, and cut where there is padding."""
    top, left, bottom, right = op.padding
    _, height, width, channels = output.shape
    whole = (1, height + top + bottom, width + left + right, channels)
    made = between(file, f"{node.name}:whole", output, whole) if any(op.padding) else output
    options = {"padding": file.enum("Padding", "VALID"), "strideH": op.stride[0], "strideW": op.stride[1]}
    tensors = [file.integers(*whole), parameters["weight"], x, parameters["bias"]]
    file.op("TRANSPOSE_CONV", tensors, made, options)
    if made is not output:
        file.op("SLICE", [made, file.integers(0, top, left, 0), file.integers(*output.shape)], output)


def _max_pool(file: LitertFile, node: Node, op: ops.MaxPool, x: Tensor, output: Tensor, *, positive: bool) -> None:
    positive |= x.grid is not None and x.grid.zero == 0
    x, options = _window(file, node, op, x, output, lowest=not positive)
    file.op("MAX_POOL_2D", [x], output, options | {"filterHeight": op.kernel[0], "filterWidth": op.kernel[1]})


def _average_pool(file: LitertFile, node: Node, op: ops.AvgPool, x: Tensor, output: Tensor) -> None:
    """With SAME the border does not count; zeros that were added do, and are taken out again where they must not."""
    size, out = (x.shape[1], x.shape[2]), (output.shape[1], output.shape[2])
    explicit = padding_of(op, size, out).explicit
    x, options = _window(file, node, op, x, output)
    options |= {"filterHeight": op.kernel[0], "filterWidth": op.kernel[1]}
    if explicit is None or op.count_padding:
        file.op("AVERAGE_POOL_2D", [x], output, options)
        return
    mean = file.op("AVERAGE_POOL_2D", [x], between(file, f"{node.name}:mean", x, output.shape), options)
    rows, columns = (
        np.array([min(i * s - b + k, n) - max(i * s - b, 0) for i in range(o)], np.float32)
        for n, o, k, s, b in zip(size, out, op.kernel, op.stride, op.padding[:2], strict=True)
    )
    share = np.float32(math.prod(op.kernel)) / (rows[:, None] * columns)
    file.op("MUL", [mean, file.constant(f"{node.name}.share", share.reshape(1, *out, 1))], output)


def _shuffle(file: LitertFile, node: Node, op: ops.Shuffle, x: Tensor, output: Tensor) -> None:
    """Reshape to a (groups, n) table, transpose, reshape back."""
    *rest, channels = x.shape
    n, axes = channels // op.groups, range(len(rest))
    table = between(file, f"{node.name}:table", x, (*rest, op.groups, n))
    _reshape(file, x, table)
    turned = between(file, f"{node.name}:turned", x, (*rest, n, op.groups))
    order = file.integers(*axes, len(rest) + 1, len(rest))
    file.op("TRANSPOSE", [table, order], turned, version=4 if len(table.shape) > 4 else None)
    _reshape(file, turned, output)


_PLAIN = {"relu": "RELU", "relu6": "RELU6", "sigmoid": "LOGISTIC", "tanh": "TANH", "hard_swish": "HARD_SWISH"}


def _activation(file: LitertFile, node: Node, op: ops.Activation, x: Tensor, output: Tensor) -> None:
    def step(kind: str, inputs: list[Tensor], suffix: str, activation: str = "NONE") -> Tensor:
        also = {"fusedActivationFunction": file.enum("ActivationFunctionType", activation)}
        made = between(file, f"{node.name}:{suffix}", output, output.shape)
        return file.op(kind, inputs, made, also if kind in ("ADD", "MUL", "DIV") else None)

    match op.function:
        case "relu" | "relu6" | "sigmoid" | "tanh" | "hard_swish":
            file.op(_PLAIN[op.function], [x], output)
        case "leaky_relu":
            file.op("LEAKY_RELU", [x], output, {"alpha": op.slope})
        case "hard_sigmoid":
            shifted = step("ADD", [x, file.floats(3)], "shifted", "RELU6")
            file.op("MUL", [shifted, file.floats(1 / 6)], output)
        case "silu":
            file.op("MUL", [x, step("LOGISTIC", [x], "gate")], output)
        case "gelu":
            file.op("GELU", [x], output, {"approximate": False})
        case "mish":  # tanh(log(1 + e^x)) = n / (n + 2) with n = e^x · (e^x + 2); above 20 it is one
            power = step("EXP", [step("MINIMUM", [x, file.floats(20)], "low")], "power")
            n = step("MUL", [power, step("ADD", [power, file.floats(2)], "plus")], "n")
            gate = step("DIV", [n, step("ADD", [n, file.floats(2)], "whole")], "gate")
            file.op("MUL", [x, gate], output)
