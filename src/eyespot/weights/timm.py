"""timm's names (timm/models/*.py, 0.4 to 1.0), for its own weights and TensorFlow's.

The two differ in nothing that a file shows: ``tf_…`` models pad as TensorFlow does and have its epsilon.
"""

from __future__ import annotations

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, numbered, only

# The first block of each of timm's stages; its MobileNetV3 and V1 have stages where ours, like their papers, have none.
_V1_STAGES = (1, 2, 4, 6, 12)
_GHOST_STAGES = (1, 2, 3, 4, 5, 6, 7, 12, 13)
_V3_STAGES = {11: (1, 2, 4, 7, 9), 15: (1, 2, 4, 7, 11, 13)}  # by the number of blocks: small, large


def mobilenet_v1(graph: Graph) -> Modules:
    """Depthwise and pointwise are conv_dw and conv_pw; there is no head."""
    out = conv_norm("stem", "conv_stem", "bn1")
    for block, at in _staged(list(blocks(graph)), _V1_STAGES).items():
        out |= conv_norm(f"{block}.depthwise", f"{at}.conv_dw", f"{at}.bn1")
        out |= conv_norm(f"{block}.pointwise", f"{at}.conv_pw", f"{at}.bn2")
    return out | {"classifier": "classifier"}


def efficientnet(graph: Graph) -> Modules:
    """EfficientNet in both versions, its Lite variants, MobileNetV2 and MnasNet: blocks.STAGE.N, numbered from zero."""
    out = conv_norm("stem", "conv_stem", "bn1")
    for block, has in blocks(graph).items():
        stage, number = numbered(block)
        out |= _mbconv(graph, block, has, f"blocks.{stage - 1}.{number - 1}")
    return out | conv_norm("head", "conv_head", "bn2") | {"classifier": "classifier"}


def mobilenet_v3(graph: Graph) -> Modules:
    """The last convolution is a stage of its own, and the hidden layer is called conv_head."""
    out = conv_norm("stem", "conv_stem", "bn1")
    inner = blocks(graph)
    starts = _V3_STAGES[len(inner)]
    for block, at in _staged(list(inner), starts).items():
        out |= _mbconv(graph, block, inner[block], at)
    last = f"blocks.{len(starts)}.0"
    out |= conv_norm("head", f"{last}.conv", f"{last}.bn1")
    return out | {"hidden.linear": "conv_head", "classifier": "classifier"}


def ghostnet(graph: Graph) -> Modules:
    """Ghost modules are ghost1 and ghost2; the last convolution is a stage, the hidden layer is called conv_head."""
    out = conv_norm("stem", "conv_stem", "bn1")
    for block, at in _staged(list(blocks(graph)), _GHOST_STAGES).items():
        rows: Modules = {}
        for ours, theirs in (("expand", "ghost1"), ("project", "ghost2")):
            for step, part in (("primary", "primary_conv"), ("cheap", "cheap_operation")):
                rows |= conv_norm(f"{block}.{ours}.{step}", f"{at}.{theirs}.{part}.0", f"{at}.{theirs}.{part}.1")
        rows |= conv_norm(f"{block}.depthwise", f"{at}.conv_dw", f"{at}.bn_dw")
        rows |= conv_norm(f"{block}.shortcut.depthwise", f"{at}.shortcut.0", f"{at}.shortcut.1")
        rows |= conv_norm(f"{block}.shortcut.pointwise", f"{at}.shortcut.2", f"{at}.shortcut.3")
        out |= only((rows | _squeeze_excite(block, at)).items(), graph)
    last = f"blocks.{len(_GHOST_STAGES)}.0"
    out |= conv_norm("head", f"{last}.conv", f"{last}.bn1")
    return out | {"hidden.linear": "conv_head", "classifier": "classifier"}


def regnet(graph: Graph) -> Modules:
    """sS.bN.conv1 to conv3, each with its norm inside."""
    out = conv_norm("stem", "stem.conv", "stem.bn")
    for block in blocks(graph):
        stage, number = numbered(block)
        at = f"s{stage}.b{number}"
        rows = conv_norm(f"{block}.shortcut", f"{at}.downsample.conv", f"{at}.downsample.bn")
        for k, step in enumerate(("reduce", "spatial", "expand"), 1):
            rows |= conv_norm(f"{block}.{step}", f"{at}.conv{k}.conv", f"{at}.conv{k}.bn")
        rows[f"{block}.squeeze_excite.reduce"] = f"{at}.se.fc1"
        rows[f"{block}.squeeze_excite.expand"] = f"{at}.se.fc2"
        out |= only(rows.items(), graph)
    return out | {"classifier": "head.fc"}


def _staged(names: list[str], starts: tuple[int, ...]) -> dict[str, str]:
    out: dict[str, str] = {}
    stage = within = 0
    for number, name in enumerate(names, 1):
        if number in starts:
            stage, within = starts.index(number), 0
        out[name] = f"blocks.{stage}.{within}"
        within += 1
    return out


def _mbconv(graph: Graph, block: str, has: frozenset[str], at: str) -> Modules:
    """A block without expansion is timm's DepthwiseSeparableConv, which counts its layers from the depthwise one.

    A fused block is its EdgeResidual, and one without expansion its ConvBnAct.
    """
    if "spatial.conv" in has:
        out = conv_norm(f"{block}.spatial", f"{at}.conv", f"{at}.bn1")
    elif "depthwise.conv" not in has:
        out = conv_norm(f"{block}.expand", f"{at}.conv_exp", f"{at}.bn1")
        out |= conv_norm(f"{block}.project", f"{at}.conv_pwl", f"{at}.bn2")
    elif "expand.conv" in has:
        out = conv_norm(f"{block}.expand", f"{at}.conv_pw", f"{at}.bn1")
        out |= conv_norm(f"{block}.depthwise", f"{at}.conv_dw", f"{at}.bn2")
        out |= conv_norm(f"{block}.project", f"{at}.conv_pwl", f"{at}.bn3")
    else:
        out = conv_norm(f"{block}.depthwise", f"{at}.conv_dw", f"{at}.bn1")
        out |= conv_norm(f"{block}.project", f"{at}.conv_pw", f"{at}.bn2")
    return out | only(_squeeze_excite(block, at).items(), graph)


def _squeeze_excite(block: str, at: str) -> Modules:
    return {
        f"{block}.squeeze_excite.reduce": f"{at}.se.conv_reduce",
        f"{block}.squeeze_excite.expand": f"{at}.se.conv_expand",
    }


_TORCH = always(padding="symmetric", eps=1e-5)
_TENSORFLOW = always(padding="same", eps=1e-3)
SCHEMES = (
    Scheme("timm.mobilenet_v1", "mobilenet_v1", "conv_stem", "classifier", mobilenet_v1, arguments=_TORCH),
    Scheme("timm.mobilenet_v2", "mobilenet_v2", "conv_stem", "classifier", efficientnet, arguments=_TORCH),
    Scheme(
        "timm.mobilenet_v3", "mobilenet_v3", "conv_stem", "classifier", mobilenet_v3, arguments=_TORCH,
        as_convolutions=("hidden.linear",),
    ),
    Scheme("timm.efficientnet", "efficientnet", "conv_stem", "classifier", efficientnet, arguments=_TORCH),
    Scheme(
        "timm_tf.mobilenet_v3", "mobilenet_v3", "conv_stem", "classifier", mobilenet_v3, arguments=_TENSORFLOW,
        as_convolutions=("hidden.linear",),
    ),
    Scheme("timm_tf.efficientnet", "efficientnet", "conv_stem", "classifier", efficientnet, arguments=_TENSORFLOW),
    Scheme(
        "timm.efficientnet_v2", "efficientnet_v2", "conv_stem", "classifier", efficientnet, arguments=_TORCH,
        suits=lambda variant: variant[-1] in "sml",
    ),
    Scheme(
        "timm_tf.efficientnet_v2", "efficientnet_v2", "conv_stem", "classifier", efficientnet, arguments=_TENSORFLOW,
    ),
    Scheme("timm.mnasnet", "mnasnet", "conv_stem", "classifier", efficientnet, arguments=_TORCH),
    Scheme(
        "timm.ghostnet", "ghostnet", "conv_stem", "classifier", ghostnet, arguments=_TORCH,
        as_convolutions=("hidden.linear",),
    ),
    Scheme("timm.regnet", "regnet", "stem.conv", "head.fc", regnet, arguments=_TORCH),
)  # fmt: skip
