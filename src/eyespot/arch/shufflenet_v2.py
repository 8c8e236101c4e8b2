"""ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design (Ma et al. 2018, 1807.11164), table 5.

Stages are called as in the paper, from stage2 on. Taps are the stem at 2, its pool at 4, stages 2 to 4 at 8 to 32.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, conv_norm_act, depthwise_norm_act, pick, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import Map, PaddingRule, Sketch


class Column(NamedTuple):
    """A column of table 5: output channels of stages 2 to 4 and of the last convolution."""

    stages: tuple[int, int, int]
    head: int


TABLE_5 = {
    0.5: Column(stages=(48, 96, 192), head=1024),
    1.0: Column(stages=(116, 232, 464), head=1024),
    1.5: Column(stages=(176, 352, 704), head=1024),
    2.0: Column(stages=(244, 488, 976), head=2048),
}
REPEATS = (4, 8, 4)  # units of stages 2 to 4, the first of which has stride 2


def shufflenet_v2(
    *,
    width: float = 1.0,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """ShuffleNet V2 of a column of the table. torchvision's weights as it stands."""
    table = pick(TABLE_5, width, "width")
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.tap(2, conv_norm_act(s, "stem", s.input, 24, style, kernel=3, stride=2))
    x = s.tap(4, s.max_pool("stem.pool", x, kernel=3, stride=2))
    for i, (channels, repeats) in enumerate(zip(table.stages, REPEATS, strict=True), 2):
        x = shuffle_downsample(s, f"stage{i}.block1", x, channels, style)
        for j in range(2, repeats + 1):
            x = shuffle_split(s, f"stage{i}.block{j}", x, style)
        s.tap(2 ** (i + 1), x)
    x = conv_norm_act(s, "head", x, table.head, style)
    return s.graph(classify(s, x, classes, dropout))


def shuffle_split(s: Sketch, name: str, x: Map, style: Style) -> Map:
    """The basic unit (figure 3c): one half of the channels passes, the other is convolved, and they are shuffled."""
    half = x.channels // 2
    with s.scope(name):
        y = _branch(s, s.slice("worked", x, half, x.channels), half, style, stride=1)
        y = s.concat("concat", s.slice("kept", x, 0, half), y)
        return s.shuffle("shuffle", y, 2)


def shuffle_downsample(s: Sketch, name: str, x: Map, channels: int, style: Style) -> Map:
    """The unit with stride 2 (figure 3d): both branches see all of the input and give half of the ``channels``."""
    with s.scope(name):
        with s.scope("shortcut"):
            y = depthwise_norm_act(s, "depthwise", x, style.linear, stride=2)
            y = conv_norm_act(s, "pointwise", y, channels // 2, style)
        y = s.concat("concat", y, _branch(s, x, channels // 2, style, stride=2))
        return s.shuffle("shuffle", y, 2)


def _branch(s: Sketch, x: Map, channels: int, style: Style, *, stride: int) -> Map:
    x = conv_norm_act(s, "first", x, channels, style)
    x = depthwise_norm_act(s, "depthwise", x, style.linear, stride=stride)
    return conv_norm_act(s, "last", x, channels, style)


VARIANTS = {
    "shufflenet_v2_0.5": (shufflenet_v2, {"width": 0.5}),
    "shufflenet_v2_1.0": (shufflenet_v2, {"width": 1.0}),
    "shufflenet_v2_1.5": (shufflenet_v2, {"width": 1.5}),
    "shufflenet_v2_2.0": (shufflenet_v2, {"width": 2.0}),
}

TORCHVISION = "torchvision 0.29.2, ShuffleNet_V2_X*_Weights"
MEGVII = "megvii-model/ShuffleNet-Series, README.md"
MMPRETRAIN = "open-mmlab/mmpretrain, metafile"
MORE_THAN_MACS = "about 1 % above the multiply-accumulates, which torchvision's count is: "

PUBLISHED = (
    Published("shufflenet_v2_0.5", 224, TORCHVISION, parameters="1366792", macs="0.04G"),
    Published("shufflenet_v2_1.0", 224, TORCHVISION, parameters="2278604", macs="0.145G"),
    Published("shufflenet_v2_1.5", 224, TORCHVISION, parameters="3503624", macs="0.296G"),
    Published("shufflenet_v2_2.0", 224, TORCHVISION, parameters="7393996", macs="0.583G"),
    Published("shufflenet_v2_0.5", 224, MEGVII, parameters="1.4M"),
    Published("shufflenet_v2_1.0", 224, MEGVII, parameters="2.3M"),
    Published("shufflenet_v2_1.5", 224, MEGVII, parameters="3.5M"),
    Published("shufflenet_v2_2.0", 224, MEGVII, parameters="7.4M"),
    Published("shufflenet_v2_1.0", 224, MMPRETRAIN, parameters="2.28M"),
    Published("shufflenet_v2_0.5", 224, MEGVII, macs="41M", differs=MORE_THAN_MACS + "40.5M"),
    Published("shufflenet_v2_1.0", 224, MEGVII, macs="146M", differs=MORE_THAN_MACS + "144.9M"),
    Published("shufflenet_v2_1.5", 224, MEGVII, macs="299M", differs=MORE_THAN_MACS + "295.8M"),
    Published("shufflenet_v2_2.0", 224, MEGVII, macs="591M", differs=MORE_THAN_MACS + "583.3M"),
    Published("shufflenet_v2_1.0", 224, MMPRETRAIN, macs="149M", differs="144.9M; it counts batch norm too"),
)
