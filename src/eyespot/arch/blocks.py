"""The blocks that families share, as plain functions that draw on a Sketch and return the map they end in.

Each takes the sketch, the name of its scope, the map it reads, its output channels and a ``Style``. Inside a scope the
names are always ``conv``, ``norm`` and ``act``. Padding is the sketch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from eyespot.arch.variant import Size
from eyespot.core.ops import ActivationName
from eyespot.core.sketch import Map, PaddingRule, Sketch
from eyespot.errors import UsageError

Key = TypeVar("Key")
Row = TypeVar("Row")


class Style(NamedTuple):
    """What all layers of a network have in common: the activation (None: linear) and batch norm's epsilon."""

    act: ActivationName | None = "relu"
    eps: float = 1e-5

    @property
    def linear(self) -> Style:
        """The same without an activation."""
        return Style(None, self.eps)


class Squeeze(NamedTuple):
    """A squeeze-excite branch: its reduced channels, the activation between its two layers, and its gate."""

    channels: int
    act: ActivationName
    gate: ActivationName


Shortcut = Callable[[Sketch, Map, int, Style, int], Map]  # sketch, input, channels, style, stride


def sketch(size: Size, padding: PaddingRule) -> Sketch:
    """An empty drawing for an RGB picture of this size. UsageError when it is not one."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UsageError(f"size {size} is not a picture; give a side, or (height, width), of at least 1 pixel")
    return Sketch((3, height, width), padding=padding)


def pick(table: Mapping[Key, Row], key: Key, argument: str) -> Row:
    """The row of a family's table that an argument names. UsageError, with the legal values, when there is none."""
    if key not in table:
        raise UsageError(f"{argument} {key!r} is not one of {', '.join(map(str, table))}")
    return table[key]


def round_channels(channels: float, divisor: int = 8, *, least: float = 0.9) -> int:
    """The nearest multiple of ``divisor``, never under ``least`` of ``channels``: every MobileNet's width rounding."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < least * channels else rounded


def conv_norm_act(
    s: Sketch, name: str, x: Map, channels: int, style: Style, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> Map:
    """Convolution, batch norm, activation."""
    with s.scope(name):
        x = s.conv("conv", x, channels, kernel=kernel, stride=stride, groups=groups)
        return s.act("act", s.norm("norm", x, eps=style.eps), style.act)


def depthwise_norm_act(s: Sketch, name: str, x: Map, style: Style, *, kernel: int = 3, stride: int = 1) -> Map:
    """Depthwise convolution, batch norm, activation."""
    with s.scope(name):
        x = s.depthwise("conv", x, kernel=kernel, stride=stride)
        return s.act("act", s.norm("norm", x, eps=style.eps), style.act)


def depthwise_separable(s: Sketch, name: str, x: Map, channels: int, style: Style, *, stride: int = 1) -> Map:
    """MobileNet V1's block: 3×3 per channel, then 1×1 across channels (1704.04861, figure 3)."""
    with s.scope(name):
        x = depthwise_norm_act(s, "depthwise", x, style, stride=stride)
        return conv_norm_act(s, "pointwise", x, channels, style)


def squeeze_excite(s: Sketch, x: Map, squeeze: Squeeze) -> Map:
    """Each channel of ``x`` times a gate that the means of all channels decide (1709.01507)."""
    with s.scope("squeeze_excite"):
        y = s.global_pool("pool", x)
        y = s.act("act", s.conv("reduce", y, squeeze.channels, bias=True), squeeze.act)
        y = s.act("gate", s.conv("expand", y, x.channels, bias=True), squeeze.gate)
        return s.mul("scale", x, y)


def inverted_residual(
    s: Sketch,
    name: str,
    x: Map,
    channels: int,
    style: Style,
    *,
    expanded: int,
    kernel: int = 3,
    stride: int = 1,
    squeeze: Squeeze | None = None,
    drop_path: float = 0.0,
) -> Map:
    """MobileNetV2's bottleneck (1801.04381, table 1); with ``squeeze``, MobileNetV3's and EfficientNet's MBConv.

    1×1 to ``expanded`` channels (left out when there already are as many), depthwise, squeeze-excite, linear 1×1 to
    ``channels``; the input is added when it has the output's shape.
    """
    with s.scope(name):
        y = x if expanded == x.channels else conv_norm_act(s, "expand", x, expanded, style)
        y = depthwise_norm_act(s, "depthwise", y, style, kernel=kernel, stride=stride)
        if squeeze is not None:
            y = squeeze_excite(s, y, squeeze)
        y = conv_norm_act(s, "project", y, channels, style.linear)
        if stride != 1 or x.channels != channels:
            return y
        return s.sum("add", x, s.drop_path("drop_path", y, drop_path))


def fused_inverted_residual(
    s: Sketch,
    name: str,
    x: Map,
    channels: int,
    style: Style,
    *,
    expanded: int,
    kernel: int = 3,
    stride: int = 1,
    drop_path: float = 0.0,
) -> Map:
    """EfficientNetV2's Fused-MBConv (2104.00298, figure 2): one full convolution for MBConv's first 1×1 and depthwise.

    k×k to ``expanded`` channels, linear 1×1 to ``channels``; without an expansion one k×k convolution, activated, is
    all. The input is added when it has the output's shape.
    """
    with s.scope(name):
        if expanded == x.channels:
            y = conv_norm_act(s, "spatial", x, channels, style, kernel=kernel, stride=stride)
        else:
            y = conv_norm_act(s, "expand", x, expanded, style, kernel=kernel, stride=stride)
            y = conv_norm_act(s, "project", y, channels, style.linear)
        if stride != 1 or x.channels != channels:
            return y
        return s.sum("add", x, s.drop_path("drop_path", y, drop_path))


def projection(s: Sketch, x: Map, channels: int, style: Style, stride: int) -> Map:
    """ResNet's shortcut where shapes change: 1×1 convolution and batch norm ("option B")."""
    return conv_norm_act(s, "shortcut", x, channels, style.linear, stride=stride)


def zero_padding(s: Sketch, x: Map, channels: int, _style: Style, stride: int) -> Map:
    """ResNet's shortcut without parameters ("option A"): every ``stride``-th pixel, channels of zeros on both sides."""
    zeros = channels - x.channels
    with s.scope("shortcut"):
        x = s.avg_pool("subsample", x, kernel=1, stride=stride)
        return s.pad_channels("pad", x, zeros // 2, zeros - zeros // 2)


def basic_residual(
    s: Sketch, name: str, x: Map, channels: int, style: Style, *, stride: int = 1, shortcut: Shortcut = projection
) -> Map:
    """ResNet's block of two 3×3 convolutions (1512.03385, figure 5, left)."""
    with s.scope(name):
        y = conv_norm_act(s, "first", x, channels, style, kernel=3, stride=stride)
        y = conv_norm_act(s, "second", y, channels, style.linear, kernel=3)
        x = x if x.shape == y.shape else shortcut(s, x, channels, style, stride)
        return s.act("act", s.sum("add", x, y), style.act)


def bottleneck_residual(
    s: Sketch,
    name: str,
    x: Map,
    channels: int,
    style: Style,
    *,
    strides: tuple[int, int] = (1, 1),
    out: int | None = None,
    groups: int = 1,
    squeeze: Squeeze | None = None,
) -> Map:
    """ResNet's bottleneck (figure 5, right): 1×1 to ``channels``, 3×3, 1×1 to ``out``, usually four times as many.

    strides: of the first 1×1 and of the 3×3. ResNeXt (1611.05431, figure 3c) divides the 3×3 into ``groups``; RegNetY
    (2003.13678) also gates what comes out of it.
    """
    with s.scope(name):
        y = conv_norm_act(s, "reduce", x, channels, style, stride=strides[0])
        y = conv_norm_act(s, "spatial", y, channels, style, kernel=3, stride=strides[1], groups=groups)
        if squeeze is not None:
            y = squeeze_excite(s, y, squeeze)
        y = conv_norm_act(s, "expand", y, out or 4 * channels, style.linear)
        x = x if x.shape == y.shape else projection(s, x, y.channels, style, strides[0] * strides[1])
        return s.act("act", s.sum("add", x, y), style.act)


def classify(s: Sketch, x: Map, classes: int, dropout: float) -> Map:
    """The head that most families share: mean over the map, dropout, a linear layer called ``classifier``."""
    x = s.flatten("flatten", s.global_pool("pool", x))
    return s.linear("classifier", s.dropout("dropout", x, dropout), classes)
