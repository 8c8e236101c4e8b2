"""timm's names (timm/models/efficientnet.py, mobilenetv3.py, 0.4 to 1.0), for its own weights and TensorFlow's.

The two differ in nothing that a file shows: ``tf_…`` models pad as TensorFlow does and have its epsilon.
"""

from __future__ import annotations

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, only

# The first block of each of timm's stages; its MobileNetV3 and V1 have stages where ours, like their papers, have none.
_V1_STAGES = (1, 2, 4, 6, 12)
_V3_STAGES = {11: (1, 2, 4, 7, 9), 15: (1, 2, 4, 7, 11, 13)}  # by the number of blocks: small, large


def mobilenet_v1(graph: Graph) -> Modules:
    """Depthwise and pointwise are conv_dw and conv_pw; there is no head."""
    out = conv_norm("stem", "conv_stem", "bn1")
    for block, at in _staged(list(blocks(graph)), _V1_STAGES).items():
        out |= conv_norm(f"{block}.depthwise", f"{at}.conv_dw", f"{at}.bn1")
        out |= conv_norm(f"{block}.pointwise", f"{at}.conv_pw", f"{at}.bn2")
    return out | {"classifier": "classifier"}


def efficientnet(graph: Graph) -> Modules:
    """EfficientNet, its Lite variants and MobileNetV2: blocks.STAGE.N, numbered from zero."""
    out = conv_norm("stem", "conv_stem", "bn1")
    for block, has in blocks(graph).items():
        stage, number = block.removeprefix("stage").split(".block")
        out |= _mbconv(graph, block, has, f"blocks.{int(stage) - 1}.{int(number) - 1}")
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
    """A block without expansion is timm's DepthwiseSeparableConv, which counts its layers from the depthwise one."""
    if "expand.conv" in has:
        out = conv_norm(f"{block}.expand", f"{at}.conv_pw", f"{at}.bn1")
        out |= conv_norm(f"{block}.depthwise", f"{at}.conv_dw", f"{at}.bn2")
        out |= conv_norm(f"{block}.project", f"{at}.conv_pwl", f"{at}.bn3")
    else:
        out = conv_norm(f"{block}.depthwise", f"{at}.conv_dw", f"{at}.bn1")
        out |= conv_norm(f"{block}.project", f"{at}.conv_pw", f"{at}.bn2")
    squeeze = {
        f"{block}.squeeze_excite.reduce": f"{at}.se.conv_reduce",
        f"{block}.squeeze_excite.expand": f"{at}.se.conv_expand",
    }
    return out | only(squeeze.items(), graph)


_TORCH = always(padding="symmetric", eps=1e-5)
_TENSORFLOW = always(padding="same", eps=1e-3)
SCHEMES = (
    Scheme("timm.mobilenet_v1", "mobilenet_v1", "conv_stem", "classifier", mobilenet_v1, arguments=_TORCH),
    Scheme("timm.mobilenet_v2", "mobilenet_v2", "conv_stem", "classifier", efficientnet, arguments=_TORCH),
    Scheme("timm.mobilenet_v3", "mobilenet_v3", "conv_stem", "classifier", mobilenet_v3, arguments=_TORCH),
    Scheme("timm.efficientnet", "efficientnet", "conv_stem", "classifier", efficientnet, arguments=_TORCH),
    Scheme("timm_tf.mobilenet_v3", "mobilenet_v3", "conv_stem", "classifier", mobilenet_v3, arguments=_TENSORFLOW),
    Scheme("timm_tf.efficientnet", "efficientnet", "conv_stem", "classifier", efficientnet, arguments=_TENSORFLOW),
)
