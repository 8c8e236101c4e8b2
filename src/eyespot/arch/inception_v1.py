"""Inception v1, GoogLeNet: Going Deeper with Convolutions (Szegedy et al. 2014, arXiv 1409.4842), table 1.

Every convolution is followed by batch norm, as in torchvision's and TensorFlow's retrainings, whose "5×5" convolutions
are 3×3 too. Two auxiliary heads (section 5) are drawn for training only. Stages and blocks count as in the paper:
stage3.block1 is inception (3a). Taps are the stem at 2 and 4, and the last block of each stage at 8, 16 and 32.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, conv_norm_act, sketch
from eyespot.arch.inception import Branch, Conv, MaxPool, inception
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.ops import AvgPool
from eyespot.core.sketch import Map, PaddingRule, Sketch


class Module(NamedTuple):
    """A row of table 1. auxiliary: a head for training reads what comes out of it."""

    stage: int
    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool: int
    auxiliary: bool = False

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The four branches of figure 2b."""
        return (
            (Conv(self.conv1x1),),
            (Conv(self.reduce3x3), Conv(self.conv3x3, kernel=3)),
            (Conv(self.reduce5x5), Conv(self.conv5x5, kernel=3)),
            (MaxPool(), Conv(self.pool)),
        )


TABLE_1 = (
    Module(stage=3, conv1x1=64, reduce3x3=96, conv3x3=128, reduce5x5=16, conv5x5=32, pool=32),
    Module(stage=3, conv1x1=128, reduce3x3=128, conv3x3=192, reduce5x5=32, conv5x5=96, pool=64),
    Module(stage=4, conv1x1=192, reduce3x3=96, conv3x3=208, reduce5x5=16, conv5x5=48, pool=64, auxiliary=True),
    Module(stage=4, conv1x1=160, reduce3x3=112, conv3x3=224, reduce5x5=24, conv5x5=64, pool=64),
    Module(stage=4, conv1x1=128, reduce3x3=128, conv3x3=256, reduce5x5=24, conv5x5=64, pool=64),
    Module(stage=4, conv1x1=112, reduce3x3=144, conv3x3=288, reduce5x5=32, conv5x5=64, pool=64, auxiliary=True),
    Module(stage=4, conv1x1=256, reduce3x3=160, conv3x3=320, reduce5x5=32, conv5x5=128, pool=128),
    Module(stage=5, conv1x1=256, reduce3x3=160, conv3x3=320, reduce5x5=32, conv5x5=128, pool=128),
    Module(stage=5, conv1x1=384, reduce3x3=192, conv3x3=384, reduce5x5=48, conv5x5=128, pool=128),
)


def inception_v1(
    *,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.2,
) -> Graph:
    """GoogLeNet with batch norm. torchvision's weights as it stands.

    padding: 'symmetric' lets the last window of a pool between stages hang over the map, as Caffe and torchvision do.
    The outputs are the classifier and, while training, the two auxiliary classifiers.
    """
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.tap(2, conv_norm_act(s, "stem.layer1", s.input, 64, style, kernel=7, stride=2))
    x = _shrink(s, "stem.pool1", x, kernel=3)
    x = conv_norm_act(s, "stem.layer2", x, 64, style)
    x = s.tap(4, conv_norm_act(s, "stem.layer3", x, 192, style, kernel=3))
    x = _shrink(s, "stem.pool2", x, kernel=3)
    auxiliary: list[Map] = []
    for stage, pool_kernel in ((3, 3), (4, 2), (5, None)):  # torchvision's last pool is 2×2, the paper's 3×3
        for block, row in enumerate((row for row in TABLE_1 if row.stage == stage), 1):
            x = inception(s, f"stage{stage}.block{block}", x, row.branches, style)
            if row.auxiliary:
                auxiliary.append(auxiliary_head(s, f"aux{len(auxiliary) + 1}", x, classes, style))
        s.tap(2**stage, x)
        if pool_kernel:
            x = _shrink(s, f"pool{stage}", x, kernel=pool_kernel)
    return s.graph(classify(s, x, classes, dropout), *auxiliary)


def auxiliary_head(s: Sketch, name: str, x: Map, classes: int, style: Style) -> Map:
    """Section 5's classifier on an inner map, for training only: means of a 4×4 grid, 128 channels, 1024 features.

    The grid's windows are the paper's 5×5 at stride 3 for a map of 14×14, and share out other maps likewise
    (torchvision's have 4×4, unevenly spaced); of a map under 4×4 some see zeros.
    """
    with s.train_only(), s.scope(name):
        stride = max(x.shape[1] // 4, 1), max(x.shape[2] // 4, 1)
        kernel = max(x.shape[1] - 3 * stride[0], 1), max(x.shape[2] - 3 * stride[1], 1)
        zeros = max(4 - x.shape[1], 0), max(4 - x.shape[2], 0)
        x = s.add("pool", AvgPool(kernel, stride, (0, 0, *zeros), count_padding=True), x)
        x = s.flatten("flatten", conv_norm_act(s, "reduce", x, 128, style))
        x = s.act("hidden.act", s.linear("hidden.linear", x, 1024), "relu")
        return s.linear("classifier", s.dropout("dropout", x, 0.7), classes)


def _shrink(s: Sketch, name: str, x: Map, *, kernel: int) -> Map:
    same = s.padding == "same"
    return s.max_pool(name, x, kernel=kernel, stride=2, padding="same" if same else "valid", ceil=not same)


VARIANTS = {"inception_v1": (inception_v1, {"size": 224})}

TORCHVISION = "torchvision 0.29.2, GoogLeNet_Weights"

PUBLISHED = (Published("inception_v1", 224, TORCHVISION, parameters="6624904", macs="1.498G"),)
