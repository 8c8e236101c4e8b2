"""Inception v3: Rethinking the Inception Architecture for Computer Vision (Szegedy et al. 2015, 1512.00567), table 1.

The channels are those of the authors' code (tensorflow/models, slim/nets/inception_v3.py), which the paper leaves out.
An auxiliary head (section 4) is drawn for training only. Stages hold the blocks of one size of map: 35×35, 17×17 and
8×8 for a picture of 299×299; the first block of stages 2 and 3 shrinks the map. Taps are the stem at 2 and 4, and the
last block of each stage.
"""

from __future__ import annotations

from eyespot.arch.blocks import Style, classify, conv_norm_act, sketch
from eyespot.arch.inception import AvgPool, Branch, Conv, MaxPool, Split, inception, layer, max_pool
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.ops import Padding
from eyespot.core.sketch import Map, PaddingRule, Sketch

STEM = (
    Conv(32, kernel=3, stride=2, valid=True),
    Conv(32, kernel=3, valid=True),
    Conv(64, kernel=3),
    MaxPool(stride=2, valid=True),
    Conv(80, valid=True),
    Conv(192, kernel=3, valid=True),
    MaxPool(stride=2, valid=True),
)


def figure_5(pool: int) -> tuple[Branch, ...]:
    """Mixed 5b to 5d; the first 5×5 of two stays one."""
    return (
        (Conv(64),),
        (Conv(48), Conv(64, kernel=5)),
        (Conv(64), Conv(96, kernel=3), Conv(96, kernel=3)),
        (AvgPool(), Conv(pool)),
    )


def figure_6(n: int) -> tuple[Branch, ...]:
    """Mixed 6b to 6e: 7×7 as 1×7 and 7×1."""
    return (
        (Conv(192),),
        (Conv(n), Conv(n, kernel=(1, 7)), Conv(192, kernel=(7, 1))),
        (
            Conv(n),
            Conv(n, kernel=(7, 1)),
            Conv(n, kernel=(1, 7)),
            Conv(n, kernel=(7, 1)),
            Conv(192, kernel=(1, 7)),
        ),
        (AvgPool(), Conv(192)),
    )


FIGURE_7: tuple[Branch, ...] = (  # Mixed 7b and 7c
    (Conv(320),),
    (Conv(384), Split(Conv(384, kernel=(1, 3)), Conv(384, kernel=(3, 1)))),
    (Conv(448), Conv(384, kernel=3), Split(Conv(384, kernel=(1, 3)), Conv(384, kernel=(3, 1)))),
    (AvgPool(), Conv(192)),
)

REDUCTION_6A: tuple[Branch, ...] = (  # figure 10
    (Conv(384, kernel=3, stride=2, valid=True),),
    (Conv(64), Conv(96, kernel=3), Conv(96, kernel=3, stride=2, valid=True)),
    (MaxPool(stride=2, valid=True),),
)

REDUCTION_7A: tuple[Branch, ...] = (
    (Conv(192), Conv(320, kernel=3, stride=2, valid=True)),
    (Conv(192), Conv(192, kernel=(1, 7)), Conv(192, kernel=(7, 1)), Conv(192, kernel=3, stride=2, valid=True)),
    (MaxPool(stride=2, valid=True),),
)

STAGES = (
    (figure_5(32), figure_5(64), figure_5(64)),
    (REDUCTION_6A, figure_6(128), figure_6(160), figure_6(160), figure_6(192)),
    (REDUCTION_7A, FIGURE_7, FIGURE_7),
)


def inception_v3(
    *,
    count_padding: bool = True,
    size: Size = 299,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.5,
) -> Graph:
    """Inception v3. torchvision's and timm's weights as it stands; TensorFlow's and Keras' without ``count_padding``.

    count_padding: whether the means in the branches count the zeros around the map.
    padding: 'same' also pads what the authors leave unpadded, so that every map is its stride's share of the picture.
    The outputs are the classifier and, while training, the auxiliary classifier.
    """
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = stem(s, style)
    auxiliary = x
    for i, stage in enumerate(STAGES, 1):
        for j, branches in enumerate(stage, 1):
            x = inception(s, f"stage{i}.block{j}", x, branches, style, count_padding=count_padding)
        s.tap(2 ** (i + 2), x)
        if i == 2:
            auxiliary = auxiliary_head(s, x, classes, style)
    return s.graph(classify(s, x, classes, dropout), auxiliary)


def stem(s: Sketch, style: Style) -> Map:
    """The plain layers before the first block, up to a map of stride 8; Inception-ResNet v2 begins with the same."""
    x, layers, pools = s.input, 0, 0
    for row in STEM:
        if isinstance(row, MaxPool):
            pools += 1
            s.tap(2**pools, x)
            x = max_pool(s, f"stem.pool{pools}", x, row)
        else:
            layers += 1
            x = layer(s, f"stem.layer{layers}", x, row, style)
    return x


def auxiliary_head(s: Sketch, x: Map, classes: int, style: Style) -> Map:
    """The classifier on the last 17×17 map, for training only; a smaller map is padded to one window."""
    with s.train_only(), s.scope("aux"):
        x = s.avg_pool("pool", x, kernel=5, stride=3, padding=_to_one_window(x, 5))
        x = conv_norm_act(s, "reduce", x, 128, style)
        with s.scope("spatial"):
            x = s.conv("conv", x, 768, kernel=5, padding=_to_one_window(x, 5))
            x = s.act("act", s.norm("norm", x, eps=style.eps), style.act)
        return s.linear("classifier", s.flatten("flatten", s.global_pool("global_pool", x)), classes)


def _to_one_window(x: Map, kernel: int) -> Padding:
    down, across = max(kernel - x.shape[1], 0), max(kernel - x.shape[2], 0)
    return down // 2, across // 2, down - down // 2, across - across // 2


VARIANTS = {"inception_v3": (inception_v3, {"size": 299})}

TORCHVISION = "torchvision 0.29.2, Inception_V3_Weights"
TIMM = "timm, results-imagenet.csv"
KERAS = "keras-io, applications"

PUBLISHED = (
    Published("inception_v3", 299, TORCHVISION, parameters="27161264", macs="5.713G", counting="with auxiliary heads"),
    Published("inception_v3", 299, TIMM, parameters="23.83M"),
    Published("inception_v3", 299, KERAS, parameters="23851784", counting="with statistics, without gains"),
)
