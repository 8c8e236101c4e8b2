"""EfficientNet: Rethinking Model Scaling for CNNs (Tan and Le 2019, arXiv 1905.11946), table 1 and compound scaling.

Lite is the authors' variant for integer hardware (tensorflow/tpu, efficientnet/lite): ReLU6, no squeeze-excite, and
stem, head and the repeats of the first and last stage as in B0. Stages count from the paper's second row: stage1 is
its stage 2. Taps are the last block of each stride: stage1 at 2, stage2 at 4, stage3 at 8, stage5 at 16, stage7 at 32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from eyespot.arch.blocks import Squeeze, Style, classify, conv_norm_act, inverted_residual, round_channels, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """A row of table 1: ``repeats`` MBConvs, of which the first has the stride. tap: the stride that ends here."""

    expansion: int
    kernel: int
    channels: int
    repeats: int
    stride: int
    tap: int | None = None


TABLE_1 = (
    Stage(expansion=1, kernel=3, channels=16, repeats=1, stride=1, tap=2),
    Stage(expansion=6, kernel=3, channels=24, repeats=2, stride=2, tap=4),
    Stage(expansion=6, kernel=5, channels=40, repeats=2, stride=2, tap=8),
    Stage(expansion=6, kernel=3, channels=80, repeats=3, stride=2),
    Stage(expansion=6, kernel=5, channels=112, repeats=3, stride=1, tap=16),
    Stage(expansion=6, kernel=5, channels=192, repeats=4, stride=2),
    Stage(expansion=6, kernel=3, channels=320, repeats=1, stride=1, tap=32),
)


def efficientnet(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    lite: bool = False,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.2,
    drop_path: float = 0.2,
) -> Graph:
    """EfficientNet scaled by width and depth.

    TensorFlow's weights need 'same' padding; torchvision's B0 to B4 need eps 1e-5, its B5 to B7 the default.
    drop_path: the rate that stochastic depth would reach after the last block; it grows linearly from zero.
    """
    style = Style("relu6" if lite else "silu", eps)
    repeats = [
        row.repeats if lite and i in (0, len(TABLE_1) - 1) else math.ceil(row.repeats * depth)
        for i, row in enumerate(TABLE_1)
    ]
    ends = 1.0 if lite else width
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, round_channels(32 * ends), style, kernel=3, stride=2)
    drawn = 0
    for i, (row, count) in enumerate(zip(TABLE_1, repeats, strict=True), 1):
        for j in range(1, count + 1):
            # The branch's width follows the block's input, not its expanded channels as in MobileNetV3.
            squeeze = None if lite else Squeeze(max(1, x.channels // 4), "silu", "sigmoid")
            with s.scope(f"stage{i}"):
                x = inverted_residual(
                    s, f"block{j}", x, round_channels(row.channels * width), style,
                    expanded=row.expansion * x.channels, kernel=row.kernel, stride=row.stride if j == 1 else 1,
                    squeeze=squeeze, drop_path=drop_path * drawn / sum(repeats),
                )  # fmt: skip
            drawn += 1
        if row.tap:
            s.tap(row.tap, x)
    x = conv_norm_act(s, "head", x, round_channels(1280 * ends), style)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "efficientnet_b0": (efficientnet, {"width": 1.0, "depth": 1.0, "size": 224, "dropout": 0.2}),
    "efficientnet_b1": (efficientnet, {"width": 1.0, "depth": 1.1, "size": 240, "dropout": 0.2}),
    "efficientnet_b2": (efficientnet, {"width": 1.1, "depth": 1.2, "size": 260, "dropout": 0.3}),
    "efficientnet_b3": (efficientnet, {"width": 1.2, "depth": 1.4, "size": 300, "dropout": 0.3}),
    "efficientnet_b4": (efficientnet, {"width": 1.4, "depth": 1.8, "size": 380, "dropout": 0.4}),
    "efficientnet_b5": (efficientnet, {"width": 1.6, "depth": 2.2, "size": 456, "dropout": 0.4}),
    "efficientnet_b6": (efficientnet, {"width": 1.8, "depth": 2.6, "size": 528, "dropout": 0.5}),
    "efficientnet_b7": (efficientnet, {"width": 2.0, "depth": 3.1, "size": 600, "dropout": 0.5}),
    "efficientnet_lite0": (efficientnet, {"lite": True, "width": 1.0, "depth": 1.0, "size": 224, "dropout": 0.2}),
    "efficientnet_lite1": (efficientnet, {"lite": True, "width": 1.0, "depth": 1.1, "size": 240, "dropout": 0.2}),
    "efficientnet_lite2": (efficientnet, {"lite": True, "width": 1.1, "depth": 1.2, "size": 260, "dropout": 0.3}),
    "efficientnet_lite3": (efficientnet, {"lite": True, "width": 1.2, "depth": 1.4, "size": 280, "dropout": 0.3}),
    "efficientnet_lite4": (efficientnet, {"lite": True, "width": 1.4, "depth": 1.8, "size": 300, "dropout": 0.3}),
}

TORCHVISION = "torchvision 0.29.2, EfficientNet_B*_Weights"
LITE = "tensorflow/tpu, efficientnet/lite/README.md"
KERAS = "keras-io, applications"
TIMM = "timm, results-imagenet.csv"
NORMALIZATION = "Keras counts the 7 numbers of its input normalisation too"
MORE_THAN_MACS = "3 to 6 % above the multiply-accumulates, which the same authors' count of B0 is: "

PUBLISHED = (
    Published("efficientnet_b0", 224, TORCHVISION, parameters="5288548", macs="0.386G"),
    Published("efficientnet_b1", 240, TORCHVISION, parameters="7794184", macs="0.687G"),
    Published("efficientnet_b2", 288, TORCHVISION, parameters="9109994", macs="1.088G"),
    Published("efficientnet_b3", 300, TORCHVISION, parameters="12233232", macs="1.827G"),
    Published("efficientnet_b4", 380, TORCHVISION, parameters="19341616", macs="4.394G"),
    Published("efficientnet_b5", 456, TORCHVISION, parameters="30389784", macs="10.266G"),
    Published("efficientnet_b6", 528, TORCHVISION, parameters="43040704", macs="19.068G"),
    Published("efficientnet_b7", 600, TORCHVISION, parameters="66347960", macs="37.746G"),
    Published("efficientnet_lite0", 224, LITE, parameters="4.7M"),
    Published("efficientnet_lite1", 240, LITE, parameters="5.4M"),
    Published("efficientnet_lite2", 260, LITE, parameters="6.1M"),
    Published("efficientnet_lite3", 280, LITE, parameters="8.2M"),
    Published("efficientnet_lite4", 300, LITE, parameters="13.0M"),
    Published("efficientnet_lite0", 224, TIMM, parameters="4.65M"),
    Published("efficientnet_lite4", 380, TIMM, parameters="13.01M"),
    Published("efficientnet_b0", 224, KERAS, parameters="5330571", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_b1", 240, KERAS, parameters="7856239", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_b2", 260, KERAS, parameters="9177569", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_b3", 300, KERAS, parameters="12320535", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_b4", 380, KERAS, parameters="19466823", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_b5", 456, KERAS, parameters="30562527", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_b6", 528, KERAS, parameters="43265143", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_b7", 600, KERAS, parameters="66658687", counting="with statistics", differs=NORMALIZATION),
    Published("efficientnet_lite0", 224, LITE, macs="407M", differs=MORE_THAN_MACS + "385.2M"),
    Published("efficientnet_lite1", 240, LITE, macs="631M", differs=MORE_THAN_MACS + "600.2M"),
    Published("efficientnet_lite2", 260, LITE, macs="899M", differs=MORE_THAN_MACS + "859.7M"),
    Published("efficientnet_lite3", 280, LITE, macs="1.44G", differs=MORE_THAN_MACS + "1.383G"),
    Published("efficientnet_lite4", 300, LITE, macs="2.64G", differs=MORE_THAN_MACS + "2.553G"),
)
