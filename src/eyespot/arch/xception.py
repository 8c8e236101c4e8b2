"""Xception: Deep Learning with Depthwise Separable Convolutions (Chollet 2016, arXiv 1610.02357), figure 5.

The paper's entry flow is the stem and blocks 1 to 3, its middle flow blocks 4 to 11, its exit flow block 12 and the
head. Taps are the stem at 2, blocks 1, 2 and 11 at 4, 8 and 16, and the head at 32.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, projection, sketch
from eyespot.arch.inception import Conv
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import Map, PaddingRule, Sketch


class Block(NamedTuple):
    """A box of figure 5: the channels of its separable convolutions. stride 2: a pool ends it. tap: where it ends."""

    channels: tuple[int, ...]
    stride: int
    activated: bool = True  # every layer begins with an activation, the very first block's first layer excepted
    tap: int | None = None


STEM = (Conv(32, kernel=3, stride=2), Conv(64, kernel=3))

FIGURE_5 = (
    Block(channels=(128, 128), stride=2, activated=False, tap=4),
    Block(channels=(256, 256), stride=2, tap=8),
    Block(channels=(728, 728), stride=2),
    *(Block(channels=(728, 728, 728), stride=1),) * 7,
    Block(channels=(728, 728, 728), stride=1, tap=16),
    Block(channels=(728, 1024), stride=2),
)

HEAD = (1536, 2048)


def xception(
    *,
    size: Size = 299,
    classes: int = 1000,
    padding: PaddingRule = "same",
    eps: float = 1e-3,
    dropout: float = 0.5,
) -> Graph:
    """Xception. Keras' weights as it stands; timm's legacy_xception with 'symmetric' padding and eps 1e-5.

    padding: of all but the stem, which is never padded.
    """
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.input
    for i, row in enumerate(STEM, 1):
        with s.scope(f"stem.layer{i}"):
            x = s.conv("conv", x, row.channels, kernel=row.kernel, stride=row.stride, padding="valid")
            x = s.act("act", s.norm("norm", x, eps=eps), style.act)
    s.tap(2, x)
    for i, block in enumerate(FIGURE_5, 1):
        x = separable_residual(s, f"block{i}", x, block, style)
        if block.tap:
            s.tap(block.tap, x)
    for i, channels in enumerate(HEAD, 1):
        x = s.act(f"head.layer{i}.act", separable(s, f"head.layer{i}", x, channels, style), style.act)
    return s.graph(classify(s, s.tap(32, x), classes, dropout))


def separable_residual(s: Sketch, name: str, x: Map, block: Block, style: Style) -> Map:
    """Activation and separable convolution, two or three times; a pool where the block shrinks the map; the input."""
    with s.scope(name):
        y = x
        for i, channels in enumerate(block.channels, 1):
            y = s.act(f"layer{i}.act", y, style.act if i > 1 or block.activated else None)
            y = separable(s, f"layer{i}", y, channels, style)
        if block.stride > 1:
            y = s.max_pool("pool", y, kernel=3, stride=block.stride)
        return s.sum("add", x if x.shape == y.shape else projection(s, x, y.channels, style, block.stride), y)


def separable(s: Sketch, name: str, x: Map, channels: int, style: Style) -> Map:
    """3×3 per channel and 1×1 across channels with nothing between them (section 3), then batch norm."""
    with s.scope(name):
        x = s.conv("pointwise.conv", s.depthwise("depthwise.conv", x), channels)
        return s.norm("pointwise.norm", x, eps=style.eps)


VARIANTS = {"xception": (xception, {"size": 299})}

TIMM = "timm, results-imagenet.csv"
KERAS = "keras-io, applications"

PUBLISHED = (
    Published("xception", 299, TIMM, parameters="22.86M"),
    Published("xception", 299, KERAS, parameters="22910480", counting="with statistics"),
)
