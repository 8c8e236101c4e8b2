"""ResNeXt: Aggregated Residual Transformations for Deep Neural Networks (Xie et al. 2016, arXiv 1611.05431), table 1.

ResNet's bottlenecks, twice as wide inside and with the 3×3 in groups. Taps are the last block of each stride.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, bottleneck_residual, classify, conv_norm_act, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """A row of table 1: ``repeats`` bottlenecks, of which the first has the stride. tap: the stride that ends here."""

    channels: int
    repeats: int
    stride: int
    tap: int


TABLE_1 = (
    Stage(channels=256, repeats=3, stride=1, tap=4),
    Stage(channels=512, repeats=4, stride=2, tap=8),
    Stage(channels=1024, repeats=6, stride=2, tap=16),
    Stage(channels=2048, repeats=3, stride=2, tap=32),
)


def resnext(
    *,
    cardinality: int = 32,
    group_width: int = 4,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """ResNeXt-50 of ``cardinality`` groups, each ``group_width`` wide in the first stage. torchvision's weights."""
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.tap(2, conv_norm_act(s, "stem", s.input, 64, style, kernel=7, stride=2))
    x = s.max_pool("stem.pool", x, kernel=3, stride=2)
    for i, row in enumerate(TABLE_1, 1):
        inner = cardinality * group_width * row.channels // TABLE_1[0].channels
        for j in range(1, row.repeats + 1):
            x = bottleneck_residual(
                s, f"stage{i}.block{j}", x, inner, style,
                strides=(1, row.stride if j == 1 else 1), out=row.channels, groups=cardinality,
            )  # fmt: skip
        s.tap(row.tap, x)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "resnext50_32x4d": (resnext, {"cardinality": 32, "group_width": 4}),
}

TORCHVISION = "torchvision 0.29.2, ResNeXt50_32X4D_Weights"
PAPER = "the paper, table 1"

PUBLISHED = (
    Published("resnext50_32x4d", 224, TORCHVISION, parameters="25028904", macs="4.23G"),
    Published("resnext50_32x4d", 224, PAPER, parameters="25.0M"),
)
