"""ShuffleNet: An Extremely Efficient CNN for Mobile Devices (Zhang et al. 2017, arXiv 1707.01083), table 1.

Stages are called as in the paper, from stage2 on. Taps are the stem at 2, its pool at 4, stages 2 to 4 at 8 to 32.
"""

from __future__ import annotations

from typing import Literal

from eyespot.arch.blocks import Style, classify, conv_norm_act, depthwise_norm_act, pick, round_channels, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import Map, PaddingRule, Sketch

# A column of table 1: the output channels of stage 2 by the number of groups; each later stage doubles them.
TABLE_1 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
REPEATS = (4, 8, 4)  # units of stages 2 to 4, the first of which has stride 2

Shuffled = Literal["reduce", "depthwise"]


def shufflenet_v1(
    *,
    groups: int = 3,
    width: float = 1.0,
    stem: int = 24,
    shuffle_behind: Shuffled = "reduce",
    shortcut_first: bool = True,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """ShuffleNet of a column of the table at a width multiplier.

    stem: channels of the first convolution, which the authors' code does not scale as it does the stages.
    shuffle_behind, shortcut_first: as in ``shuffle_unit``; weights are for one order of channels or another.
    """
    channels = round_channels(pick(TABLE_1, groups, "groups") * width, 4 * groups)
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.tap(2, conv_norm_act(s, "stem", s.input, stem, style, kernel=3, stride=2))
    x = s.tap(4, s.max_pool("stem.pool", x, kernel=3, stride=2))
    for i, repeats in enumerate(REPEATS, 2):
        for j in range(1, repeats + 1):
            x = shuffle_unit(
                s, f"stage{i}.block{j}", x, channels * 2 ** (i - 2), style, groups=groups, stride=2 if j == 1 else 1,
                first_groups=1 if (i, j) == (2, 1) else groups,  # the stem has too few channels to divide
                shuffle_behind=shuffle_behind, shortcut_first=shortcut_first,
            )  # fmt: skip
        s.tap(2 ** (i + 1), x)
    return s.graph(classify(s, x, classes, dropout))


def shuffle_unit(
    s: Sketch,
    name: str,
    x: Map,
    channels: int,
    style: Style,
    *,
    groups: int,
    stride: int = 1,
    first_groups: int | None = None,
    shuffle_behind: Shuffled = "reduce",
    shortcut_first: bool = True,
) -> Map:
    """A ShuffleNet unit (figure 2): grouped 1×1 to a quarter of ``channels``, shuffle, depthwise, grouped linear 1×1.

    With stride 1 the input is added (2b); with stride 2 it is averaged and joined (2c), and the branch gives the other
    channels. first_groups: of the first 1×1, where they differ. shuffle_behind: the layer after which channels are
    shuffled, in the paper the first 1×1. shortcut_first: whether the averaged input comes before the branch.
    """
    pick({"reduce": 0, "depthwise": 1}, shuffle_behind, "shuffle_behind")
    with s.scope(name):
        y = conv_norm_act(s, "reduce", x, channels // 4, style, groups=first_groups or groups)
        y = s.shuffle("shuffle", y, groups) if groups > 1 and shuffle_behind == "reduce" else y
        y = depthwise_norm_act(s, "depthwise", y, style.linear, stride=stride)
        y = s.shuffle("shuffle", y, groups) if groups > 1 and shuffle_behind == "depthwise" else y
        y = conv_norm_act(
            s, "expand", y, channels if stride == 1 else channels - x.channels, style.linear, groups=groups
        )
        if stride == 1:
            return s.act("act", s.sum("add", x, y), style.act)
        # Padding counts as zeros in the authors' framework, and not at all in TensorFlow.
        x = s.avg_pool("shortcut.pool", x, kernel=3, stride=stride, count_padding=s.padding == "symmetric")
        return s.act("act", s.concat("concat", *((x, y) if shortcut_first else (y, x))), style.act)


VARIANTS = {
    "shufflenet_v1_0.25_g1": (shufflenet_v1, {"width": 0.25, "groups": 1, "stem": 6}),
    "shufflenet_v1_0.25_g3": (shufflenet_v1, {"width": 0.25, "groups": 3, "stem": 6}),
    "shufflenet_v1_0.5_g1": (shufflenet_v1, {"width": 0.5, "groups": 1, "stem": 12}),
    "shufflenet_v1_0.5_g3": (shufflenet_v1, {"width": 0.5, "groups": 3, "stem": 12}),
    "shufflenet_v1_0.5_g8": (shufflenet_v1, {"width": 0.5, "groups": 8, "stem": 16}),
    "shufflenet_v1_0.75_g1": (shufflenet_v1, {"width": 0.75, "groups": 1, "stem": 18}),
    "shufflenet_v1_0.75_g3": (shufflenet_v1, {"width": 0.75, "groups": 3, "stem": 18}),
    "shufflenet_v1_1.0_g1": (shufflenet_v1, {"width": 1.0, "groups": 1}),
    "shufflenet_v1_1.0_g2": (shufflenet_v1, {"width": 1.0, "groups": 2}),
    "shufflenet_v1_1.0_g3": (shufflenet_v1, {"width": 1.0, "groups": 3}),
    "shufflenet_v1_1.0_g4": (shufflenet_v1, {"width": 1.0, "groups": 4}),
    "shufflenet_v1_1.0_g8": (shufflenet_v1, {"width": 1.0, "groups": 8}),
    "shufflenet_v1_1.5_g3": (shufflenet_v1, {"width": 1.5, "groups": 3}),
    "shufflenet_v1_1.5_g8": (shufflenet_v1, {"width": 1.5, "groups": 8}),
    "shufflenet_v1_2.0_g3": (shufflenet_v1, {"width": 2.0, "groups": 3, "stem": 48}),
    "shufflenet_v1_2.0_g8": (shufflenet_v1, {"width": 2.0, "groups": 8, "stem": 48}),
}

PAPER = "the paper, table 1"
MEGVII = "megvii-model/ShuffleNet-Series, README.md"
MMPRETRAIN = "open-mmlab/mmpretrain, metafile"
PYTORCHCV = "pytorchcv 0.0.74, model_metainfos.csv"

PUBLISHED = (
    Published("shufflenet_v1_0.25_g1", 224, PYTORCHCV, parameters="209746"),
    Published("shufflenet_v1_0.25_g3", 224, PYTORCHCV, parameters="305902"),
    Published("shufflenet_v1_0.5_g1", 224, PYTORCHCV, parameters="534484"),
    Published("shufflenet_v1_0.5_g3", 224, PYTORCHCV, parameters="718324"),
    Published("shufflenet_v1_0.5_g3", 224, MEGVII, parameters="0.7M", macs="38M"),
    Published("shufflenet_v1_0.5_g8", 224, MEGVII, parameters="1.0M", macs="40M"),
    Published("shufflenet_v1_0.75_g1", 224, PYTORCHCV, parameters="975214"),
    Published("shufflenet_v1_0.75_g3", 224, PYTORCHCV, parameters="1238266"),
    Published("shufflenet_v1_1.0_g1", 224, PYTORCHCV, parameters="1531936"),
    Published("shufflenet_v1_1.0_g2", 224, PYTORCHCV, parameters="1733848"),
    Published("shufflenet_v1_1.0_g3", 224, PYTORCHCV, parameters="1865728"),
    Published("shufflenet_v1_1.0_g4", 224, PYTORCHCV, parameters="1968344"),
    Published("shufflenet_v1_1.0_g8", 224, PYTORCHCV, parameters="2434768"),
    Published("shufflenet_v1_1.0_g1", 224, PAPER, macs="143M", counting="without classifier"),
    Published("shufflenet_v1_1.0_g2", 224, PAPER, macs="140M", counting="without classifier"),
    Published("shufflenet_v1_1.0_g3", 224, PAPER, macs="137M", counting="without classifier"),
    Published("shufflenet_v1_1.0_g3", 224, MEGVII, parameters="1.9M"),
    Published("shufflenet_v1_1.0_g3", 224, MMPRETRAIN, parameters="1.87M"),
    Published("shufflenet_v1_1.0_g4", 224, PAPER, macs="133M", counting="without classifier"),
    Published("shufflenet_v1_1.0_g8", 224, PAPER, macs="137M", counting="without classifier"),
    Published("shufflenet_v1_1.0_g8", 224, MEGVII, parameters="2.4M", macs="138M"),
    Published("shufflenet_v1_1.5_g3", 224, MEGVII, parameters="3.4M", macs="292M"),
    Published("shufflenet_v1_1.5_g8", 224, MEGVII, parameters="4.3M", macs="290M"),
    Published("shufflenet_v1_2.0_g3", 224, MEGVII, macs="524M"),
    Published("shufflenet_v1_2.0_g8", 224, MEGVII, parameters="6.5M", macs="522M"),
    Published("shufflenet_v1_2.0_g3", 224, MEGVII, parameters="5.4M", differs="5.451M; their classifier has no bias"),
    Published("shufflenet_v1_1.0_g3", 224, MEGVII, macs="138M", differs="137.46M; 138M is what g8 needs"),
    Published("shufflenet_v1_1.0_g3", 224, MMPRETRAIN, macs="146M", differs="137.5M; it counts batch norm too"),
)
