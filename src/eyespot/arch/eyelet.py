"""Eyelet: eyespot's own small ResNet for small pictures (basic blocks as in arXiv 1512.03385, figure 5; table below).

A stem that keeps half the resolution, three stages, and a wide pointwise head before the classifier. Taps: stage1 at
stride 2, stage2 at 4, stage3 at 8.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, conv_norm_act, round_channels, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """A stage: ``blocks`` basic blocks, of which the first has the stride. tap: the stride that ends here."""

    channels: int
    blocks: int
    stride: int
    tap: int


TABLE = (
    Stage(channels=32, blocks=1, stride=1, tap=2),
    Stage(channels=64, blocks=2, stride=2, tap=4),
    Stage(channels=128, blocks=2, stride=2, tap=8),
)
HEAD = 512


def eyelet(
    *,
    width: float = 1.0,
    size: Size = 64,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """The network at a width multiplier, for pictures of 32 to about 128 pixels."""
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, round_channels(32 * width), style, kernel=3, stride=2)
    for i, row in enumerate(TABLE, 1):
        channels = round_channels(row.channels * width)
        for j in range(1, row.blocks + 1):
            stride = row.stride if j == 1 else 1
            with s.scope(f"stage{i}.block{j}"):
                y = conv_norm_act(s, "first", x, channels, style, kernel=3, stride=stride)
                y = conv_norm_act(s, "second", y, channels, style.linear, kernel=3)
                if y.shape != x.shape:
                    x = conv_norm_act(s, "shortcut", x, channels, style.linear, stride=stride)
                x = s.act("act", s.sum("add", x, y), "relu")
        s.tap(row.tap, x)
    x = conv_norm_act(s, "head", x, round_channels(HEAD * width), style)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "eyelet_0.5": (eyelet, {"width": 0.5}),
    "eyelet_1.0": (eyelet, {"width": 1.0}),
}

PUBLISHED: tuple[Published, ...] = ()
