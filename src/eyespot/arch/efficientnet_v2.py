"""EfficientNetV2: Smaller Models and Faster Training (Tan and Le 2021, arXiv 2104.00298), table 4.

The paper prints S; M, L and the base of B0 to B3 are the authors' (google/automl, efficientnetv2). Stages count from
one, the paper's from zero, which is its stem. Taps are the last block of each stride.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from eyespot.arch.blocks import (
    Squeeze,
    Style,
    classify,
    conv_norm_act,
    fused_inverted_residual,
    inverted_residual,
    pick,
    round_channels,
    sketch,
)
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """A row of table 4: ``repeats`` Fused-MBConvs or MBConvs with squeeze-excite, of which the first has the stride.

    tap: the stride that ends here.
    """

    fused: bool
    expansion: int
    channels: int
    repeats: int
    stride: int
    tap: int | None = None


class Network(NamedTuple):
    """A table: the channels of its stem, which is its paper's stage 0, and its other stages."""

    stem: int
    stages: tuple[Stage, ...]


TABLE_4 = (
    Stage(fused=True, expansion=1, channels=24, repeats=2, stride=1, tap=2),
    Stage(fused=True, expansion=4, channels=48, repeats=4, stride=2, tap=4),
    Stage(fused=True, expansion=4, channels=64, repeats=4, stride=2, tap=8),
    Stage(fused=False, expansion=4, channels=128, repeats=6, stride=2),
    Stage(fused=False, expansion=6, channels=160, repeats=9, stride=1, tap=16),
    Stage(fused=False, expansion=6, channels=256, repeats=15, stride=2, tap=32),
)

MEDIUM = (
    Stage(fused=True, expansion=1, channels=24, repeats=3, stride=1, tap=2),
    Stage(fused=True, expansion=4, channels=48, repeats=5, stride=2, tap=4),
    Stage(fused=True, expansion=4, channels=80, repeats=5, stride=2, tap=8),
    Stage(fused=False, expansion=4, channels=160, repeats=7, stride=2),
    Stage(fused=False, expansion=6, channels=176, repeats=14, stride=1, tap=16),
    Stage(fused=False, expansion=6, channels=304, repeats=18, stride=2),
    Stage(fused=False, expansion=6, channels=512, repeats=5, stride=1, tap=32),
)

LARGE = (
    Stage(fused=True, expansion=1, channels=32, repeats=4, stride=1, tap=2),
    Stage(fused=True, expansion=4, channels=64, repeats=7, stride=2, tap=4),
    Stage(fused=True, expansion=4, channels=96, repeats=7, stride=2, tap=8),
    Stage(fused=False, expansion=4, channels=192, repeats=10, stride=2),
    Stage(fused=False, expansion=6, channels=224, repeats=19, stride=1, tap=16),
    Stage(fused=False, expansion=6, channels=384, repeats=25, stride=2),
    Stage(fused=False, expansion=6, channels=640, repeats=7, stride=1, tap=32),
)

BASE = (
    Stage(fused=True, expansion=1, channels=16, repeats=1, stride=1, tap=2),
    Stage(fused=True, expansion=4, channels=32, repeats=2, stride=2, tap=4),
    Stage(fused=True, expansion=4, channels=48, repeats=2, stride=2, tap=8),
    Stage(fused=False, expansion=4, channels=96, repeats=3, stride=2),
    Stage(fused=False, expansion=6, channels=112, repeats=5, stride=1, tap=16),
    Stage(fused=False, expansion=6, channels=192, repeats=8, stride=2, tap=32),
)

NETWORKS = {
    "s": Network(stem=24, stages=TABLE_4),
    "m": Network(stem=24, stages=MEDIUM),
    "l": Network(stem=32, stages=LARGE),
    "base": Network(stem=32, stages=BASE),
}


def efficientnet_v2(
    *,
    network: str = "s",
    width: float = 1.0,
    depth: float = 1.0,
    size: Size = 384,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.2,
    drop_path: float = 0.2,
) -> Graph:
    """EfficientNetV2 scaled by width and depth. torchvision's weights as it stands; TensorFlow's with 'same' padding.

    drop_path: the rate that stochastic depth would reach after the last block; it grows linearly from zero.
    """
    table = pick(NETWORKS, network, "network")
    style = Style("silu", eps)
    repeats = [math.ceil(row.repeats * depth) for row in table.stages]
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, _scaled(table.stem, width), style, kernel=3, stride=2)
    drawn = 0
    for i, (row, count) in enumerate(zip(table.stages, repeats, strict=True), 1):
        channels = _scaled(row.channels, width)
        for j in range(1, count + 1):
            name, stride = f"stage{i}.block{j}", row.stride if j == 1 else 1
            expanded, rate = row.expansion * x.channels, drop_path * drawn / sum(repeats)
            if row.fused:
                x = fused_inverted_residual(
                    s, name, x, channels, style, expanded=expanded, stride=stride, drop_path=rate
                )
            else:
                x = inverted_residual(
                    s, name, x, channels, style, expanded=expanded, stride=stride, drop_path=rate,
                    squeeze=Squeeze(max(1, x.channels // 4), "silu", "sigmoid"),
                )  # fmt: skip
            drawn += 1
        if row.tap:
            s.tap(row.tap, x)
    x = conv_norm_act(s, "head", x, _scaled(1280, width), style)
    return s.graph(classify(s, x, classes, dropout))


def _scaled(channels: int, width: float) -> int:
    """The nearest multiple of eight, however much smaller: V1's rule against losing a tenth is gone."""
    return round_channels(channels * width, least=0.0)


VARIANTS = {
    "efficientnet_v2_b0": (efficientnet_v2, {"network": "base", "width": 1.0, "depth": 1.0, "size": 224}),
    "efficientnet_v2_b1": (efficientnet_v2, {"network": "base", "width": 1.0, "depth": 1.1, "size": 240}),
    "efficientnet_v2_b2": (
        efficientnet_v2, {"network": "base", "width": 1.1, "depth": 1.2, "size": 260, "dropout": 0.3},
    ),
    "efficientnet_v2_b3": (
        efficientnet_v2, {"network": "base", "width": 1.2, "depth": 1.4, "size": 300, "dropout": 0.3},
    ),
    "efficientnet_v2_s": (efficientnet_v2, {"network": "s", "size": 384, "dropout": 0.2}),
    "efficientnet_v2_m": (efficientnet_v2, {"network": "m", "size": 480, "dropout": 0.3}),
    "efficientnet_v2_l": (efficientnet_v2, {"network": "l", "size": 480, "dropout": 0.4}),
}  # fmt: skip

TORCHVISION = "torchvision 0.29.2, EfficientNet_V2_*_Weights"
AUTHORS = "google/automl, efficientnetv2/README.md"
TIMM = "timm, results-imagenet.csv"
KERAS = "keras-io, applications"

PUBLISHED = (
    Published("efficientnet_v2_b0", 224, TIMM, parameters="7.14M"),
    Published("efficientnet_v2_b3", 300, TIMM, parameters="14.36M"),
    Published("efficientnet_v2_b0", 224, AUTHORS, parameters="7.1M", macs="0.72G"),
    Published("efficientnet_v2_b1", 240, AUTHORS, parameters="8.1M", macs="1.2G"),
    Published("efficientnet_v2_b2", 260, AUTHORS, parameters="10.1M", macs="1.7G"),
    Published("efficientnet_v2_b3", 300, AUTHORS, parameters="14.4M", macs="3.0G"),
    Published("efficientnet_v2_s", 384, TORCHVISION, parameters="21458488", macs="8.366G"),
    Published("efficientnet_v2_m", 480, TORCHVISION, parameters="54139356", macs="24.582G"),
    Published("efficientnet_v2_l", 480, TORCHVISION, parameters="118515272", macs="56.08G"),
    Published("efficientnet_v2_s", 384, AUTHORS, parameters="21.5M", macs="8.4G"),
    Published("efficientnet_v2_m", 480, AUTHORS, parameters="54.1M"),
    Published("efficientnet_v2_s", 384, TIMM, parameters="21.46M"),
    Published("efficientnet_v2_m", 480, TIMM, parameters="54.14M"),
    Published("efficientnet_v2_l", 480, TIMM, parameters="118.52M"),
    Published("efficientnet_v2_b0", 224, KERAS, parameters="7.2M", counting="with statistics"),
    Published("efficientnet_v2_b1", 240, KERAS, parameters="8.2M", counting="with statistics"),
    Published("efficientnet_v2_b2", 260, KERAS, parameters="10.2M", counting="with statistics"),
    Published("efficientnet_v2_b3", 300, KERAS, parameters="14.5M", counting="with statistics"),
    Published("efficientnet_v2_s", 384, KERAS, parameters="21.6M", counting="with statistics"),
    Published("efficientnet_v2_m", 480, KERAS, parameters="54.4M", counting="with statistics"),
    Published("efficientnet_v2_l", 480, KERAS, parameters="119.0M", counting="with statistics"),
    Published("efficientnet_v2_m", 480, AUTHORS, macs="24.7G", differs="24.58G, as torchvision counts"),
    Published("efficientnet_v2_l", 480, AUTHORS, macs="56.3G", differs="56.08G, as torchvision counts"),
    Published("efficientnet_v2_l", 480, AUTHORS, parameters="119.5M", differs="118.5M, as torchvision and timm count"),
)
