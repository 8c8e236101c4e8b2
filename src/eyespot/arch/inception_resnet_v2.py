"""Inception-ResNet v2 (Szegedy et al. 2016, arXiv 1602.07261), figure 15, with figures 16 to 19 and table 1.

The network is the one of the authors' published weights (tensorflow/models, slim/nets/inception_resnet_v2.py), which
begins like Inception v3, not with the paper's stem. Stages hold the blocks of one size of map: 35×35, 17×17 and 8×8 for
a picture of 299×299; the first block of each has no shortcut. Taps are the stem at 2 and 4, the last block of stages 1
and 2, and the head.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, conv_norm_act, sketch
from eyespot.arch.inception import AvgPool, Branch, Conv, MaxPool, inception, inception_residual
from eyespot.arch.inception_v3 import stem
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """A block that changes the map, then ``repeats`` residual blocks whose branches count ``factor`` in the sum."""

    first: tuple[Branch, ...]
    residual: tuple[Branch, ...]
    repeats: int
    factor: float


FIGURE_15 = (
    Stage(
        first=(
            (Conv(96),),
            (Conv(48), Conv(64, kernel=5)),
            (Conv(64), Conv(96, kernel=3), Conv(96, kernel=3)),
            (AvgPool(), Conv(64)),
        ),
        residual=(  # figure 16
            (Conv(32),),
            (Conv(32), Conv(32, kernel=3)),
            (Conv(32), Conv(48, kernel=3), Conv(64, kernel=3)),
        ),
        repeats=10,
        factor=0.17,
    ),
    Stage(
        first=(  # figure 7 with table 1's k, l, m and n
            (Conv(384, kernel=3, stride=2, valid=True),),
            (Conv(256), Conv(256, kernel=3), Conv(384, kernel=3, stride=2, valid=True)),
            (MaxPool(stride=2, valid=True),),
        ),
        residual=(  # figure 17
            (Conv(192),),
            (Conv(128), Conv(160, kernel=(1, 7)), Conv(192, kernel=(7, 1))),
        ),
        repeats=20,
        factor=0.10,
    ),
    Stage(
        first=(  # figure 18
            (Conv(256), Conv(384, kernel=3, stride=2, valid=True)),
            (Conv(256), Conv(288, kernel=3, stride=2, valid=True)),
            (Conv(256), Conv(288, kernel=3), Conv(320, kernel=3, stride=2, valid=True)),
            (MaxPool(stride=2, valid=True),),
        ),
        residual=(  # figure 19
            (Conv(192),),
            (Conv(192), Conv(224, kernel=(1, 3)), Conv(256, kernel=(3, 1))),
        ),
        repeats=9,
        factor=0.20,
    ),
)


def inception_resnet_v2(
    *,
    size: Size = 299,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.2,
) -> Graph:
    """Inception-ResNet v2. timm's and Keras' weights, which are TensorFlow's, as it stands.

    padding: 'same' also pads what the authors leave unpadded, as their own code does for detection: every map is then
    its stride's share of the picture.
    """
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = stem(s, style)
    for i, stage in enumerate(FIGURE_15, 1):
        x = inception(s, f"stage{i}.block1", x, stage.first, style)
        for j in range(2, stage.repeats + 2):
            x = inception_residual(s, f"stage{i}.block{j}", x, stage.residual, style, factor=stage.factor)
        if i < len(FIGURE_15):
            s.tap(2 ** (i + 2), x)
    # The tenth and last block of 8×8 counts in full and is not activated.
    last = FIGURE_15[-1]
    x = inception_residual(s, f"stage3.block{last.repeats + 2}", x, last.residual, style, factor=1.0, act=None)
    x = s.tap(32, conv_norm_act(s, "head", x, 1536, style))
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {"inception_resnet_v2": (inception_resnet_v2, {"size": 299})}

TIMM = "timm, results-imagenet.csv"
KERAS = "keras-io, applications"

PUBLISHED = (
    Published("inception_resnet_v2", 299, TIMM, parameters="55.84M"),
    Published("inception_resnet_v2", 299, KERAS, parameters="55873736", counting="with statistics, without gains"),
)
