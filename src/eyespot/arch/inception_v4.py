"""Inception v4: Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning (arXiv 1602.07261).

Figure 9 of Szegedy et al. (2016) is the whole, figures 3 to 8 and table 1 the blocks. Stages hold the blocks of one
size of map: 35×35, 17×17 and 8×8 for a picture of 299×299; the first block of stages 2 and 3 shrinks the map. Taps are
the stem's last plain layer at 2 and its second block at 4, and the last block of each stage.
"""

from __future__ import annotations

from eyespot.arch.blocks import Style, classify, sketch
from eyespot.arch.inception import AvgPool, Branch, Conv, MaxPool, Split, inception, layer
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule

STEM_LAYERS = (  # figure 3, the plain layers
    Conv(32, kernel=3, stride=2, valid=True),
    Conv(32, kernel=3, valid=True),
    Conv(64, kernel=3),
)

STEM_BLOCKS: tuple[tuple[Branch, ...], ...] = (  # figure 3, the three places where it forks
    ((MaxPool(stride=2, valid=True),), (Conv(96, kernel=3, stride=2, valid=True),)),
    (
        (Conv(64), Conv(96, kernel=3, valid=True)),
        (Conv(64), Conv(64, kernel=(1, 7)), Conv(64, kernel=(7, 1)), Conv(96, kernel=3, valid=True)),
    ),
    ((Conv(192, kernel=3, stride=2, valid=True),), (MaxPool(stride=2, valid=True),)),
)

INCEPTION_A: tuple[Branch, ...] = (  # figure 4
    (Conv(96),),
    (Conv(64), Conv(96, kernel=3)),
    (Conv(64), Conv(96, kernel=3), Conv(96, kernel=3)),
    (AvgPool(), Conv(96)),
)

REDUCTION_A: tuple[Branch, ...] = (  # figure 7 with table 1's k, l, m and n
    (Conv(384, kernel=3, stride=2, valid=True),),
    (Conv(192), Conv(224, kernel=3), Conv(256, kernel=3, stride=2, valid=True)),
    (MaxPool(stride=2, valid=True),),
)

INCEPTION_B: tuple[Branch, ...] = (  # figure 5
    (Conv(384),),
    (Conv(192), Conv(224, kernel=(1, 7)), Conv(256, kernel=(7, 1))),
    (
        Conv(192),
        Conv(192, kernel=(7, 1)),
        Conv(224, kernel=(1, 7)),
        Conv(224, kernel=(7, 1)),
        Conv(256, kernel=(1, 7)),
    ),
    (AvgPool(), Conv(128)),
)

REDUCTION_B: tuple[Branch, ...] = (  # figure 8
    (Conv(192), Conv(192, kernel=3, stride=2, valid=True)),
    (Conv(256), Conv(256, kernel=(1, 7)), Conv(320, kernel=(7, 1)), Conv(320, kernel=3, stride=2, valid=True)),
    (MaxPool(stride=2, valid=True),),
)

INCEPTION_C: tuple[Branch, ...] = (  # figure 6
    (Conv(256),),
    (Conv(384), Split(Conv(256, kernel=(1, 3)), Conv(256, kernel=(3, 1)))),
    (
        Conv(384),
        Conv(448, kernel=(3, 1)),
        Conv(512, kernel=(1, 3)),
        Split(Conv(256, kernel=(1, 3)), Conv(256, kernel=(3, 1))),
    ),
    (AvgPool(), Conv(256)),
)

STAGES = (
    (INCEPTION_A,) * 4,
    (REDUCTION_A, *(INCEPTION_B,) * 7),
    (REDUCTION_B, *(INCEPTION_C,) * 3),
)


def inception_v4(
    *,
    size: Size = 299,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.2,
) -> Graph:
    """Inception v4. timm's weights, which are TensorFlow's, as it stands.

    padding: 'same' also pads what the authors leave unpadded, so that every map is its stride's share of the picture.
    """
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.input
    for i, row in enumerate(STEM_LAYERS, 1):
        x = layer(s, f"stem.layer{i}", x, row, style)
    s.tap(2, x)
    for i, branches in enumerate(STEM_BLOCKS, 1):
        x = inception(s, f"stem.block{i}", x, branches, style)
        if i == 2:
            s.tap(4, x)
    for i, stage in enumerate(STAGES, 1):
        for j, branches in enumerate(stage, 1):
            x = inception(s, f"stage{i}.block{j}", x, branches, style)
        s.tap(2 ** (i + 2), x)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {"inception_v4": (inception_v4, {"size": 299})}

TIMM = "timm, results-imagenet.csv"

PUBLISHED = (Published("inception_v4", 299, TIMM, parameters="42.68M"),)
