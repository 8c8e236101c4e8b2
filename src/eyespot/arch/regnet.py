"""RegNetY: Designing Network Design Spaces (Radosavovic et al. 2020, arXiv 2003.13678), figure 17.

The table says what the figure's quantised line (w_0, w_a, w_m) comes to. Taps are the stem at stride 2 and the last
block of each stage at 4 to 32.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Squeeze, Style, bottleneck_residual, classify, conv_norm_act, pick, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Layout(NamedTuple):
    """A network of figure 17: d_i and w_i, the blocks and channels of its stages, and g, the channels of a group."""

    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    group_width: int


FIGURE_17 = {
    "400mf": Layout(blocks=(1, 3, 6, 6), channels=(48, 104, 208, 440), group_width=8),
    "800mf": Layout(blocks=(1, 3, 8, 2), channels=(64, 128, 320, 768), group_width=16),
    # 136 and 776 lie halfway between multiples of 16: the paper takes the even one, torchvision the larger.
    "800mf_tv": Layout(blocks=(1, 3, 8, 2), channels=(64, 144, 320, 784), group_width=16),
}


def regnet_y(
    *,
    network: str = "400mf",
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """RegNetY of a budget. torchvision's and timm's weights as it stands."""
    table = pick(FIGURE_17, network, "network")
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.tap(2, conv_norm_act(s, "stem", s.input, 32, style, kernel=3, stride=2))
    for i, (blocks, channels) in enumerate(zip(table.blocks, table.channels, strict=True), 1):
        for j in range(1, blocks + 1):
            x = bottleneck_residual(
                s, f"stage{i}.block{j}", x, channels, style,
                strides=(1, 2 if j == 1 else 1), out=channels, groups=channels // table.group_width,
                squeeze=Squeeze(x.channels // 4, "relu", "sigmoid"),
            )  # fmt: skip
        s.tap(2 ** (i + 1), x)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "regnet_y_400mf": (regnet_y, {"network": "400mf"}),
    "regnet_y_800mf": (regnet_y, {"network": "800mf"}),
    "regnet_y_800mf_tv": (regnet_y, {"network": "800mf_tv"}),
}

TORCHVISION = "torchvision 0.28.0, RegNet_Y_{400MF,800MF}_Weights"
PYCLS = "facebookresearch/pycls, MODEL_ZOO.md"

PUBLISHED = (
    Published("regnet_y_400mf", 224, TORCHVISION, parameters="4344144", macs="0.402G"),
    Published("regnet_y_400mf", 224, PYCLS, parameters="4.3M", macs="0.4G"),
    Published("regnet_y_800mf", 224, PYCLS, parameters="6.3M", macs="0.8G"),
    Published("regnet_y_800mf_tv", 224, TORCHVISION, parameters="6432512", macs="0.834G"),
)
