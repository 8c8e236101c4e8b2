"""The closed vocabulary of operations: what each computes on shapes, what it stores, and what it costs.

A shape has no batch axis: ``(channels, height, width)`` for a feature map, ``(features,)`` for a vector. Padding is
always explicit, ``(top, left, bottom, right)`` in pixels, and may be asymmetric: TensorFlow's 'SAME' and torch's
symmetric padding are only two ways of choosing the four numbers.

MACs are multiply-accumulates of convolutions and linear layers, as papers and torchvision count them; everything else
counts as nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from eyespot.errors import GraphError

Shape = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
ActivationName = Literal[
    "relu", "relu6", "leaky_relu", "silu", "sigmoid", "hard_swish", "hard_sigmoid", "gelu", "mish", "tanh"
]
ACTIVATIONS: tuple[ActivationName, ...] = (
    "relu", "relu6", "leaky_relu", "silu", "sigmoid", "hard_swish", "hard_sigmoid", "gelu", "mish", "tanh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Op:
    """One operation; the subclasses are the whole vocabulary."""

    kind: ClassVar[str] = ""
    arity: ClassVar[int | None] = 1  # None: one or more inputs

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        """The output shape for these input shapes; GraphError when they do not meet."""
        return inputs[0]

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """Trained tensors by their short names, in the order they are stored."""
        return {}

    def buffers(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        """Stored tensors that are not trained (batch-norm statistics)."""
        return {}

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        """Multiply-accumulates for one picture."""
        return 0

    def attributes(self) -> dict[str, object]:
        """The fields as JSON values; defaults are left out so that a stored graph stays short."""
        out: dict[str, object] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                out[f.name] = list(value) if isinstance(value, tuple) else value
        return out


def _feature_map(op: Op, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise GraphError(f"{op.kind} needs a feature map (channels, height, width), but its input is {shape}")
    return shape


def _windows(op: Op, size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)) -> Pair:
    if min(*kernel, *stride, *dilation) < 1 or min(padding) < 0:
        raise GraphError(
            f"expected a kernel, stride and dilation from 1 on and padding from 0 on for {op.kind}, got {kernel}, "
            f"{stride}, {dilation} and {padding}"
        )
    top, left, bottom, right = padding
    height = (size[0] + top + bottom - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    width = (size[1] + left + right - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    if height < 1 or width < 1:
        raise GraphError(f"{op.kind} with kernel {kernel} does not fit a {size[0]}×{size[1]} map; draw a larger input")
    return height, width


@dataclass(frozen=True, slots=True)
class Conv2d(Op):
    """Convolution; ``groups == in == out`` makes it depthwise. Weight: (out, in / groups, kh, kw)."""

    kind: ClassVar[str] = "conv2d"
    channels: int = 0
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = False

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = _feature_map(self, inputs[0])
        if self.groups < 1 or channels % self.groups or self.channels % self.groups:
            raise GraphError(f"conv2d: {channels} → {self.channels} channels do not divide into {self.groups} groups")
        return self.channels, *_windows(self, (height, width), self.kernel, self.stride, self.padding, self.dilation)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        weight: dict[str, Shape] = {"weight": (self.channels, inputs[0][0] // self.groups, *self.kernel)}
        return weight | {"bias": (self.channels,)} if self.bias else weight

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return math.prod(output) * (inputs[0][0] // self.groups) * math.prod(self.kernel)


@dataclass(frozen=True, slots=True)
class ConvTranspose2d(Op):
    """Transposed convolution without output padding. Weight: (in, out, kh, kw)."""

    kind: ClassVar[str] = "conv_transpose2d"
    channels: int = 0
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Padding = (0, 0, 0, 0)
    bias: bool = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        _, height, width = _feature_map(self, inputs[0])
        top, left, bottom, right = self.padding
        return (
            self.channels,
            (height - 1) * self.stride[0] - top - bottom + self.kernel[0],
            (width - 1) * self.stride[1] - left - right + self.kernel[1],
        )

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        weight: dict[str, Shape] = {"weight": (inputs[0][0], self.channels, *self.kernel)}
        return weight | {"bias": (self.channels,)} if self.bias else weight

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return math.prod(inputs[0]) * self.channels * math.prod(self.kernel)


@dataclass(frozen=True, slots=True)
class BatchNorm(Op):
    """Batch normalisation over channels; parameters carry torch's names."""

    kind: ClassVar[str] = "batch_norm"
    eps: float = 1e-5
    momentum: float = 0.1  # torch's sense: the weight of the new batch; used in training only

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        return {"weight": inputs[0][:1], "bias": inputs[0][:1]}

    def buffers(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        return {"running_mean": inputs[0][:1], "running_var": inputs[0][:1]}


@dataclass(frozen=True, slots=True)
class Activation(Op):
    """An elementwise non-linearity. hard_sigmoid is relu6(x + 3) / 6, hard_swish is x · hard_sigmoid(x)."""

    kind: ClassVar[str] = "activation"
    function: ActivationName = "relu"
    slope: float = 0.01  # leaky_relu only

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if self.function not in ACTIVATIONS:
            raise GraphError(f"activation {self.function!r} is not one of {', '.join(ACTIVATIONS)}")
        return inputs[0]


@dataclass(frozen=True, slots=True)
class MaxPool(Op):
    """Largest value of each window; padding counts as minus infinity."""

    kind: ClassVar[str] = "max_pool"
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Padding = (0, 0, 0, 0)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = _feature_map(self, inputs[0])
        return channels, *_windows(self, (height, width), self.kernel, self.stride, self.padding)


@dataclass(frozen=True, slots=True)
class AvgPool(Op):
    """Mean of each window; with ``count_padding`` the zeros around the map count too."""

    kind: ClassVar[str] = "avg_pool"
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Padding = (0, 0, 0, 0)
    count_padding: bool = False

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = _feature_map(self, inputs[0])
        return channels, *_windows(self, (height, width), self.kernel, self.stride, self.padding)


@dataclass(frozen=True, slots=True)
class GlobalAvgPool(Op):
    """Mean over height and width: (c, h, w) → (c, 1, 1)."""

    kind: ClassVar[str] = "global_avg_pool"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return _feature_map(self, inputs[0])[0], 1, 1


@dataclass(frozen=True, slots=True)
class Flatten(Op):
    """(c, h, w) → (c·h·w,)."""

    kind: ClassVar[str] = "flatten"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return (math.prod(inputs[0]),)


@dataclass(frozen=True, slots=True)
class Linear(Op):
    """A fully connected layer on a vector. Weight: (out, in)."""

    kind: ClassVar[str] = "linear"
    features: int = 0
    bias: bool = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if len(inputs[0]) != 1:
            raise GraphError(f"linear needs a vector, but its input is {inputs[0]}; flatten it first")
        return (self.features,)

    def parameters(self, inputs: Sequence[Shape]) -> dict[str, Shape]:
        weight: dict[str, Shape] = {"weight": (self.features, inputs[0][0])}
        return weight | {"bias": (self.features,)} if self.bias else weight

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return inputs[0][0] * self.features


def _broadcast(op: Op, inputs: Sequence[Shape]) -> Shape:
    rank = len(inputs[0])
    if any(len(s) != rank for s in inputs):
        raise GraphError(f"{op.kind}: shapes {', '.join(map(str, inputs))} have different ranks")
    for axis in zip(*inputs, strict=True):
        if len(set(axis) - {1}) > 1:
            raise GraphError(f"{op.kind}: shapes {', '.join(map(str, inputs))} do not meet")
    return tuple(max(axis) for axis in zip(*inputs, strict=True))


@dataclass(frozen=True, slots=True)
class Add(Op):
    """Elementwise sum; axes of length one are stretched."""

    kind: ClassVar[str] = "add"
    arity: ClassVar[int | None] = None

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return _broadcast(self, inputs)


@dataclass(frozen=True, slots=True)
class Mul(Op):
    """Elementwise product; axes of length one are stretched (a squeeze-excite gate)."""

    kind: ClassVar[str] = "mul"
    arity: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return _broadcast(self, inputs)


@dataclass(frozen=True, slots=True)
class Scale(Op):
    """Every value times one constant that is not trained (Inception-ResNet's residuals)."""

    kind: ClassVar[str] = "scale"
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Concat(Op):
    """Joined along channels."""

    kind: ClassVar[str] = "concat"
    arity: ClassVar[int | None] = None

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if len({s[1:] for s in inputs}) != 1:
            raise GraphError(f"concat: maps of different sizes {', '.join(map(str, inputs))}")
        return sum(s[0] for s in inputs), *inputs[0][1:]


@dataclass(frozen=True, slots=True)
class Slice(Op):
    """Channels ``start`` up to, not including, ``stop``."""

    kind: ClassVar[str] = "slice"
    start: int = 0
    stop: int = 0

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if not 0 <= self.start < self.stop <= inputs[0][0]:
            raise GraphError(f"slice {self.start}:{self.stop} does not lie in {inputs[0][0]} channels")
        return self.stop - self.start, *inputs[0][1:]


@dataclass(frozen=True, slots=True)
class PadChannels(Op):
    """Channels of zeros before and after the map's own (the parameter-free shortcut of CIFAR ResNets)."""

    kind: ClassVar[str] = "pad_channels"
    before: int = 0
    after: int = 0

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if self.before < 0 or self.after < 0:
            raise GraphError(f"pad_channels: cannot add {self.before} and {self.after} channels")
        return self.before + inputs[0][0] + self.after, *inputs[0][1:]


@dataclass(frozen=True, slots=True)
class Shuffle(Op):
    """Channel shuffle: read the channels as a (groups, n) table and store it transposed (ShuffleNet)."""

    kind: ClassVar[str] = "shuffle"
    groups: int = 2

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if self.groups < 1 or inputs[0][0] % self.groups:
            raise GraphError(f"shuffle: {inputs[0][0]} channels do not divide into {self.groups} groups")
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Resize(Op):
    """Enlarged by whole factors: 'nearest', or 'bilinear' with half-pixel centres."""

    kind: ClassVar[str] = "resize"
    scale: Pair = (2, 2)
    mode: Literal["nearest", "bilinear"] = "nearest"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        channels, height, width = _feature_map(self, inputs[0])
        return channels, height * self.scale[0], width * self.scale[1]


@dataclass(frozen=True, slots=True)
class Softmax(Op):
    """Probabilities over channels or features."""

    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True, slots=True)
class Dropout(Op):
    """Zeroes features at random while training; the identity otherwise."""

    kind: ClassVar[str] = "dropout"
    rate: float = 0.5


@dataclass(frozen=True, slots=True)
class DropPath(Op):
    """Stochastic depth: drops a whole branch of one picture while training; the identity otherwise."""

    kind: ClassVar[str] = "drop_path"
    rate: float = 0.0


VOCABULARY: Mapping[str, type[Op]] = {
    op.kind: op
    for op in (
        Conv2d, ConvTranspose2d, BatchNorm, Activation, MaxPool, AvgPool, GlobalAvgPool, Flatten, Linear,
        Add, Mul, Scale, Concat, Slice, PadChannels, Shuffle, Resize, Softmax, Dropout, DropPath,
    )
}  # fmt: skip


def op_from_json(kind: str, attributes: Mapping[str, object]) -> Op:
    """The op of a stored graph; unknown ops and attributes are refused."""
    cls = VOCABULARY.get(kind)
    if cls is None:
        raise GraphError(f"unknown op {kind!r}; this eyespot knows {', '.join(VOCABULARY)}")
    defaults = {f.name: f.default for f in fields(cls)}
    unknown = attributes.keys() - defaults.keys()
    if unknown:
        raise GraphError(f"{kind} has no attribute {', '.join(sorted(unknown))}")
    for name, value in attributes.items():
        if not _is_like(value, defaults[name]):
            raise GraphError(f"expected {name} of {kind} to be like {defaults[name]!r}, got {str(value)[:60]!r}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()})


def _is_like(value: object, default: object) -> bool:
    """Whether a value out of JSON is of the kind of an attribute's default."""
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and len(value) == len(default) and all(type(n) is int for n in value)
    if isinstance(default, float):
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    return type(value) is type(default)
