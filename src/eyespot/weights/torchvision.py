"""torchvision's names (torchvision/models/*.py, 0.11 to 0.29); its ResNet's and ResNeXt's are timm's too."""

from __future__ import annotations

from collections.abc import Mapping

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, numbered, only

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
    """features.STAGE.N.block.K.0, … in both versions."""
    out = conv_norm("stem", "features.0.0", "features.0.1")
    stage = 0
    for block, has in blocks(graph).items():
        stage, number = numbered(block)
        out |= _mbconv(block, has, f"features.{stage}.{number - 1}.block")
    last = f"features.{stage + 1}"
    return out | conv_norm("head", f"{last}.0", f"{last}.1") | {"classifier": "classifier.1"}


def mnasnet(graph: Graph) -> Modules:
    """layers.N counts activations too; the first block has no module of its own, the others are stacked by stage."""
    out = conv_norm("stem", "layers.0", "layers.1")
    out |= conv_norm("stage1.block1.depthwise", "layers.3", "layers.4")
    out |= conv_norm("stage1.block1.project", "layers.6", "layers.7")
    for block in list(blocks(graph))[1:]:
        stage, number = numbered(block)
        at = f"layers.{stage + 6}.{number - 1}.layers"
        for step, k in (("expand", 0), ("depthwise", 3), ("project", 6)):
            out |= conv_norm(f"{block}.{step}", f"{at}.{k}", f"{at}.{k + 1}")
    return out | conv_norm("head", "layers.14", "layers.15") | {"classifier": "classifier.1"}


def shufflenet_v2(graph: Graph) -> Modules:
    """stageS.N.branch2 is the convolved branch, branch1 the shortcut of a unit with stride."""
    out = conv_norm("stem", "conv1.0", "conv1.1")
    for block in blocks(graph):
        stage, number = numbered(block)
        at = f"stage{stage}.{number - 1}"
        rows = conv_norm(f"{block}.shortcut.depthwise", f"{at}.branch1.0", f"{at}.branch1.1")
        rows |= conv_norm(f"{block}.shortcut.pointwise", f"{at}.branch1.2", f"{at}.branch1.3")
        for step, k in (("first", 0), ("depthwise", 3), ("last", 5)):
            rows |= conv_norm(f"{block}.{step}", f"{at}.branch2.{k}", f"{at}.branch2.{k + 1}")
        out |= only(rows.items(), graph)
    return out | conv_norm("head", "conv5.0", "conv5.1") | {"classifier": "fc"}


def regnet(graph: Graph) -> Modules:
    """trunk_output.blockS.blockS-N.f.a, b, se and c; the shortcut is proj."""
    out = conv_norm("stem", "stem.0", "stem.1")
    for block in blocks(graph):
        stage, number = numbered(block)
        at = f"trunk_output.block{stage}.block{stage}-{number - 1}"
        rows = conv_norm(f"{block}.shortcut", f"{at}.proj.0", f"{at}.proj.1")
        for step, letter in (("reduce", "a"), ("spatial", "b"), ("expand", "c")):
            rows |= conv_norm(f"{block}.{step}", f"{at}.f.{letter}.0", f"{at}.f.{letter}.1")
        rows[f"{block}.squeeze_excite.reduce"] = f"{at}.f.se.fc1"
        rows[f"{block}.squeeze_excite.expand"] = f"{at}.f.se.fc2"
        out |= only(rows.items(), graph)
    return out | {"classifier": "fc"}


_MBCONV = ("expand", "spatial", "depthwise", "squeeze_excite", "project")


def _mbconv(block: str, has: frozenset[str], at: str) -> Modules:
    steps = [step for step in _MBCONV if any(layer.startswith(f"{step}.") for layer in has)]
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
        stage, number = numbered(block)
        at = f"layer{stage}.{number - 1}"
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
        "torchvision.efficientnet_v2", "efficientnet_v2", "features.0.0", "classifier.1", efficientnet,
        arguments=always(padding="symmetric", eps=1e-3), suits=lambda variant: variant[-1] in "sml",
    ),
    Scheme(
        "torchvision.mnasnet", "mnasnet", "layers.0", "classifier.1", mnasnet,
        arguments=always(padding="symmetric", eps=1e-5),
    ),
    Scheme(
        "torchvision.shufflenet_v2", "shufflenet_v2", "conv1.0", "fc", shufflenet_v2,
        arguments=always(padding="symmetric", eps=1e-5),
    ),
    Scheme(
        "torchvision.regnet", "regnet", "stem.0", "fc", regnet,
        arguments=always(padding="symmetric", eps=1e-5),
    ),
    Scheme(
        "torchvision.resnext", "resnext", "conv1", "fc", resnet,
        arguments=always(padding="symmetric", eps=1e-5),
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
