"""Hugging Face transformers' names (transformers/models/*/modeling_*.py, 4.24 to 5.23)."""

from __future__ import annotations

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, numbered, only


def _layer(ours: str, theirs: str) -> Modules:
    """Their convolution and norm are two attributes of one layer."""
    return {f"{ours}.conv": f"{theirs}.convolution", f"{ours}.norm": f"{theirs}.normalization"}


def mobilenet_v1(graph: Graph) -> Modules:
    """One list of layers, depthwise and pointwise in turn."""
    out = _layer("stem", "mobilenet_v1.conv_stem")
    for i, block in enumerate(blocks(graph)):
        out |= _layer(f"{block}.depthwise", f"mobilenet_v1.layer.{2 * i}")
        out |= _layer(f"{block}.pointwise", f"mobilenet_v1.layer.{2 * i + 1}")
    return out | {"classifier": "classifier"}


def mobilenet_v2(graph: Graph) -> Modules:
    """The first convolution and the block without expansion are one stem, so that the layers count from the second."""
    out = _layer("stem", "mobilenet_v2.conv_stem.first_conv")
    for i, (block, has) in enumerate(blocks(graph).items()):
        at = f"mobilenet_v2.layer.{i - 1}" if i else "mobilenet_v2.conv_stem"
        for ours, theirs in (("expand", "expand_1x1"), ("depthwise", "conv_3x3"), ("project", "reduce_1x1")):
            if f"{ours}.conv" in has:
                out |= _layer(f"{block}.{ours}", f"{at}.{theirs}")
    return out | _layer("head", "mobilenet_v2.conv_1x1") | {"classifier": "classifier"}


def efficientnet(graph: Graph) -> Modules:
    """One list of blocks over all stages."""
    at = "efficientnet.embeddings"
    out = {"stem.conv": f"{at}.convolution", "stem.norm": f"{at}.batchnorm"}
    for i, block in enumerate(blocks(graph)):
        at = f"efficientnet.encoder.blocks.{i}"
        rows = {
            "expand.conv": "expansion.expand_conv",
            "expand.norm": "expansion.expand_bn",
            "depthwise.conv": "depthwise_conv.depthwise_conv",
            "depthwise.norm": "depthwise_conv.depthwise_norm",
            "squeeze_excite.reduce": "squeeze_excite.reduce",
            "squeeze_excite.expand": "squeeze_excite.expand",
            "project.conv": "projection.project_conv",
            "project.norm": "projection.project_bn",
        }
        out |= only(((f"{block}.{ours}", f"{at}.{theirs}") for ours, theirs in rows.items()), graph)
    out |= {"head.conv": "efficientnet.encoder.top_conv", "head.norm": "efficientnet.encoder.top_bn"}
    return out | {"classifier": "classifier"}


def resnet(graph: Graph) -> Modules:
    """Stages and layers count from zero; the convolutions of a block are a list."""
    out = _layer("stem", "resnet.embedder.embedder")
    for block, has in blocks(graph).items():
        stage, number = numbered(block)
        at = f"resnet.encoder.stages.{stage - 1}.layers.{number - 1}"
        for k, step in enumerate(("reduce", "spatial", "expand") if "reduce.conv" in has else ("first", "second")):
            out |= _layer(f"{block}.{step}", f"{at}.layer.{k}")
        if "shortcut.conv" in has:
            out |= _layer(f"{block}.shortcut", f"{at}.shortcut")
    return out | {"classifier": "classifier.1"}


# What their configurations say where they say nothing; a directory's config.json decides (``bundle.hugging_face``).
_SAME = always(padding="same", eps=1e-3)
SCHEMES = (
    Scheme(
        "transformers.mobilenet_v1", "mobilenet_v1", "mobilenet_v1.conv_stem.convolution", "classifier", mobilenet_v1,
        arguments=_SAME,
    ),
    Scheme(
        "transformers.mobilenet_v2", "mobilenet_v2", "mobilenet_v2.conv_stem.first_conv.convolution", "classifier",
        mobilenet_v2, arguments=_SAME,
    ),
    Scheme(
        "transformers.efficientnet", "efficientnet", "efficientnet.embeddings.convolution", "classifier", efficientnet,
        arguments=_SAME, suits=lambda variant: "lite" not in variant,
    ),
    Scheme(
        "transformers.resnet", "resnet", "resnet.embedder.embedder.convolution", "classifier.1", resnet,
        arguments=always(padding="symmetric", eps=1e-5, stride_on="3x3"),
        suits=lambda variant: not variant.endswith("_cifar"),
    ),
)  # fmt: skip
