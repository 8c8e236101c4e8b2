"""MobileNetV3: Searching for MobileNetV3 (Howard et al. 2019, arXiv 1905.02244), tables 1 (large) and 2 (small).

Taps are the last block of each stride; small has nothing but its stem at stride 2.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from eyespot.arch.blocks import (
    Squeeze,
    Style,
    conv_norm_act,
    inverted_residual,
    pick,
    round_channels,
    sketch,
)
from eyespot.arch.depth import deepened
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.ops import ActivationName
from eyespot.core.sketch import PaddingRule

RE: ActivationName = "relu"
HS: ActivationName = "hard_swish"


class Block(NamedTuple):
    """A row ``bneck`` of table 1 or 2; tap: the stride that ends here."""

    kernel: int
    expanded: int
    channels: int
    squeeze_excite: bool
    act: ActivationName
    stride: int
    tap: int | None = None


class Network(NamedTuple):
    """A table: its bottlenecks, and the features of the hidden layer before the classifier."""

    blocks: tuple[Block, ...]
    hidden: int


TABLE_1 = (
    Block(kernel=3, expanded=16, channels=16, squeeze_excite=False, act=RE, stride=1, tap=2),
    Block(kernel=3, expanded=64, channels=24, squeeze_excite=False, act=RE, stride=2),
    Block(kernel=3, expanded=72, channels=24, squeeze_excite=False, act=RE, stride=1, tap=4),
    Block(kernel=5, expanded=72, channels=40, squeeze_excite=True, act=RE, stride=2),
    Block(kernel=5, expanded=120, channels=40, squeeze_excite=True, act=RE, stride=1),
    Block(kernel=5, expanded=120, channels=40, squeeze_excite=True, act=RE, stride=1, tap=8),
    Block(kernel=3, expanded=240, channels=80, squeeze_excite=False, act=HS, stride=2),
    Block(kernel=3, expanded=200, channels=80, squeeze_excite=False, act=HS, stride=1),
    Block(kernel=3, expanded=184, channels=80, squeeze_excite=False, act=HS, stride=1),
    Block(kernel=3, expanded=184, channels=80, squeeze_excite=False, act=HS, stride=1),
    Block(kernel=3, expanded=480, channels=112, squeeze_excite=True, act=HS, stride=1),
    Block(kernel=3, expanded=672, channels=112, squeeze_excite=True, act=HS, stride=1, tap=16),
    Block(kernel=5, expanded=672, channels=160, squeeze_excite=True, act=HS, stride=2),
    Block(kernel=5, expanded=960, channels=160, squeeze_excite=True, act=HS, stride=1),
    Block(kernel=5, expanded=960, channels=160, squeeze_excite=True, act=HS, stride=1, tap=32),
)

TABLE_2 = (
    Block(kernel=3, expanded=16, channels=16, squeeze_excite=True, act=RE, stride=2, tap=4),
    Block(kernel=3, expanded=72, channels=24, squeeze_excite=False, act=RE, stride=2),
    Block(kernel=3, expanded=88, channels=24, squeeze_excite=False, act=RE, stride=1, tap=8),
    Block(kernel=5, expanded=96, channels=40, squeeze_excite=True, act=HS, stride=2),
    Block(kernel=5, expanded=240, channels=40, squeeze_excite=True, act=HS, stride=1),
    Block(kernel=5, expanded=240, channels=40, squeeze_excite=True, act=HS, stride=1),
    Block(kernel=5, expanded=120, channels=48, squeeze_excite=True, act=HS, stride=1),
    Block(kernel=5, expanded=144, channels=48, squeeze_excite=True, act=HS, stride=1, tap=16),
    Block(kernel=5, expanded=288, channels=96, squeeze_excite=True, act=HS, stride=2),
    Block(kernel=5, expanded=576, channels=96, squeeze_excite=True, act=HS, stride=1),
    Block(kernel=5, expanded=576, channels=96, squeeze_excite=True, act=HS, stride=1, tap=32),
)

NETWORKS = {"large": Network(TABLE_1, hidden=1280), "small": Network(TABLE_2, hidden=1024)}


def mobilenet_v3(
    *,
    network: Literal["large", "small"] = "large",
    width: float = 1.0,
    depth: float = 1.0,
    minimalistic: bool = False,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-3,
    dropout: float = 0.2,
    hidden: bool = True,
) -> Graph:
    """MobileNetV3 at a width and a depth multiplier.

    torchvision's weights as it stands; TensorFlow's with 'same' padding.

    minimalistic: the authors' variant for plain accelerators: 3×3 kernels, ReLU and no squeeze-excite throughout.
    hidden: False leaves out the layer before the classifier, as where people replace the whole head by one layer.
    """
    table = pick(NETWORKS, network, "network")
    swish = RE if minimalistic else HS
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, round_channels(16 * width), Style(swish, eps), kernel=3, stride=2)
    if table.blocks[0].stride == 2:
        s.tap(2, x)
    unscaled = 16
    for i, (row, stride, tap) in enumerate(deepened(table.blocks, depth), 1):
        # Expansion is a ratio, as in the authors' code, so that a width applies to the rounded input of the block.
        expanded = round_channels(x.channels * row.expanded / unscaled)
        squeeze = Squeeze(round_channels(expanded / 4), "relu", "hard_sigmoid")
        x = inverted_residual(
            s, f"block{i}", x, round_channels(row.channels * width), Style(RE if minimalistic else row.act, eps),
            expanded=expanded, kernel=3 if minimalistic else row.kernel, stride=stride,
            squeeze=squeeze if row.squeeze_excite and not minimalistic else None,
        )  # fmt: skip
        unscaled = row.channels
        if tap:
            s.tap(tap, x)
    x = conv_norm_act(s, "head", x, round_channels(6 * unscaled * width), Style(swish, eps))
    x = s.flatten("flatten", s.global_pool("pool", x))
    if hidden:
        with s.scope("hidden"):  # narrowed for no multiplier below one, like MobileNetV2's last convolution
            x = s.act("act", s.linear("linear", x, round_channels(table.hidden * max(width, 1.0))), swish)
    return s.graph(s.linear("classifier", s.dropout("dropout", x, dropout), classes))


VARIANTS = {
    "mobilenet_v3_small_0.75": (mobilenet_v3, {"network": "small", "width": 0.75}),
    "mobilenet_v3_small_1.0": (mobilenet_v3, {"network": "small", "width": 1.0}),
    "mobilenet_v3_small_minimalistic_1.0": (mobilenet_v3, {"network": "small", "width": 1.0, "minimalistic": True}),
    "mobilenet_v3_large_0.75": (mobilenet_v3, {"network": "large", "width": 0.75}),
    "mobilenet_v3_large_1.0": (mobilenet_v3, {"network": "large", "width": 1.0}),
    "mobilenet_v3_large_minimalistic_1.0": (mobilenet_v3, {"network": "large", "width": 1.0, "minimalistic": True}),
}

TORCHVISION = "torchvision 0.29.2, MobileNet_V3_{Small,Large}_Weights"
SLIM = "tensorflow/models, slim/nets/mobilenet/README.md"
TIMM = "timm, results-imagenet.csv"
FIRST_VERSION = "of the paper's first version, whose hidden layer had 1280 features; the published weights: "

PUBLISHED = (
    Published("mobilenet_v3_small_0.75", 224, TIMM, parameters="2.04M"),
    Published("mobilenet_v3_small_1.0", 224, TORCHVISION, parameters="2542856", macs="0.057G"),
    Published("mobilenet_v3_small_minimalistic_1.0", 224, SLIM, parameters="2.0M"),
    Published("mobilenet_v3_large_0.75", 224, SLIM, parameters="4.0M", macs="155M"),
    Published("mobilenet_v3_large_1.0", 224, TORCHVISION, parameters="5483032", macs="0.217G"),
    Published("mobilenet_v3_large_1.0", 224, SLIM, macs="217M"),
    Published("mobilenet_v3_large_minimalistic_1.0", 224, SLIM, parameters="3.9M", macs="209M"),
    Published("mobilenet_v3_small_0.75", 224, SLIM, parameters="2.4M", differs=FIRST_VERSION + "2.04M"),
    Published("mobilenet_v3_small_0.75", 224, SLIM, macs="44M", differs=FIRST_VERSION + "43.4M"),
    Published("mobilenet_v3_small_1.0", 224, SLIM, parameters="2.9M", differs=FIRST_VERSION + "2.54M"),
    Published("mobilenet_v3_small_1.0", 224, SLIM, macs="66M", differs="56.5M; torchvision's count of it is 57M"),
    Published("mobilenet_v3_small_minimalistic_1.0", 224, SLIM, macs="65M", differs="52.3M; too high as small 1.0 is"),
    Published("mobilenet_v3_large_1.0", 224, SLIM, parameters="5.4M", differs="5.483M, cut instead of rounded"),
)
