"""ONNX operators with weights or windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eyespot.core.ops import Padding, Pair
from eyespot.core.sketch import Map, pads
from eyespot.weights.onnx import layout
from eyespot.weights.onnx.constants import axes_of
from eyespot.weights.onnx.drawing import Drawing, Value, floats, optional, tail
from eyespot.weights.onnx.model import OnnxNode, Tensor

Handler = Callable[[Drawing, OnnxNode, list[Value]], layout.Value]


def _conv(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    weight, bias, x = floats(given, 1), optional(given, 2), tail(given[0])
    kernel, stride, dilation = (
        _pair(node, "kernel_shape", weight.shape[2:]),
        _pair(node, "strides"),
        _pair(node, "dilations"),
    )
    groups = node.integer("group", 1)
    if isinstance(x, layout.Cells):
        return layout.Leaf(_on_cells(d, x, weight, bias, _padding(node, x.shape[2:], kernel, stride, dilation), stride))
    source = d.map(x)
    padding = _padding(node, source.shape[1:], kernel, stride, dilation)
    made = d.sketch.conv(
        d.free("conv"), source, weight.shape[0],
        kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias is not None,
    )  # fmt: skip
    d.give(made, weight=weight, bias=bias)
    return layout.Leaf(made)


def _on_cells(
    d: Drawing, x: layout.Cells, weight: Tensor, bias: Tensor | None, padding: Padding, stride: Pair
) -> Map:  # fmt: skip
    """A convolution of every step-th pixel's cells as one of the whole map, with a larger kernel and stride."""
    step, (out, _, high, wide) = x.step, weight.shape
    channels = x.inside.channels
    whole = np.zeros((out, channels, high * step, wide * step), np.float32)
    for i, (row, column) in enumerate(x.starts):
        whole[:, :, row::step, column::step] = weight[:, i * channels : (i + 1) * channels]
    if any(side % step for side in x.inside.shape[1:]):
        raise ValueError(f"cells of {step}×{step} pixels do not divide a map {x.inside.shape}")
    top, left, bottom, right = (side * step for side in padding)
    made = d.sketch.conv(
        d.free("conv"), x.inside, out,
        kernel=(high * step, wide * step), stride=(stride[0] * step, stride[1] * step),
        padding=(top, left, bottom, right), bias=bias is not None,
    )  # fmt: skip
    d.give(made, weight=whole, bias=bias)
    return made


def _conv_transpose(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    from eyespot.core import ops

    weight, bias = floats(given, 1), optional(given, 2)
    if node.integer("group", 1) != 1 or any(node.integers("output_padding")) or set(_pair(node, "dilations")) != {1}:
        raise ValueError("groups, dilations and output padding of a transposed convolution are not known")
    padding = _explicit(node) if node.text("auto_pad", "NOTSET") == "NOTSET" else None
    if padding is None:
        raise ValueError(f"auto_pad {node.text('auto_pad')} of a transposed convolution is not known")
    kernel = _pair(node, "kernel_shape", weight.shape[2:])
    op = ops.ConvTranspose2d(weight.shape[1], kernel, _pair(node, "strides"), padding, bias is not None)
    made = d.sketch.add(d.free("deconv"), op, d.map(given[0]))
    d.give(made, weight=weight, bias=bias)
    return layout.Leaf(made)


def _gemm(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    if node.integer("transA", 0):
        raise ValueError("its first matrix is transposed")
    weight = floats(given, 1) * np.float32(node.real("alpha", 1.0))
    bias = optional(given, 2)
    bias = None if bias is None else bias * np.float32(node.real("beta", 1.0))
    return _linear(d, node, tail(given[0]), weight if node.integer("transB", 0) else weight.T, bias)


def _matmul(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    weight = floats(given, 1).T
    return _linear(d, node, tail(given[0]), weight, np.zeros(len(weight), np.float32))  # a sum behind it is its bias


def _linear(
    d: Drawing, node: OnnxNode, x: layout.Value, weight: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> layout.Value:
    """A fully connected layer; on a pooled map whose result becomes a map again, a 1×1 convolution."""
    if weight.ndim != 2 or len(x.shape) != 2:
        raise ValueError(f"a product of {x.shape} with {weight.shape}; one of a vector with a matrix was needed")
    features = weight.shape[0]
    bias = None if bias is None else np.broadcast_to(bias.ravel(), (features,))
    pooled = x.inside.map if isinstance(x, layout.Reshaped) and isinstance(x.inside, layout.Leaf) else None
    if pooled is not None and pooled.shape[1:] == (1, 1) and _becomes_a_map(d, node.outputs[0]):
        made = d.sketch.conv(d.free("conv"), pooled, features, bias=bias is not None)
        d.give(made, weight=weight[:, :, None, None], bias=bias)
        return layout.reshaped(layout.Leaf(made), (1, features))
    made = d.sketch.linear(d.free("linear"), d.vector(x), features, bias=bias is not None)
    d.give(made, weight=weight, bias=bias)
    return layout.Leaf(made)


def _becomes_a_map(d: Drawing, name: str) -> bool:
    """Whether a vector is only reshaped or goes through activations until it is a map again."""
    readers, left, seen = d.readers, [name], set()
    while left:
        for reader in readers.get(left.pop(), []):
            if reader.kind in ("Reshape", "Unsqueeze"):
                return True
            if reader.outputs and reader.outputs[0] not in seen and reader.kind != "Flatten":
                seen.add(reader.outputs[0])
                left.append(reader.outputs[0])
    return False


def _batch_norm(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    made = d.sketch.norm(d.free("norm"), d.map(given[0]), eps=node.real("epsilon", 1e-5))
    weight, bias, mean, variance = (floats(given, place) for place in range(1, 5))
    d.give(made, weight=weight, bias=bias, running_mean=mean, running_var=variance)
    return layout.Leaf(made)


def _pool(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x, kernel, stride = d.map(given[0]), _pair(node, "kernel_shape"), _pair(node, "strides")
    if set(_pair(node, "dilations")) != {1} or len(node.outputs) > 1:
        raise ValueError("dilations and indices of a pool are not known")
    padding = _padding(node, x.shape[1:], kernel, stride, (1, 1))
    ceil = bool(node.integer("ceil_mode", 0))
    if node.kind == "MaxPool":
        return layout.Leaf(
            d.sketch.max_pool(d.free("pool"), x, kernel=kernel, stride=stride, padding=padding, ceil=ceil)
        )
    if ceil and any((n + p - k) % s for n, p, k, s in zip(
        x.shape[1:], (padding[0] + padding[2], padding[1] + padding[3]), kernel, stride, strict=True
    )):  # fmt: skip
        raise ValueError("an average over windows that are cut off is not known")
    counted = bool(node.integer("count_include_pad", 0))
    return layout.Leaf(
        d.sketch.avg_pool(d.free("pool"), x, kernel=kernel, stride=stride, padding=padding, count_padding=counted)
    )


def _global_average(d: Drawing, _: OnnxNode, given: list[Value]) -> layout.Value:
    return layout.Leaf(d.sketch.global_pool(d.free("pool"), d.map(given[0])))


def _global_max(d: Drawing, _: OnnxNode, given: list[Value]) -> layout.Value:
    x = d.map(given[0])
    size = (x.shape[1], x.shape[2])
    return layout.Leaf(d.sketch.max_pool(d.free("pool"), x, kernel=size, stride=size, padding="valid"))


def _mean(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x = tail(given[0])
    axes = {axis % len(x.shape) for axis in axes_of(node, given)}
    kept = (1, x.shape[1], 1, 1)
    if isinstance(x, layout.Transposed) and x.axes == (0, 2, 3, 1) and axes == {1, 2}:
        x, axes, kept = x.inside, {2, 3}, (1, 1, 1, x.shape[3])
    if len(x.shape) != 4 or axes != {2, 3}:
        raise ValueError(f"a mean over the axes {sorted(axes)} of {x.shape}; one over height and width was needed")
    pooled = layout.Leaf(d.sketch.global_pool(d.free("pool"), d.map(x)))
    return layout.reshaped(pooled, kept if node.integer("keepdims", 1) else (1, x.shape[1]))


def _resize(d: Drawing, node: OnnxNode, given: list[Value]) -> layout.Value:
    x, mode = d.map(given[0]), node.text("mode", "nearest")
    scales, sizes = (
        _last_constant(given, place)
        for place in ((1, 2) if len(given) > 2 or node.kind == "Upsample" else (1, 9), (3,))
    )
    if node.kind == "Upsample" or (scales is None and len(given) == 2):
        scales = floats(given, 1) if len(given) > 1 else np.array(node.attributes.get("scales", ()), np.float32)
    if sizes is not None:
        scales = sizes / np.array([1, *x.shape], np.float64)
    if (
        scales is None
        or len(scales) != 4
        or scales[0] != 1
        or scales[1] != 1
        or scales[2] != scales[3]
        or scales[2] % 1
    ):
        raise ValueError(f"it scales by {None if scales is None else scales.tolist()}; a whole factor was needed")
    coordinates = node.text("coordinate_transformation_mode", "half_pixel" if node.kind == "Resize" else "asymmetric")
    by = int(scales[2])
    if mode == "nearest":
        return layout.Leaf(d.sketch.resize(d.free("resize"), x, by))  # for whole factors all rules agree
    if mode == "linear" and coordinates in ("half_pixel", "pytorch_half_pixel"):
        return layout.Leaf(d.sketch.resize(d.free("resize"), x, by, "bilinear"))
    raise ValueError(f"mode {mode} with {coordinates} is not known")


def _last_constant(given: Sequence[Value], places: Sequence[int]) -> Tensor | None:
    for place in reversed(places):
        value = given[place] if place < len(given) else None
        if isinstance(value, np.ndarray) and value.size:
            return value.astype(np.float64)
    return None


def _pair(node: OnnxNode, name: str, default: Sequence[int] = (1, 1)) -> Pair:
    values = node.integers(name, default)
    if len(values) != 2:
        raise ValueError(f"{name} is {values}; two numbers, for height and width, were needed")
    return values[0], values[1]


def _explicit(node: OnnxNode) -> Padding:
    values = node.integers("pads", (0, 0, 0, 0))
    if len(values) != 4 or min(values) < 0:
        raise ValueError(f"pads is {values}; four numbers from 0 on were needed")
    return values[0], values[1], values[2], values[3]


def _padding(node: OnnxNode, size: Sequence[int], kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    rule = node.text("auto_pad", "NOTSET")
    if rule in ("NOTSET", ""):
        return _explicit(node)
    if rule == "VALID":
        return 0, 0, 0, 0
    if rule == "SAME_UPPER":
        return pads("same", (size[0], size[1]), kernel, stride, dilation)
    raise ValueError(f"auto_pad {rule} is not known")


LAYERS: Mapping[str, Handler] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul,
    "BatchNormalization": _batch_norm, "MaxPool": _pool, "AveragePool": _pool,
    "GlobalAveragePool": _global_average, "GlobalMaxPool": _global_max, "ReduceMean": _mean,
    "Resize": _resize, "Upsample": _resize,
}  # fmt: skip
