"""keras.applications' names (keras/src/applications/*.py; Keras 2 and 3 differ for MobileNetV3)."""

from __future__ import annotations

import string

import numpy as np

from eyespot.core.graph import Graph
from eyespot.weights.scheme import KERAS, Modules, Scheme, Tensors, always, blocks, conv_norm, numbered, only


def mobilenet_v1(graph: Graph) -> Modules:
    """conv_dw_N and conv_pw_N; the classifier is a 1×1 convolution."""
    out = conv_norm("stem", "conv1", "conv1_bn")
    for i, block in enumerate(blocks(graph), 1):
        out |= conv_norm(f"{block}.depthwise", f"conv_dw_{i}", f"conv_dw_{i}_bn")
        out |= conv_norm(f"{block}.pointwise", f"conv_pw_{i}", f"conv_pw_{i}_bn")
    return out | {"classifier": "conv_preds"}


def mobilenet_v2(graph: Graph) -> Modules:
    """The first block is expanded_conv, the others block_N."""
    out = conv_norm("stem", "Conv1", "bn_Conv1")
    for i, (block, has) in enumerate(blocks(graph).items()):
        at = f"block_{i}" if i else "expanded_conv"
        for step in ("expand", "depthwise", "project"):
            if f"{step}.conv" in has:
                out |= conv_norm(f"{block}.{step}", f"{at}_{step}", f"{at}_{step}_BN")
    return out | conv_norm("head", "Conv_1", "Conv_1_bn") | {"classifier": "predictions"}


def mobilenet_v3(graph: Graph) -> Modules:
    """Keras 3: everything with underscores."""
    return _mobilenet_v3(graph, "conv", "_bn", "_", "squeeze_excite_conv", "logits")


def mobilenet_v3_keras2(graph: Graph) -> Modules:
    """Keras 2: TensorFlow's variable scopes, with slashes; the published files are of this kind."""
    return _mobilenet_v3(graph, "Conv", "/BatchNorm", "/", "squeeze_excite/Conv", "Logits")


def _mobilenet_v3(graph: Graph, conv: str, norm: str, slash: str, squeeze: str, logits: str) -> Modules:
    out = conv_norm("stem", conv, f"{conv}{norm}")
    for i, (block, has) in enumerate(blocks(graph).items()):
        at = f"expanded_conv_{i}{slash}" if i else f"expanded_conv{slash}"
        for step in ("expand", "depthwise", "project"):
            if f"{step}.conv" in has:
                out |= conv_norm(f"{block}.{step}", f"{at}{step}", f"{at}{step}{norm}")
        reduce, expand = f"{block}.squeeze_excite.reduce", f"{block}.squeeze_excite.expand"
        out |= only({reduce: f"{at}{squeeze}", expand: f"{at}{squeeze}_1"}.items(), graph)
    out |= conv_norm("head", f"{conv}_1", f"{conv}_1{norm}")
    return out | {"hidden.linear": f"{conv}_2", "classifier": logits}


def efficientnet(graph: Graph) -> Modules:
    """block3b_expand_conv, …: the stage as a number, the block as a letter."""
    return _efficientnet(graph, "dwconv")


def efficientnet_v2(graph: Graph) -> Modules:
    """The same, but for the depthwise layers; a fused block's only convolution is called its projection."""
    return _efficientnet(graph, "dwconv2")


def _efficientnet(graph: Graph, depthwise: str) -> Modules:
    out = conv_norm("stem", "stem_conv", "stem_bn")
    for block, has in blocks(graph).items():
        stage, number = numbered(block)
        at = f"block{stage}{string.ascii_lowercase[number - 1]}"
        last = "spatial" if "spatial.conv" in has else "project"
        rows = conv_norm(f"{block}.expand", f"{at}_expand_conv", f"{at}_expand_bn")
        rows |= conv_norm(f"{block}.depthwise", f"{at}_{depthwise}", f"{at}_bn")
        rows[f"{block}.squeeze_excite.reduce"] = f"{at}_se_reduce"
        rows[f"{block}.squeeze_excite.expand"] = f"{at}_se_expand"
        rows |= conv_norm(f"{block}.{last}", f"{at}_project_conv", f"{at}_project_bn")
        out |= only(rows.items(), graph)
    return out | conv_norm("head", "top_conv", "top_bn") | {"classifier": "predictions"}


def resnet(graph: Graph) -> Modules:
    """conv2_block1_1_conv, …: stages count from the paper's conv2_x, and the shortcut is number 0."""
    out = conv_norm("stem", "conv1_conv", "conv1_bn")
    for block, has in blocks(graph).items():
        stage, number = numbered(block)
        at = f"conv{stage + 1}_block{number}"
        for k, step in enumerate(("shortcut", "reduce", "spatial", "expand")):
            if f"{step}.conv" in has:
                out |= conv_norm(f"{block}.{step}", f"{at}_{k}_conv", f"{at}_{k}_bn")
    return out | {"classifier": "predictions"}


def biases_into_means(tensors: Tensors) -> Tensors:
    """ResNet's convolutions have biases though batch norm follows: subtracted from its mean, they do the same there."""
    out = dict(tensors)
    for name, bias in tensors.items():
        mean = name.removesuffix("_conv/bias") + "_bn/moving_mean"
        if name.endswith("_conv/bias") and mean in tensors and tensors[mean].shape == bias.shape:
            out[mean] = tensors[mean] - bias
            del out[name]
    return out


def with_biases(tensors: Tensors) -> Tensors:
    """The inverse of ``biases_into_means``: biases of zero."""
    kernels = [name for name in tensors if name.endswith("_conv/kernel")]
    biases = {n.replace("_conv/kernel", "_conv/bias"): np.zeros(tensors[n].shape[3], np.float32) for n in kernels}
    return {**tensors, **biases}


_HEAD = ("hidden.linear", "classifier")
_SAME = always(padding="same", eps=1e-3)
SCHEMES = (
    Scheme(
        "keras.mobilenet_v1", "mobilenet_v1", "conv1", "conv_preds", mobilenet_v1, KERAS, _SAME,
        as_convolutions=("classifier",),
    ),
    Scheme("keras.mobilenet_v2", "mobilenet_v2", "Conv1", "predictions", mobilenet_v2, KERAS, _SAME),
    Scheme(
        "keras.mobilenet_v3", "mobilenet_v3", "conv", "logits", mobilenet_v3, KERAS, _SAME, as_convolutions=_HEAD,
    ),
    Scheme(
        "keras2.mobilenet_v3", "mobilenet_v3", "Conv", "Logits", mobilenet_v3_keras2, KERAS, _SAME,
        as_convolutions=_HEAD,
    ),
    Scheme(
        "keras.efficientnet", "efficientnet", "stem_conv", "predictions", efficientnet, KERAS, _SAME,
        suits=lambda variant: "lite" not in variant,
    ),
    Scheme(
        "keras.efficientnet_v2", "efficientnet_v2", "stem_conv", "predictions", efficientnet_v2, KERAS, _SAME,
    ),
    Scheme(
        "keras.resnet", "resnet", "conv1_conv", "predictions", resnet, KERAS,
        always(padding="symmetric", eps=1.001e-5, stride_on="1x1"),
        suits=lambda variant: variant in ("resnet50", "resnet101", "resnet152"), prepare=biases_into_means,
        complete=with_biases,
    ),
)  # fmt: skip
