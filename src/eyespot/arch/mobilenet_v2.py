"""MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al. 2018, arXiv 1801.04381), table 2.

Taps are the last block of each stride: stage1 at 2, stage2 at 4, stage3 at 8, stage5 at 16, stage7 at 32.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.arch.blocks import Style, classify, conv_norm_act, inverted_residual, round_channels, sketch
from eyespot.arch.depth import repeats
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """A row of table 2: ``repeats`` bottlenecks, of which the first has the stride. tap: the stride that ends here."""

    expansion: int
    channels: int
    repeats: int
    stride: int
    tap: int | None = None


TABLE_2 = (
    Stage(expansion=1, channels=16, repeats=1, stride=1, tap=2),
    Stage(expansion=6, channels=24, repeats=2, stride=2, tap=4),
    Stage(expansion=6, channels=32, repeats=3, stride=2, tap=8),
    Stage(expansion=6, channels=64, repeats=4, stride=2),
    Stage(expansion=6, channels=96, repeats=3, stride=1, tap=16),
    Stage(expansion=6, channels=160, repeats=3, stride=2),
    Stage(expansion=6, channels=320, repeats=1, stride=1, tap=32),
)


def mobilenet_v2(
    *,
    width: float = 1.0,
    depth: float = 1.0,
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.2,
) -> Graph:
    """MobileNetV2 at a width and a depth multiplier.

    torchvision's weights as it stands; TensorFlow's with 'same' and eps 1e-3.
    """
    style = Style("relu6", eps)
    s = sketch(size, padding)
    x = conv_norm_act(s, "stem", s.input, round_channels(32 * width), style, kernel=3, stride=2)
    for i, row in enumerate(TABLE_2, 1):
        with s.scope(f"stage{i}"):
            for j in range(1, repeats(row.repeats, depth) + 1):
                x = inverted_residual(
                    s, f"block{j}", x, round_channels(row.channels * width), style,
                    expanded=row.expansion * x.channels, stride=row.stride if j == 1 else 1,
                )  # fmt: skip
        if row.tap:
            s.tap(row.tap, x)
    # The paper narrows the last convolution for no multiplier below one.
    x = conv_norm_act(s, "head", x, round_channels(1280 * max(width, 1.0)), style)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "mobilenet_v2_0.35": (mobilenet_v2, {"width": 0.35}),
    "mobilenet_v2_0.5": (mobilenet_v2, {"width": 0.5}),
    "mobilenet_v2_0.75": (mobilenet_v2, {"width": 0.75}),
    "mobilenet_v2_1.0": (mobilenet_v2, {"width": 1.0}),
    "mobilenet_v2_1.3": (mobilenet_v2, {"width": 1.3}),
    "mobilenet_v2_1.4": (mobilenet_v2, {"width": 1.4}),
}

TORCHVISION = "torchvision 0.29.2, MobileNet_V2_Weights"
SLIM = "tensorflow/models, slim/nets/mobilenet/README.md"
KERAS = "keras-io, applications"
TIMM = "timm, results-imagenet.csv"

PUBLISHED = (
    Published("mobilenet_v2_0.35", 224, SLIM, parameters="1.66M", macs="59M", counting="without batch norm", cut=True),
    Published("mobilenet_v2_0.35", 192, SLIM, macs="43M", cut=True),
    Published("mobilenet_v2_0.35", 160, SLIM, macs="30M", cut=True),
    Published("mobilenet_v2_0.35", 128, SLIM, macs="20M", cut=True),
    Published("mobilenet_v2_0.35", 96, SLIM, macs="11M", cut=True),
    Published("mobilenet_v2_0.5", 224, TIMM, parameters="1.97M"),
    Published("mobilenet_v2_0.5", 224, SLIM, parameters="1.95M", macs="97M", counting="without batch norm", cut=True),
    Published("mobilenet_v2_0.5", 192, SLIM, macs="71M", cut=True),
    Published("mobilenet_v2_0.5", 160, SLIM, macs="50M", cut=True),
    Published("mobilenet_v2_0.5", 128, SLIM, macs="32M", cut=True),
    Published("mobilenet_v2_0.5", 96, SLIM, macs="18M", cut=True),
    Published("mobilenet_v2_0.75", 224, SLIM, parameters="2.61M", macs="209M", counting="without batch norm", cut=True),
    Published("mobilenet_v2_0.75", 192, SLIM, macs="153M", cut=True),
    Published("mobilenet_v2_0.75", 160, SLIM, macs="107M", cut=True),
    Published("mobilenet_v2_0.75", 128, SLIM, macs="69M", cut=True),
    Published("mobilenet_v2_0.75", 96, SLIM, macs="39M", cut=True),
    Published("mobilenet_v2_1.0", 224, TORCHVISION, parameters="3504872", macs="0.301G"),
    Published("mobilenet_v2_1.0", 224, KERAS, parameters="3538984", counting="with statistics"),
    Published("mobilenet_v2_1.0", 224, SLIM, parameters="3.47M", macs="300M", counting="without batch norm", cut=True),
    Published("mobilenet_v2_1.0", 192, SLIM, macs="221M", cut=True),
    Published("mobilenet_v2_1.0", 160, SLIM, macs="154M", cut=True),
    Published("mobilenet_v2_1.0", 128, SLIM, macs="99M", cut=True),
    Published("mobilenet_v2_1.0", 96, SLIM, macs="56M", cut=True),
    Published("mobilenet_v2_1.3", 224, SLIM, parameters="5.34M", macs="509M", counting="without batch norm", cut=True),
    Published("mobilenet_v2_1.4", 224, TIMM, parameters="6.11M"),
    Published("mobilenet_v2_1.4", 224, SLIM, parameters="6.06M", macs="582M", counting="without batch norm", cut=True),
)
