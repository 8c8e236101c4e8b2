"""MnasNet: Platform-Aware Neural Architecture Search for Mobile (Tan et al. 2018, arXiv 1807.11626v1), figure 7.

This is the network without squeeze-excite, which later versions of the paper call MnasNet-B1. Taps are the last block
of each stride: stage1 at 2, stage2 at 4, stage3 at 8, stage5 at 16, stage7 at 32.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, conv_norm_act, inverted_residual, round_channels, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """A row of figure 7: ``repeats`` MBConvs, of which the first has the stride. tap: the stride that ends here."""

    expansion: int
    kernel: int
    channels: int
    repeats: int
    stride: int
    tap: int | None = None


FIGURE_7 = (
    Stage(expansion=1, kernel=3, channels=16, repeats=1, stride=1, tap=2),
    Stage(expansion=3, kernel=3, channels=24, repeats=3, stride=2, tap=4),
    Stage(expansion=3, kernel=5, channels=40, repeats=3, stride=2, tap=8),
    Stage(expansion=6, kernel=5, channels=80, repeats=3, stride=2),
    Stage(expansion=6, kernel=3, channels=96, repeats=2, stride=1, tap=16),
    Stage(expansion=6, kernel=5, channels=192, repeats=4, stride=2),
    Stage(expansion=6, kernel=3, channels=320, repeats=1, stride=1, tap=32),
)


def mnasnet(
    *,
    width: float = 1.0,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.2,
) -> Graph:
    """MnasNet at a width multiplier. torchvision's and timm's weights as it stands."""
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, round_channels(32 * width), style, kernel=3, stride=2)
    for i, row in enumerate(FIGURE_7, 1):
        with s.scope(f"stage{i}"):
            for j in range(1, row.repeats + 1):
                x = inverted_residual(
                    s, f"block{j}", x, round_channels(row.channels * width), style,
                    expanded=row.expansion * x.channels, kernel=row.kernel, stride=row.stride if j == 1 else 1,
                )  # fmt: skip
        if row.tap:
            s.tap(row.tap, x)
    x = conv_norm_act(s, "head", x, 1280, style)  # at every width
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "mnasnet_0.5": (mnasnet, {"width": 0.5}),
    "mnasnet_0.75": (mnasnet, {"width": 0.75}),
    "mnasnet_1.0": (mnasnet, {"width": 1.0}),
    "mnasnet_1.3": (mnasnet, {"width": 1.3}),
}

TORCHVISION = "torchvision 0.29.2, MNASNet*_Weights"

PUBLISHED = (
    Published("mnasnet_0.5", 224, TORCHVISION, parameters="2218512", macs="0.104G"),
    Published("mnasnet_0.75", 224, TORCHVISION, parameters="3170208", macs="0.215G"),
    Published("mnasnet_1.0", 224, TORCHVISION, parameters="4383312", macs="0.314G"),
    Published("mnasnet_1.3", 224, TORCHVISION, parameters="6282256", macs="0.526G"),
)
