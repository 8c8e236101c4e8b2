"""MobileNetV4: Universal Models for the Mobile Ecosystem (Qin et al. 2024, arXiv 2404.10518), its convolutional nets.

The tables are the appendix's architecture specifications of MNv4-Conv-S, -M and -L, as timm trained them. Taps are the
last block of each stride: the stem at 2, stages 1 to 4 at 4 to 32.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from eyespot.arch.blocks import (
    Style,
    conv_norm_act,
    depthwise_norm_act,
    fused_inverted_residual,
    pick,
    round_channels,
    sketch,
)
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import Map, PaddingRule, Sketch


class Conv(NamedTuple):
    """A row ``Conv2D``."""

    kernel: int
    channels: int
    stride: int = 1


class Fused(NamedTuple):
    """A row ``FusedIB``: one full convolution expands and filters, a linear 1×1 projects."""

    kernel: int
    expansion: int
    channels: int
    stride: int = 1


class Universal(NamedTuple):
    """A row of the universal inverted bottleneck; a depthwise kernel of 0 is left out.

    Both kernels: the paper's ExtraDW; ``middle`` alone: IB; ``start`` alone: ConvNext; none: FFN.
    """

    start: int
    middle: int
    expansion: int
    channels: int
    stride: int = 1


class Network(NamedTuple):
    """A table: the stem's channels, and the rows of the stages at strides 4, 8, 16 and 32."""

    stem: int
    stages: tuple[tuple[Conv | Fused | Universal, ...], ...]


CONV_S = Network(
    stem=32,
    stages=(
        (Conv(kernel=3, channels=32, stride=2), Conv(kernel=1, channels=32)),
        (Conv(kernel=3, channels=96, stride=2), Conv(kernel=1, channels=64)),
        (
            Universal(start=5, middle=5, expansion=3, channels=96, stride=2),
            Universal(start=0, middle=3, expansion=2, channels=96),
            Universal(start=0, middle=3, expansion=2, channels=96),
            Universal(start=0, middle=3, expansion=2, channels=96),
            Universal(start=0, middle=3, expansion=2, channels=96),
            Universal(start=3, middle=0, expansion=4, channels=96),
        ),
        (
            Universal(start=3, middle=3, expansion=6, channels=128, stride=2),
            Universal(start=5, middle=5, expansion=4, channels=128),
            Universal(start=0, middle=5, expansion=4, channels=128),
            Universal(start=0, middle=5, expansion=3, channels=128),
            Universal(start=0, middle=3, expansion=4, channels=128),
            Universal(start=0, middle=3, expansion=4, channels=128),
        ),
    ),
)

CONV_M = Network(
    stem=32,
    stages=(
        (Fused(kernel=3, expansion=4, channels=48, stride=2),),
        (
            Universal(start=3, middle=5, expansion=4, channels=80, stride=2),
            Universal(start=3, middle=3, expansion=2, channels=80),
        ),
        (
            Universal(start=3, middle=5, expansion=6, channels=160, stride=2),
            Universal(start=3, middle=3, expansion=4, channels=160),
            Universal(start=3, middle=3, expansion=4, channels=160),
            Universal(start=3, middle=5, expansion=4, channels=160),
            Universal(start=3, middle=3, expansion=4, channels=160),
            Universal(start=3, middle=0, expansion=4, channels=160),
            Universal(start=0, middle=0, expansion=2, channels=160),
            Universal(start=3, middle=0, expansion=4, channels=160),
        ),
        (
            Universal(start=5, middle=5, expansion=6, channels=256, stride=2),
            Universal(start=5, middle=5, expansion=4, channels=256),
            Universal(start=3, middle=5, expansion=4, channels=256),
            Universal(start=3, middle=5, expansion=4, channels=256),
            Universal(start=0, middle=0, expansion=4, channels=256),
            Universal(start=3, middle=0, expansion=4, channels=256),
            Universal(start=3, middle=5, expansion=2, channels=256),
            Universal(start=5, middle=5, expansion=4, channels=256),
            Universal(start=0, middle=0, expansion=4, channels=256),
            Universal(start=0, middle=0, expansion=4, channels=256),
            Universal(start=5, middle=0, expansion=2, channels=256),
        ),
    ),
)

CONV_L = Network(
    stem=24,
    stages=(
        (Fused(kernel=3, expansion=4, channels=48, stride=2),),
        (
            Universal(start=3, middle=5, expansion=4, channels=96, stride=2),
            Universal(start=3, middle=3, expansion=4, channels=96),
        ),
        (
            Universal(start=3, middle=5, expansion=4, channels=192, stride=2),
            Universal(start=3, middle=3, expansion=4, channels=192),
            Universal(start=3, middle=3, expansion=4, channels=192),
            Universal(start=3, middle=3, expansion=4, channels=192),
            Universal(start=3, middle=5, expansion=4, channels=192),
            Universal(start=5, middle=3, expansion=4, channels=192),
            Universal(start=5, middle=3, expansion=4, channels=192),
            Universal(start=5, middle=3, expansion=4, channels=192),
            Universal(start=5, middle=3, expansion=4, channels=192),
            Universal(start=5, middle=3, expansion=4, channels=192),
            Universal(start=3, middle=0, expansion=4, channels=192),
        ),
        (
            Universal(start=5, middle=5, expansion=4, channels=512, stride=2),
            Universal(start=5, middle=5, expansion=4, channels=512),
            Universal(start=5, middle=5, expansion=4, channels=512),
            Universal(start=5, middle=5, expansion=4, channels=512),
            Universal(start=5, middle=0, expansion=4, channels=512),
            Universal(start=5, middle=3, expansion=4, channels=512),
            Universal(start=5, middle=0, expansion=4, channels=512),
            Universal(start=5, middle=0, expansion=4, channels=512),
            Universal(start=5, middle=3, expansion=4, channels=512),
            Universal(start=5, middle=5, expansion=4, channels=512),
            Universal(start=5, middle=0, expansion=4, channels=512),
            Universal(start=5, middle=0, expansion=4, channels=512),
            Universal(start=5, middle=0, expansion=4, channels=512),
        ),
    ),
)

NETWORKS = {"conv_small": CONV_S, "conv_medium": CONV_M, "conv_large": CONV_L}
HEAD, HIDDEN = 960, 1280


def universal_inverted_bottleneck(
    s: Sketch,
    name: str,
    x: Map,
    channels: int,
    style: Style,
    *,
    expanded: int,
    start: int = 0,
    middle: int = 3,
    stride: int = 1,
    drop_path: float = 0.0,
) -> Map:
    """MobileNetV4's UIB (figure 4): MobileNetV2's bottleneck with a depthwise layer before it, inside it, both or none.

    A linear depthwise ``start``×``start``, 1×1 to ``expanded`` channels, depthwise ``middle``×``middle``, linear 1×1 to
    ``channels``; a kernel of 0 is left out. The stride is the middle one's if there is one. The input is added when it
    has the output's shape.
    """
    with s.scope(name):
        y = x
        if start:
            y = depthwise_norm_act(s, "start", y, style.linear, kernel=start, stride=1 if middle else stride)
        y = conv_norm_act(s, "expand", y, expanded, style)
        if middle:
            y = depthwise_norm_act(s, "depthwise", y, style, kernel=middle, stride=stride)
        y = conv_norm_act(s, "project", y, channels, style.linear)
        return y if y.shape != x.shape else s.sum("add", x, s.drop_path("drop_path", y, drop_path))


def mobilenet_v4(
    *,
    network: Literal["conv_small", "conv_medium", "conv_large"] = "conv_small",
    width: float = 1.0,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.2,
    drop_path: float = 0.0,
) -> Graph:
    """MobileNetV4 at a width multiplier. timm's weights as it stands.

    drop_path: the rate that stochastic depth would reach after the last block; it grows linearly from zero.
    """
    table = pick(NETWORKS, network, "network")
    style = Style("relu", eps)
    s = sketch(size, padding)
    # timm narrows the stem for no multiplier below one, and the hidden layer for none at all.
    x = conv_norm_act(s, "stem", s.input, round_channels(table.stem * max(width, 1.0)), style, kernel=3, stride=2)
    s.tap(2, x)
    drawn, blocks = 0, sum(map(len, table.stages))
    for i, rows in enumerate(table.stages, 1):
        with s.scope(f"stage{i}"):
            for j, row in enumerate(rows, 1):
                x = _block(s, f"block{j}", x, row, width, style, drop_path * drawn / blocks)
                drawn += 1
        s.tap(2 ** (i + 1), x)
    x = conv_norm_act(s, "head", x, round_channels(HEAD * width), style)
    x = conv_norm_act(s, "hidden", s.global_pool("pool", x), HIDDEN, style)
    return s.graph(s.linear("classifier", s.dropout("dropout", s.flatten("flatten", x), dropout), classes))


def _block(
    s: Sketch, name: str, x: Map, row: Conv | Fused | Universal, width: float, style: Style, drop_path: float
) -> Map:
    channels = round_channels(row.channels * width)
    if isinstance(row, Conv):
        return conv_norm_act(s, name, x, channels, style, kernel=row.kernel, stride=row.stride)
    expanded = round_channels(x.channels * row.expansion)
    if isinstance(row, Universal):
        return universal_inverted_bottleneck(
            s, name, x, channels, style, expanded=expanded, start=row.start, middle=row.middle, stride=row.stride,
            drop_path=drop_path,
        )  # fmt: skip
    return fused_inverted_residual(
        s, name, x, channels, style, expanded=expanded, kernel=row.kernel, stride=row.stride, drop_path=drop_path
    )


VARIANTS = {
    "mobilenet_v4_conv_small_0.5": (mobilenet_v4, {"network": "conv_small", "width": 0.5}),
    "mobilenet_v4_conv_small": (mobilenet_v4, {"network": "conv_small"}),
    "mobilenet_v4_conv_medium": (mobilenet_v4, {"network": "conv_medium"}),
    "mobilenet_v4_conv_large": (mobilenet_v4, {"network": "conv_large", "size": 384}),
}

TIMM = "timm, results-imagenet.csv"

PUBLISHED = (
    Published("mobilenet_v4_conv_small_0.5", 224, TIMM, parameters="2.24M"),
    Published("mobilenet_v4_conv_small", 224, TIMM, parameters="3.77M"),
    Published("mobilenet_v4_conv_medium", 224, TIMM, parameters="9.72M"),
    Published("mobilenet_v4_conv_large", 384, TIMM, parameters="32.59M"),
)
