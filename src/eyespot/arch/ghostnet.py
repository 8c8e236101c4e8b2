"""GhostNet: More Features from Cheap Operations (Han et al. 2019, arXiv 1911.11907), table 1.

Taps are the last block of each stride.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import (
    Squeeze,
    Style,
    conv_norm_act,
    depthwise_norm_act,
    round_channels,
    sketch,
    squeeze_excite,
)
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import Map, PaddingRule, Sketch


class Block(NamedTuple):
    """A row ``G-bneck`` of table 1, with the kernel that the authors' code gives it; tap: the stride that ends here."""

    kernel: int
    expanded: int
    channels: int
    squeeze_excite: bool
    stride: int
    tap: int | None = None


TABLE_1 = (
    Block(kernel=3, expanded=16, channels=16, squeeze_excite=False, stride=1, tap=2),
    Block(kernel=3, expanded=48, channels=24, squeeze_excite=False, stride=2),
    Block(kernel=3, expanded=72, channels=24, squeeze_excite=False, stride=1, tap=4),
    Block(kernel=5, expanded=72, channels=40, squeeze_excite=True, stride=2),
    Block(kernel=5, expanded=120, channels=40, squeeze_excite=True, stride=1, tap=8),
    Block(kernel=3, expanded=240, channels=80, squeeze_excite=False, stride=2),
    Block(kernel=3, expanded=200, channels=80, squeeze_excite=False, stride=1),
    Block(kernel=3, expanded=184, channels=80, squeeze_excite=False, stride=1),
    Block(kernel=3, expanded=184, channels=80, squeeze_excite=False, stride=1),
    Block(kernel=3, expanded=480, channels=112, squeeze_excite=True, stride=1),
    Block(kernel=3, expanded=672, channels=112, squeeze_excite=True, stride=1, tap=16),
    Block(kernel=5, expanded=672, channels=160, squeeze_excite=True, stride=2),
    Block(kernel=5, expanded=960, channels=160, squeeze_excite=False, stride=1),
    Block(kernel=5, expanded=960, channels=160, squeeze_excite=True, stride=1),
    Block(kernel=5, expanded=960, channels=160, squeeze_excite=False, stride=1),
    Block(kernel=5, expanded=960, channels=160, squeeze_excite=True, stride=1, tap=32),
)


def ghostnet(
    *,
    width: float = 1.0,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.2,
) -> Graph:
    """GhostNet at a width multiplier. timm's and the authors' torch weights as it stands."""
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, round_channels(16 * width, 4), style, kernel=3, stride=2)
    expanded = x.channels
    for i, row in enumerate(TABLE_1, 1):
        expanded = round_channels(row.expanded * width, 4)
        x = ghost_bottleneck(
            s, f"block{i}", x, round_channels(row.channels * width, 4), style,
            expanded=expanded, kernel=row.kernel, stride=row.stride,
            squeeze=Squeeze(round_channels(expanded / 4, 4), "relu", "hard_sigmoid") if row.squeeze_excite else None,
        )  # fmt: skip
        if row.tap:
            s.tap(row.tap, x)
    x = conv_norm_act(s, "head", x, expanded, style)
    x = s.flatten("flatten", s.global_pool("pool", x))
    with s.scope("hidden"):  # as wide at every multiplier
        x = s.act("act", s.linear("linear", x, 1280), "relu")
    return s.graph(s.linear("classifier", s.dropout("dropout", x, dropout), classes))


def ghost(s: Sketch, name: str, x: Map, channels: int, style: Style) -> Map:
    """A Ghost module (figure 1b): 1×1 to half of ``channels``, and of each of these a ghost by a depthwise 3×3.

    An odd number of channels leaves the last ghost out.
    """
    with s.scope(name):
        y = conv_norm_act(s, "primary", x, -(-channels // 2), style)
        y = s.concat("concat", y, depthwise_norm_act(s, "cheap", y, style))
        return y if y.channels == channels else s.slice("cut", y, 0, channels)


def ghost_bottleneck(
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
) -> Map:
    """A Ghost bottleneck (figure 3): two Ghost modules, with a linear depthwise between them where it has a stride.

    The shortcut is depthwise and 1×1, both linear, where shapes change.
    """
    with s.scope(name):
        y = ghost(s, "expand", x, expanded, style)
        if stride != 1:
            y = depthwise_norm_act(s, "depthwise", y, style.linear, kernel=kernel, stride=stride)
        if squeeze is not None:
            y = squeeze_excite(s, y, squeeze)
        y = ghost(s, "project", y, channels, style.linear)
        if stride != 1 or x.channels != channels:
            with s.scope("shortcut"):
                x = depthwise_norm_act(s, "depthwise", x, style.linear, kernel=kernel, stride=stride)
                x = conv_norm_act(s, "pointwise", x, channels, style.linear)
        return s.sum("add", x, y)


VARIANTS = {
    "ghostnet_0.5": (ghostnet, {"width": 0.5}),
    "ghostnet_1.0": (ghostnet, {"width": 1.0}),
    "ghostnet_1.3": (ghostnet, {"width": 1.3}),
}

PAPER = "the paper, table 7"
TIMM = "timm, results-imagenet.csv"
COUNTED = "timm 1.0.31, counted in its ghostnet_130"

PUBLISHED = (
    Published("ghostnet_0.5", 224, PAPER, parameters="2.6M", macs="42M"),
    Published("ghostnet_1.0", 224, PAPER, parameters="5.2M", macs="141M"),
    Published("ghostnet_1.0", 224, TIMM, parameters="5.18M"),
    Published("ghostnet_1.3", 224, COUNTED, parameters="7358820"),
    Published("ghostnet_1.3", 224, PAPER, parameters="7.3M", differs="7.36M, cut instead of rounded"),
    Published("ghostnet_1.3", 224, PAPER, macs="226M", differs="227.0M, in timm's code too"),
)
