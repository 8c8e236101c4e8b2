"""ResNet: Deep Residual Learning for Image Recognition (He et al. 2015, arXiv 1512.03385), table 1 and section 4.2.

Taps are the last block of each stride: the stem at 2, stages 1 to 4 at 4 to 32; for CIFAR stages 1 to 3 at 1, 2, 4.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from eyespot.arch.blocks import (
    Style,
    basic_residual,
    bottleneck_residual,
    classify,
    conv_norm_act,
    pick,
    sketch,
    zero_padding,
)
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule
from eyespot.errors import UsageError


class Layout(NamedTuple):
    """A column of table 1: two 3×3 convolutions per block or a bottleneck, and the blocks of conv2_x to conv5_x."""

    bottleneck: bool
    blocks: tuple[int, int, int, int]


TABLE_1 = {
    18: Layout(bottleneck=False, blocks=(2, 2, 2, 2)),
    34: Layout(bottleneck=False, blocks=(3, 4, 6, 3)),
    50: Layout(bottleneck=True, blocks=(3, 4, 6, 3)),
    101: Layout(bottleneck=True, blocks=(3, 4, 23, 3)),
    152: Layout(bottleneck=True, blocks=(3, 8, 36, 3)),
}

STRIDES = {"1x1": (2, 1), "3x3": (1, 2)}  # of a bottleneck that shrinks the map: its first 1×1, its 3×3


def resnet(
    *,
    depth: int = 50,
    stride_on: Literal["3x3", "1x1"] = "3x3",
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """ResNet for ImageNet. torchvision's weights as it stands.

    stride_on: which convolution of a bottleneck shrinks the map, '3x3' ("v1.5", torchvision) or '1x1' (paper, Keras).
    """
    layout = pick(TABLE_1, depth, "depth")
    shrinking = pick(STRIDES, stride_on, "stride_on")
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.tap(2, conv_norm_act(s, "stem", s.input, 64, style, kernel=7, stride=2))
    x = s.max_pool("stem.pool", x, kernel=3, stride=2)
    for i, blocks in enumerate(layout.blocks, 1):
        channels = 64 * 2 ** (i - 1)
        for j in range(1, blocks + 1):
            stride = 2 if i > 1 and j == 1 else 1
            name = f"stage{i}.block{j}"
            if layout.bottleneck:
                x = bottleneck_residual(s, name, x, channels, style, strides=shrinking if stride == 2 else (1, 1))
            else:
                x = basic_residual(s, name, x, channels, style, stride=stride)
        s.tap(2 ** (i + 1), x)
    return s.graph(classify(s, x, classes, dropout))


def resnet_cifar(
    *,
    depth: int = 20,
    size: Size = 32,
    classes: int = 10,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """ResNet for CIFAR-10 (section 4.2): depth = 6n + 2, shortcuts without parameters. akamaster's weights."""
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise UsageError(f"depth {depth} is not a CIFAR ResNet's; give 6n + 2, such as 20, 32, 44 or 56")
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, 16, style, kernel=3)
    for i in (1, 2, 3):
        channels = 16 * 2 ** (i - 1)
        for j in range(1, blocks + 1):
            stride = 2 if i > 1 and j == 1 else 1
            name = f"stage{i}.block{j}"
            x = basic_residual(s, name, x, channels, style, stride=stride, shortcut=zero_padding)
        s.tap(2 ** (i - 1), x)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "resnet18": (resnet, {"depth": 18}),
    "resnet34": (resnet, {"depth": 34}),
    "resnet50": (resnet, {"depth": 50}),
    "resnet101": (resnet, {"depth": 101}),
    "resnet152": (resnet, {"depth": 152}),
    "resnet20_cifar": (resnet_cifar, {"depth": 20}),
    "resnet32_cifar": (resnet_cifar, {"depth": 32}),
    "resnet44_cifar": (resnet_cifar, {"depth": 44}),
    "resnet56_cifar": (resnet_cifar, {"depth": 56}),
}

TORCHVISION = "torchvision 0.29.2, ResNet*_Weights"
KERAS = "keras-io, applications"
PAPER = "the paper, table 6"
BIASES = "Keras gives every convolution a bias as well, although batch norm follows it"

PUBLISHED = (
    Published("resnet18", 224, TORCHVISION, parameters="11689512", macs="1.814G"),
    Published("resnet34", 224, TORCHVISION, parameters="21797672", macs="3.664G"),
    Published("resnet50", 224, TORCHVISION, parameters="25557032", macs="4.089G"),
    Published("resnet101", 224, TORCHVISION, parameters="44549160", macs="7.801G"),
    Published("resnet152", 224, TORCHVISION, parameters="60192808", macs="11.514G"),
    Published("resnet20_cifar", 32, PAPER, parameters="0.27M"),
    Published("resnet32_cifar", 32, PAPER, parameters="0.46M"),
    Published("resnet44_cifar", 32, PAPER, parameters="0.66M"),
    Published("resnet56_cifar", 32, PAPER, parameters="0.85M"),
    Published("resnet50", 224, KERAS, parameters="25636712", counting="with statistics", differs=BIASES),
    Published("resnet101", 224, KERAS, parameters="44707176", counting="with statistics", differs=BIASES),
    Published("resnet152", 224, KERAS, parameters="60419944", counting="with statistics", differs=BIASES),
)
