"""timm's names (timm/models/mobilenetv3.py and byobnet.py, 1.0) for MobileNetV4, RepVGG and MobileOne as trained."""

from __future__ import annotations

from eyespot.core.graph import Graph
from eyespot.core.ops import Conv2d
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, numbered, only

# Steps of a universal inverted bottleneck, here and there.
_UNIVERSAL = {"start": "dw_start", "expand": "pw_exp", "depthwise": "dw_mid", "project": "pw_proj"}


def mobilenet_v4(graph: Graph) -> Modules:
    """blocks.STAGE.N, numbered from zero; the head is a stage of its own, the hidden layer conv_head."""
    out = conv_norm("stem", "conv_stem", "bn1")
    stages = 0
    for block, has in blocks(graph).items():
        stage, number = numbered(block)
        stages, at = max(stages, stage), f"blocks.{stage - 1}.{number - 1}"
        if "conv" in has:
            out |= conv_norm(block, f"{at}.conv", f"{at}.bn1")
        elif _kernel(graph, f"{block}.expand.conv") == (1, 1):
            steps = {ours: theirs for ours, theirs in _UNIVERSAL.items() if f"{ours}.conv" in has}
            for ours, theirs in steps.items():
                out |= conv_norm(f"{block}.{ours}", f"{at}.{theirs}.conv", f"{at}.{theirs}.bn")
        else:  # fused
            out |= conv_norm(f"{block}.expand", f"{at}.conv_exp", f"{at}.bn1")
            out |= conv_norm(f"{block}.project", f"{at}.conv_pwl", f"{at}.bn2")
    out |= conv_norm("head", f"blocks.{stages}.0.conv", f"blocks.{stages}.0.bn1")
    return out | conv_norm("hidden", "conv_head", "norm_head") | {"classifier": "classifier"}


def repvgg(graph: Graph) -> Modules:
    """stages.S.N with the branches identity, conv_1x1 and conv_kxk."""
    out = _branches("stem", "stem", "conv_1x1", ("conv_kxk",))
    for block in blocks(graph):
        stage, number = numbered(block)
        out |= _branches(block, f"stages.{stage - 1}.{number - 1}", "conv_1x1", ("conv_kxk",))
    return only(out.items(), graph) | {"classifier": "head.fc"}


def mobileone(graph: Graph) -> Modules:
    """stages.S.N counts the depthwise and the pointwise layer of each block; conv_kxk is a list."""
    convolutions = tuple(f"conv_kxk.{i}" for i in range(4))
    out = _branches("stem", "stem", "conv_scale", convolutions)
    for block in blocks(graph):
        stage, number = numbered(block)
        for k, step in enumerate(("depthwise", "pointwise"), 2 * number - 2):
            ours, at = f"{block}.{step}", f"stages.{stage - 1}.{k}"
            out |= _branches(ours, at, "conv_scale", convolutions)
            out |= {
                f"{ours}.squeeze_excite.reduce": f"{at}.attn.fc1",
                f"{ours}.squeeze_excite.expand": f"{at}.attn.fc2",
            }
    return only(out.items(), graph) | {"classifier": "head.fc"}


def _branches(ours: str, theirs: str, scale: str, convolutions: tuple[str, ...]) -> Modules:
    out = {f"{ours}.skip.norm": f"{theirs}.identity"}
    branches = {"scale": scale, **{f"spatial{i}": module for i, module in enumerate(convolutions, 1)}}
    for branch, module in branches.items():
        out |= conv_norm(f"{ours}.{branch}", f"{theirs}.{module}.conv", f"{theirs}.{module}.bn")
    return out


def _kernel(graph: Graph, name: str) -> tuple[int, int]:
    op = graph.by_name[name].op
    return op.kernel if isinstance(op, Conv2d) else (0, 0)


_TORCH = always(padding="symmetric", eps=1e-5)
SCHEMES = (
    Scheme("timm.mobilenet_v4", "mobilenet_v4", "conv_stem", "classifier", mobilenet_v4, arguments=_TORCH),
    Scheme("timm.repvgg", "repvgg", "stem.conv_kxk.conv", "head.fc", repvgg, arguments=_TORCH),
    Scheme("timm.mobileone", "mobileone", "stem.conv_kxk.0.conv", "head.fc", mobileone, arguments=_TORCH),
)
