"""RepVGG: Making VGG-style ConvNets Great Again (Ding et al. 2021, arXiv 2101.03697), tables 2 and 3.

Drawn with the three branches that it is trained with; ``lower.reparam`` makes the plain stack of 3×3 convolutions of
them, as every ONNX file that eyespot writes is, and as the published counts are. The paper's stage 1 is the stem,
stage1 its stage 2. Taps are the last block of each stride: the stem at 2, stages 1 to 4 at 4 to 32.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from eyespot.arch.blocks import Style, classify, pick, sketch
from eyespot.arch.branches import parallel_branches
from eyespot.arch.variant import Published, Size
from eyespot.core.graph import Graph
from eyespot.core.sketch import PaddingRule


class Network(NamedTuple):
    """A row of table 3: the blocks of stages 2 to 5, and the width factors of stages 2 to 4 (a) and of stage 5 (b)."""

    blocks: tuple[int, int, int, int]
    a: float
    b: float


TABLE_3 = {
    "a0": Network(blocks=(2, 4, 14, 1), a=0.75, b=2.5),
    "b0": Network(blocks=(4, 6, 16, 1), a=1.0, b=2.5),
}
CHANNELS = (64, 128, 256, 512)  # table 2, stages 2 to 5


def repvgg(
    *,
    network: Literal["a0", "b0"] = "a0",
    size: Size = 224,
    classes: int = 1000,
    padding: PaddingRule = "symmetric",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Graph:
    """RepVGG. timm's and the authors' multi-branch weights as it stands."""
    table = pick(TABLE_3, network, "network")
    style = Style("relu", eps)
    s = sketch(size, padding)
    x = s.tap(2, parallel_branches(s, "stem", s.input, min(64, int(64 * table.a)), style, stride=2))
    for i, (blocks, channels) in enumerate(zip(table.blocks, CHANNELS, strict=True), 1):
        width = int(channels * (table.b if i == len(CHANNELS) else table.a))
        for j in range(1, blocks + 1):
            x = parallel_branches(s, f"stage{i}.block{j}", x, width, style, stride=2 if j == 1 else 1)
        s.tap(2 ** (i + 1), x)
    return s.graph(classify(s, x, classes, dropout))


VARIANTS = {
    "repvgg_a0": (repvgg, {"network": "a0"}),
    "repvgg_b0": (repvgg, {"network": "b0"}),
}

TIMM = "timm, results-imagenet.csv"

PUBLISHED = (
    Published("repvgg_a0", 224, TIMM, parameters="8.31M", macs="1.36G", counting="as one branch"),
    Published("repvgg_b0", 224, TIMM, parameters="14.34M", macs="3.06G", counting="as one branch"),
)
