"""torchvision's names (torchvision/models/*.py, 0.11 to 0.29); its ResNet's are timm's too."""

from __future__ import annotations

from collections.abc import Mapping

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, only

_FIRE_INDICES = {"pool4": (3, 4, 5, 7, 8, 9, 10, 12), "pool3": (3, 4, 6, 7, 9, 10, 11, 12)}  # versions 1.0 and 1.1


def mobilenet_v2(graph: Graph) -> Modules:
    """features.N.conv.0.0, …: the last convolution of a block has no wrapper of its own."""
    out = conv_norm("stem", "features.0.0", "features.0.1")
    inner = blocks(graph)
    for i, (block, has) in enumerate(inner.items(), 1):
        at = f"features.{i}.conv"
        wrapped = ("expand", "depthwise") if "expand.conv" in has else ("depthwise",)
        for k, step in enumerate(wrapped):
            out |= conv_norm(f"{block}.{step}", f"{at}.{k}.0", f"{at}.{k}.1")
        out |= conv_norm(f"{block}.project", f"{at}.{len(wrapped)}", f"{at}.{len(wrapped) + 1}")
    last = f"features.{len(inner) + 1}"
    return out | conv_norm("head", f"{last}.0", f"{last}.1") | {"classifier": "classifier.1"}


def mobilenet_v3(graph: Graph) -> Modules:
    """features.N.block.K.0, …, with squeeze-excite as block.K.fc1 and fc2."""
    out = conv_norm("stem", "features.0.0", "features.0.1")
    inner = blocks(graph)
    for i, (block, has) in enumerate(inner.items(), 1):
        out |= _mbconv(block, has, f"features.{i}.block")
    last = f"features.{len(inner) + 1}"
    out |= conv_norm("head", f"{last}.0", f"{last}.1")
    return out | {"hidden.linear": "classifier.0", "classifier": "classifier.3"}


def efficientnet(graph: Graph) -> Modules:
    """features.STAGE.N.block.K.0, …"""
    out = conv_norm("stem", "features.0.0", "features.0.1")
    for block, has in blocks(graph).items():
        stage, number = block.removeprefix("stage").split(".block")
        out |= _mbconv(block, has, f"features.{stage}.{int(number) - 1}.block")
    return out | conv_norm("head", "features.8.0", "features.8.1") | {"classifier": "classifier.1"}


def _mbconv(block: str, has: frozenset[str], at: str) -> Modules:
    steps = [s for s in ("expand", "depthwise", "squeeze_excite", "project") if any(h.startswith(f"{s}.") for h in has)]
    out: Modules = {}
    for k, step in enumerate(steps):
        if step == "squeeze_excite":
            out |= {f"{block}.{step}.reduce": f"{at}.{k}.fc1", f"{block}.{step}.expand": f"{at}.{k}.fc2"}
        else:
            out |= conv_norm(f"{block}.{step}", f"{at}.{k}.0", f"{at}.{k}.1")
    return out


def resnet(graph: Graph) -> Modules:
    """layerS.N.convK and bnK; the shortcut is downsample.0 and .1."""
    out = conv_norm("stem", "conv1", "bn1")
    for block, has in blocks(graph).items():
        stage, number = block.removeprefix("stage").split(".block")
        at = f"layer{stage}.{int(number) - 1}"
        steps = ("reduce", "spatial", "expand") if "reduce.conv" in has else ("first", "second")
        for k, step in enumerate(steps, 1):
            out |= conv_norm(f"{block}.{step}", f"{at}.conv{k}", f"{at}.bn{k}")
        shortcut = conv_norm(f"{block}.shortcut", f"{at}.downsample.0", f"{at}.downsample.1")
        out |= only(shortcut.items(), graph)
    return out | {"classifier": "fc"}


def squeezenet(graph: Graph) -> Modules:
    """features.N counts the pools too, and these stand elsewhere in 1.0 and 1.1."""
    out = {"stem.conv": "features.0", "classifier": "classifier.1"}
    indices = next(rows for pool, rows in _FIRE_INDICES.items() if pool in graph.by_name)
    for number, index in enumerate(indices, 2):
        for step in ("squeeze", "expand1x1", "expand3x3"):
            out[f"fire{number}.{step}.conv"] = f"features.{index}.{step}"
    return out


def _efficientnet_arguments(variant: str) -> Mapping[str, object]:
    """B5 to B7 were ported from TensorFlow with its epsilon; B0 to B4 are timm's, with torch's."""
    ported = variant.removeprefix("efficientnet_") in ("b5", "b6", "b7")
    return {"padding": "symmetric", "eps": 1e-3 if ported else 1e-5}


def _for_imagenet(variant: str) -> bool:
    return not variant.endswith("_cifar")


SCHEMES = (
    Scheme(
        "torchvision.mobilenet_v2", "mobilenet_v2", "features.0.0", "classifier.1", mobilenet_v2,
        arguments=always(padding="symmetric", eps=1e-5),
    ),
    Scheme(
        "torchvision.mobilenet_v3", "mobilenet_v3", "features.0.0", "classifier.3", mobilenet_v3,
        arguments=always(padding="symmetric", eps=1e-3),
    ),
    Scheme(
        "torchvision.efficientnet", "efficientnet", "features.0.0", "classifier.1", efficientnet,
        arguments=_efficientnet_arguments, suits=lambda variant: "lite" not in variant,
    ),
    Scheme(
        "torchvision.resnet", "resnet", "conv1", "fc", resnet,
        arguments=always(padding="symmetric", eps=1e-5, stride_on="3x3"), suits=_for_imagenet,
    ),
    Scheme(
        "torchvision.squeezenet", "squeezenet", "features.0", "classifier.1", squeezenet,
        arguments=always(padding="symmetric"),
    ),
)  # fmt: skip
