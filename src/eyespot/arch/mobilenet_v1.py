"""MobileNet V1: Efficient CNNs for Mobile Vision Applications (Howard et al. 2017, arXiv 1704.04861), table 1.

Taps are the last block of each stride: block1 at 2, block3 at 4, block5 at 8, block11 at 16, block13 at 32.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, conv_norm_act, depthwise_separable, round_channels, sketch
from eyespot.arch.depth import deepened
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Block(NamedTuple):
    """Two rows of table 1: 'Conv dw' and its stride, 'Conv 1×1' and its channels. tap: the stride that ends here."""

    channels: int
    stride: int
    tap: int | None = None


TABLE_1 = (
    Block(channels=64, stride=1, tap=2),
    Block(channels=128, stride=2),
    Block(channels=128, stride=1, tap=4),
    Block(channels=256, stride=2),
    Block(channels=256, stride=1, tap=8),
    Block(channels=512, stride=2),
    Block(channels=512, stride=1),
    Block(channels=512, stride=1),
    Block(channels=512, stride=1),
    Block(channels=512, stride=1),
    Block(channels=512, stride=1, tap=16),
    Block(channels=1024, stride=2),
    Block(channels=1024, stride=1, tap=32),
)


def mobilenet_v1(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.001,
) -> Graph:
    """MobileNet V1 at a width and a depth multiplier. TensorFlow's and Keras' weights with 'same' padding.

    The last block has stride 1: the paper's table says 2, but its output sizes and the authors' code say 1.
    """
    style = Style("relu6", eps)
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, round_channels(32 * width), style, kernel=3, stride=2)
    for i, (row, stride, tap) in enumerate(deepened(TABLE_1, depth), 1):
        x = depthwise_separable(s, f"block{i}", x, round_channels(row.channels * width), style, stride=stride)
        if tap:
            s.tap(tap, x)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "mobilenet_v1_0.25": (mobilenet_v1, {"width": 0.25}),
    "mobilenet_v1_0.5": (mobilenet_v1, {"width": 0.5}),
    "mobilenet_v1_0.75": (mobilenet_v1, {"width": 0.75}),
    "mobilenet_v1_1.0": (mobilenet_v1, {"width": 1.0}),
}

SLIM = "tensorflow/models, slim/nets/mobilenet_v1.md"
KERAS = "keras-io, applications"
TIMM = "timm, results-imagenet.csv"

PUBLISHED = (
    Published("mobilenet_v1_0.25", 224, SLIM, parameters="0.47M", macs="41M"),
    Published("mobilenet_v1_0.25", 160, SLIM, macs="21M"),
    Published("mobilenet_v1_0.25", 128, SLIM, macs="14M"),
    Published("mobilenet_v1_0.5", 192, SLIM, macs="110M"),
    Published("mobilenet_v1_0.5", 160, SLIM, macs="77M"),
    Published("mobilenet_v1_0.5", 128, SLIM, macs="49M"),
    Published("mobilenet_v1_0.75", 224, SLIM, parameters="2.59M"),
    Published("mobilenet_v1_1.0", 224, TIMM, parameters="4.23M"),
    Published("mobilenet_v1_1.0", 224, KERAS, parameters="4253864", counting="with statistics"),
    Published("mobilenet_v1_1.0", 224, SLIM, macs="569M"),
    Published("mobilenet_v1_1.0", 192, SLIM, macs="418M"),
    Published("mobilenet_v1_1.0", 160, SLIM, macs="291M"),
    Published("mobilenet_v1_1.0", 128, SLIM, macs="186M"),
    Published("mobilenet_v1_0.25", 192, SLIM, macs="34M", differs="30.7M; 34M breaks the row's own ratio of areas"),
    Published("mobilenet_v1_0.5", 224, SLIM, macs="150M", differs="149.497M, one in the last digit"),
    Published("mobilenet_v1_0.5", 224, SLIM, parameters="1.34M", differs="1.332M, one in the last digit"),
    Published("mobilenet_v1_0.75", 224, SLIM, macs="317M", differs="325.4M, as in the paper's table 6 (325)"),
    Published("mobilenet_v1_0.75", 192, SLIM, macs="233M", differs="239.3M; follows from the 317M at 224"),
    Published("mobilenet_v1_0.75", 160, SLIM, macs="162M", differs="166.4M; follows from the 317M at 224"),
    Published("mobilenet_v1_0.75", 128, SLIM, macs="104M", differs="106.8M; follows from the 317M at 224"),
    Published("mobilenet_v1_1.0", 224, SLIM, parameters="4.24M", differs="4.232M, one in the last digit"),
)
