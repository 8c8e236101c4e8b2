"""MobileOne: An Improved One Millisecond Mobile Backbone (Vasu et al. 2022, arXiv 2206.04040), tables 2 and 3.

Drawn with the branches that it is trained with; ``lower.reparam`` makes MobileNet V1's plain depthwise separable stack
of them, as every ONNX file that eyespot writes is, and as the published counts are. The paper's stage 1 is the stem;
its stages 4 and 5, of one width and one stride, are stage3. Taps are the last block of each stride: the stem at 2,
stages 1 to 4 at 4 to 32.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from eyespot.arch.blocks import Squeeze, Style, classify, pick, round_channels, sketch
from eyespot.arch.branches import parallel_branches
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Stage(NamedTuple):
    """Rows of table 2: blocks of a depthwise and a pointwise convolution, and channels before the width factor."""

    blocks: int
    channels: int


class Network(NamedTuple):
    """A column of table 3: the width factors α of the four stages, the over-parameterisation k.

    gated: the last blocks of each stage with squeeze-excite.
    """

    widths: tuple[float, float, float, float]
    convolutions: int
    gated: tuple[int, int, int, int] = (0, 0, 0, 0)


TABLE_2 = (
    Stage(blocks=2, channels=64),
    Stage(blocks=8, channels=128),
    Stage(blocks=10, channels=256),
    Stage(blocks=1, channels=512),
)

TABLE_3 = {
    "s0": Network(widths=(0.75, 1.0, 1.0, 2.0), convolutions=4),
    "s1": Network(widths=(1.5, 1.5, 2.0, 2.5), convolutions=1),
    "s2": Network(widths=(1.5, 2.0, 2.5, 4.0), convolutions=1),
    "s3": Network(widths=(2.0, 2.5, 3.0, 4.0), convolutions=1),
    "s4": Network(widths=(3.0, 3.5, 3.5, 4.0), convolutions=1, gated=(0, 0, 5, 1)),
}


def mobileone(
    *,
    network: Literal["s0", "s1", "s2", "s3", "s4"] = "s0",
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """MobileOne. timm's multi-branch weights as it stands."""
    table = pick(TABLE_3, network, "network")
    k = table.convolutions
    style = Style("relu", eps)
    s = sketch(size, padding)
    # The authors' code over-parameterises every block but the stem.
    x = s.tap(2, parallel_branches(s, "stem", s.input, min(64, int(64 * table.widths[0])), style, stride=2))
    for i, (row, width, gated) in enumerate(zip(TABLE_2, table.widths, table.gated, strict=True), 1):
        for j in range(1, row.blocks + 1):
            channels, gate = int(row.channels * width), j > row.blocks - gated
            with s.scope(f"stage{i}.block{j}"):
                x = parallel_branches(
                    s, "depthwise", x, x.channels, style, stride=2 if j == 1 else 1, groups=x.channels, convolutions=k,
                    squeeze=_squeeze(x.channels) if gate else None,
                )  # fmt: skip
                x = parallel_branches(
                    s, "pointwise", x, channels, style, kernel=1, convolutions=k,
                    squeeze=_squeeze(channels) if gate else None,
                )  # fmt: skip
        s.tap(2 ** (i + 1), x)
    return s.graph(classify(s, x, classes, dropout))


def _squeeze(channels: int) -> Squeeze:
    return Squeeze(round_channels(channels / 16, least=0.0), "relu", "sigmoid")


VARIANTS = {f"mobileone_{name}": (mobileone, {"network": name}) for name in TABLE_3}

TIMM = "timm, results-imagenet.csv"

PUBLISHED = (
    Published("mobileone_s0", 224, TIMM, parameters="2.08M", macs="0.28G", counting="as one branch"),
    Published("mobileone_s1", 224, TIMM, parameters="4.76M", macs="0.83G", counting="as one branch"),
    Published("mobileone_s2", 224, TIMM, parameters="7.81M", macs="1.3G", counting="as one branch"),
    Published("mobileone_s3", 224, TIMM, parameters="10.08M", macs="1.9G", counting="as one branch"),
    Published("mobileone_s4", 224, TIMM, parameters="14.84M", macs="2.98G", counting="as one branch"),
)
