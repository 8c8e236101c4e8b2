"""Computes a written Core ML package in numpy, operation by operation as coremltools documents them: no Mac is needed.

It shares no code with eyespot, and knows the operations that eyespot writes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_ERF = np.vectorize(math.erf, otypes=[np.float32])


def run_package(package: Path, pixels, levels=None) -> np.ndarray:
    """The logits of uint8 pictures (n, height, width, 3), RGB, each through the program by itself.

    levels: by the names of `quantize` operations, what goes on in the place of what they give (n, …); what they gave
    is put there instead, so that each shows what it makes of the right values.
    """
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    model = coremltools.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    image = spec.description.input[0]
    blue_first = image.type.imageType.ColorSpace.Name(image.type.imageType.colorSpace) == "BGR"
    main = load(spec, spec.specificationVersion, model.weights_dir).functions["main"]
    planes = (pixels[..., ::-1] if blue_first else pixels).transpose(0, 3, 1, 2).astype(np.float32)
    answers = []
    for at, picture in enumerate(planes):
        values = {image.name: picture[None]}
        for operation in main.operations:
            given = {key: _value(each, values) for key, each in operation.inputs.items()}
            given = {key: value for key, value in given.items() if value is not None}
            made = _constant(operation) if operation.op_type == "const" else _compute(operation.op_type, given)
            name = operation.outputs[0].name
            if operation.op_type == "quantize" and levels is not None:
                made, levels[name][at] = levels[name][at : at + 1].copy(), made[0]
            values[name] = made
        answers.append(values[main.outputs[0].name][0])
    return np.stack(answers)


def _value(given, values):
    if given is None:
        return None
    if isinstance(given, (list, tuple)):
        return [values[each.name] for each in given]
    return values[given.name]


def _constant(operation):
    value = operation.outputs[0].val
    return value if isinstance(value, (str, bool)) else np.asarray(value)


def _compute(kind, given):
    x = given.pop("x", None)
    if kind in _SIMPLE:
        return _SIMPLE[kind](x)
    return _OPERATIONS[kind](x, **given)


def _along(vector, axis, rank):
    vector = np.asarray(vector)
    return vector if not vector.ndim else vector.reshape([-1 if i == axis else 1 for i in range(rank)])


def _quantize(_, input, scale, zero_point, output_dtype):
    lowest, highest = {"uint8": (0, 255), "int8": (-128, 127)}[output_dtype]
    levels = np.clip(np.rint(input / scale) + np.float32(zero_point), lowest, highest)
    return levels.astype(output_dtype)


def _dequantize(_, input, scale, zero_point):
    return (input.astype(np.float32) - np.float32(zero_point)) * scale


def _weight(_, quantized_data, scale, zero_point, axis):
    rank = quantized_data.ndim
    levels = quantized_data.astype(np.float32) - _along(zero_point, axis, rank).astype(np.float32)
    return levels * _along(scale, axis, rank)


def _padded(x, pad, value=0.0):
    top, bottom, left, right = pad
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _windows(x, kernel, strides, dilations=(1, 1)):
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    windows = sliding_window_view(x, reach, axis=(2, 3))[:, :, :: strides[0], :: strides[1]]
    return windows[..., :: dilations[0], :: dilations[1]]


def _conv(x, weight, strides, pad, dilations, groups, pad_type, bias=None):
    assert pad_type == "custom"
    windows = _windows(_padded(x, pad), weight.shape[2:], strides, dilations)
    parts = zip(np.split(windows, groups, 1), np.split(weight, groups, 0), strict=True)
    y = np.concatenate([np.einsum("nchwij,ocij->nohw", w, k, optimize=True) for w, k in parts], 1)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _conv_transpose(x, weight, strides, pad, pad_type, output_shape, bias=None, dilations=(1, 1), groups=1):
    assert pad_type == "custom"
    assert groups == 1
    assert tuple(dilations) == (1, 1)
    (n, _, h, w), (_, channels, *kernel) = x.shape, weight.shape
    y = np.zeros((n, channels, *((s - 1) * t + k for s, t, k in zip((h, w), strides, kernel, strict=True))), np.float32)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            put = y[:, :, i : i + (h - 1) * strides[0] + 1 : strides[0], j : j + (w - 1) * strides[1] + 1 : strides[1]]
            put += np.einsum("nchw,co->nohw", x, weight[:, :, i, j])
    top, _, left, _ = pad
    y = y[:, :, top : top + output_shape[2], left : left + output_shape[3]]
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _avg_pool(x, kernel_sizes, strides, pad, pad_type, exclude_padding_from_average, ceil_mode=False):
    assert pad_type == "custom"
    assert not ceil_mode
    total = _windows(_padded(x, pad), kernel_sizes, strides).sum((-1, -2))
    inside = np.ones_like(x) if exclude_padding_from_average else np.ones_like(_padded(x, pad))
    inside = _padded(inside, pad) if exclude_padding_from_average else inside
    return total / _windows(inside, kernel_sizes, strides).sum((-1, -2))


def _max_pool(x, kernel_sizes, strides, pad, pad_type, ceil_mode=False):
    assert pad_type == "custom"
    assert not ceil_mode
    return _windows(_padded(x, pad, -np.inf), kernel_sizes, strides).max((-1, -2))


def _bilinear(x, scale_factor_height, scale_factor_width, align_corners):
    assert not align_corners
    for axis, factor in ((2, scale_factor_height), (3, scale_factor_width)):
        size = x.shape[axis]
        at = np.clip((np.arange(round(size * factor)) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(4)])
        x = x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, size - 1), axis) * share
    return x


def _concat(_, values, axis, interleave):
    assert not interleave
    return np.concatenate(values, int(axis))


def _softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


_SIMPLE = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(np.float32(0), x),
}
_OPERATIONS = {
    "constexpr_affine_dequantize": _weight,
    "constexpr_cast": lambda _, source_val, output_dtype: source_val.astype({"fp32": np.float32}[output_dtype]),
    "quantize": _quantize,
    "dequantize": _dequantize,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": lambda x, weight, bias=0: x @ weight.T + bias,
    "batch_norm": lambda x, mean, variance, gamma, beta, epsilon: (
        (x - _along(mean, 1, x.ndim)) * _along(gamma / np.sqrt(variance + epsilon), 1, x.ndim) + _along(beta, 1, x.ndim)
    ),
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "leaky_relu": lambda x, alpha: np.where(x < 0, x * alpha, x),
    "sigmoid_hard": lambda x, alpha, beta: np.clip(x * alpha + beta, 0, 1),
    "gelu": lambda x, mode: {"EXACT": lambda: x * (1 + _ERF(x / np.float32(2**0.5))) / 2}[mode](),
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "reduce_mean": lambda x, axes, keep_dims: x.mean(tuple(axes), keepdims=bool(keep_dims)),
    "reshape": lambda x, shape: x.reshape(shape),
    "transpose": lambda x, perm: x.transpose(perm),
    "concat": _concat,
    "slice_by_size": lambda x, begin, size: x[tuple(slice(b, b + s) for b, s in zip(begin, size, strict=True))],
    "pad": lambda x, pad, mode, constant_val: np.pad(x, np.reshape(pad, (-1, 2)), mode, constant_values=constant_val),
    "upsample_nearest_neighbor": lambda x, scale_factor_height, scale_factor_width: x.repeat(
        int(scale_factor_height), 2
    ).repeat(int(scale_factor_width), 3),
    "upsample_bilinear": _bilinear,
    "softmax": _softmax,
}
