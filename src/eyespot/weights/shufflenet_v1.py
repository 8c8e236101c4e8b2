"""ShuffleNet V1's names at mmpretrain (mmpretrain/models/backbones/shufflenet_v1.py) and in pytorchcv (0.0.74).

Each has its own order of channels, in which its weights were trained. The authors' own files (megvii-model) shuffle by
another rule still and cannot be read.
"""

from __future__ import annotations

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, numbered


def mmpretrain(graph: Graph) -> Modules:
    """backbone.layers.STAGE.N, both from zero."""
    out = conv_norm("stem", "backbone.conv1.conv", "backbone.conv1.bn")
    steps = {"reduce": "g_conv_1x1_compress", "depthwise": "depthwise_conv3x3_bn", "expand": "g_conv_1x1_expand"}
    for block in blocks(graph):
        stage, number = numbered(block)
        for ours, theirs in steps.items():
            at = f"backbone.layers.{stage - 2}.{number - 1}.{theirs}"
            out |= conv_norm(f"{block}.{ours}", f"{at}.conv", f"{at}.bn")
    return out | {"classifier": "head.fc"}


def pytorchcv(graph: Graph) -> Modules:
    """features.stageS.unitN, where the paper's stage 2 is the first."""
    out = conv_norm("stem", "features.init_block.conv", "features.init_block.bn")
    steps = {"reduce": ("compress", 1), "depthwise": ("dw", 2), "expand": ("expand", 3)}
    for block in blocks(graph):
        stage, number = numbered(block)
        at = f"features.stage{stage - 1}.unit{number}"
        for ours, (theirs, k) in steps.items():
            out |= conv_norm(f"{block}.{ours}", f"{at}.{theirs}_conv{k}", f"{at}.{theirs}_bn{k}")
    return out | {"classifier": "output"}


SCHEMES = (
    Scheme(
        "mmpretrain.shufflenet_v1", "shufflenet_v1", "backbone.conv1.conv", "head.fc", mmpretrain,
        arguments=always(padding="symmetric", eps=1e-5, shuffle_behind="depthwise"),
        suits=lambda variant: "_1.0_" in variant,  # other widths are rounded otherwise there, and have no weights
    ),
    Scheme(
        "pytorchcv.shufflenet_v1", "shufflenet_v1", "features.init_block.conv", "output", pytorchcv,
        arguments=always(padding="symmetric", eps=1e-5, shortcut_first=False),
    ),
)  # fmt: skip
