"""SqueezeNet: AlexNet-level accuracy with 50x fewer parameters (Iandola et al. 2016, arXiv 1602.07360), table 1.

Version 1.1 is the authors' later release (forresti/SqueezeNet): a smaller stem and earlier pools, the same modules.
Taps are what each pool reads, and fire9: strides 2, 4, 8 and 16.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from eyespot.arch.blocks import pick, sketch
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import Map, PaddingRule, Sketch


class Fire(NamedTuple):
    """A row of table 1: s1x1, and e1x1 = e3x3."""

    number: int
    squeeze: int
    expand: int


class Version(NamedTuple):
    """Where the versions differ: the stem, and the layers that a pool follows (the stem is layer 1)."""

    stem_channels: int
    stem_kernel: int
    pools: tuple[int, int, int]


TABLE_1 = (
    Fire(number=2, squeeze=16, expand=64),
    Fire(number=3, squeeze=16, expand=64),
    Fire(number=4, squeeze=32, expand=128),
    Fire(number=5, squeeze=32, expand=128),
    Fire(number=6, squeeze=48, expand=192),
    Fire(number=7, squeeze=48, expand=192),
    Fire(number=8, squeeze=64, expand=256),
    Fire(number=9, squeeze=64, expand=256),
)

VERSIONS = {
    "1.0": Version(stem_channels=96, stem_kernel=7, pools=(1, 4, 8)),
    "1.1": Version(stem_channels=64, stem_kernel=3, pools=(1, 3, 5)),
}


def squeezenet(
    *,
    version: Literal["1.0", "1.1"] = "1.1",
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    dropout: float = 0.5,
) -> Graph:
    """SqueezeNet. torchvision's and Caffe's weights as it stands.

    padding: the original pads nothing but the 3×3 layers of its modules, and lets a pool's last window hang over;
    'same' pads stem and pools as TensorFlow would. The classifier is a convolution, a ReLU and a mean.
    """
    table = pick(VERSIONS, version, "version")
    edge: PaddingRule = "same" if padding == "same" else "valid"
    s = sketch(size, edge)
    with s.scope("stem"):
        x = s.conv("conv", s.input, table.stem_channels, kernel=table.stem_kernel, stride=2, bias=True)
        x = s.act("act", x, "relu")
    stride = 2
    for number, row in enumerate((None, *TABLE_1), 1):
        x = x if row is None else fire(s, x, row)
        s.tap(stride, x)
        if number in table.pools:
            x = s.max_pool(f"pool{number}", x, kernel=3, stride=2, ceil=True)
            stride *= 2
    x = s.conv("classifier", s.dropout("dropout", x, dropout), classes, bias=True)
    return s.graph(s.flatten("flatten", s.global_pool("pool", s.act("act", x, "relu"))))


def fire(s: Sketch, x: Map, row: Fire) -> Map:
    """A fire module (figure 1): squeezed by 1×1, expanded by 1×1 and 3×3 side by side."""
    with s.scope(f"fire{row.number}"):
        x = _conv_act(s, "squeeze", x, row.squeeze, 1)
        return s.concat(
            "concat", _conv_act(s, "expand1x1", x, row.expand, 1), _conv_act(s, "expand3x3", x, row.expand, 3)
        )


def _conv_act(s: Sketch, name: str, x: Map, channels: int, kernel: int) -> Map:
    with s.scope(name):
        return s.act("act", s.conv("conv", x, channels, kernel=kernel, padding="symmetric", bias=True), "relu")


VARIANTS = {
    "squeezenet_1.0": (squeezenet, {"version": "1.0"}),
    "squeezenet_1.1": (squeezenet, {"version": "1.1"}),
}

TORCHVISION = "torchvision 0.29.2, SqueezeNet1_{0,1}_Weights"

PUBLISHED = (
    Published("squeezenet_1.0", 224, TORCHVISION, parameters="1248424", macs="0.819G"),
    Published("squeezenet_1.1", 224, TORCHVISION, parameters="1235496", macs="0.349G"),
)
