"""torchvision's, timm's and Keras' names for the Inceptions and Xception (torchvision 0.11 to 0.29, timm 0.4 to 1.0).

Keras numbers most of these layers as they are made (conv2d_17), counting on from whatever else was made before; the
numbers in a file are brought back to begin at zero. Its Inceptions' batch norms have no gains: they are one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np

from eyespot.core.graph import Graph
from eyespot.weights.scheme import KERAS, Modules, Scheme, Tensors, always, blocks, conv_norm

_BRANCHED = re.compile(r"branch(\d+)\.layer(\d+)([ab]?)\.conv")
_STAGED = re.compile(r"stage(\d+)\.block(\d+)")
_AUTOMATIC = re.compile(r"(conv2d|batch_normalization)(?:_([1-9]\d{0,8}))?/(.+)")

# torchvision's words for the branches of Inception v3, by stage: of the block that shrinks the map, and of the others.
_V3_SHRINKING = {2: ("branch3x3", "branch3x3dbl"), 3: ("branch3x3", "branch7x7x3")}
_V3 = {
    1: ("branch1x1", "branch5x5", "branch3x3dbl", "branch_pool"),
    2: ("branch1x1", "branch7x7", "branch7x7dbl", "branch_pool"),
    3: ("branch1x1", "branch3x3", "branch3x3dbl", "branch_pool"),
}
_V3_STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_RESNET_FIRST = {1: "mixed_5b", 2: "mixed_6a", 3: "mixed_7a"}
_RESNET_OTHERS = {1: "repeat", 2: "repeat_1", 3: "repeat_2"}
_KERAS_OTHERS = {1: "block35", 2: "block17", 3: "block8"}
_RESNET_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")


def torchvision_v1(graph: Graph) -> Modules:
    """inception3a.branch2.1.conv, …: branches count from one, a pool is the first of its branch."""
    out: Modules = {}
    for i in (1, 2, 3):
        out |= _layer(f"stem.layer{i}", f"conv{i}")
    for block, stage, number, has in _blocks(graph):
        out |= _sequential(graph, block, has, f"inception{stage}{ascii_lowercase[number - 1]}", first=1)
    for aux in ("aux1", "aux2"):
        out |= _layer(f"{aux}.reduce", f"{aux}.conv")
        out |= {f"{aux}.hidden.linear": f"{aux}.fc1", f"{aux}.classifier": f"{aux}.fc2"}
    return out | {"classifier": "fc"}


def torchvision_v3(graph: Graph) -> Modules:
    """Mixed_6b.branch7x7dbl_3.conv, …; timm's names are the same, and its files mostly without the auxiliary head."""
    out = _stem(_V3_STEM)
    for block, stage, number, has in _blocks(graph):
        # Mixed_5b is the first of its stage, Mixed_6a and Mixed_7a, which shrink the map, of theirs.
        at = f"Mixed_{stage + 4}{ascii_lowercase[number - (stage > 1)]}"
        words = _V3_SHRINKING[stage] if stage > 1 and number == 1 else _V3[stage]
        for branch, steps in _branches(has).items():
            for step in steps:
                theirs = words[branch - 1] + (f"_{step}" if len(steps) > 1 else "")
                out |= _layer(f"{block}.branch{branch}.layer{step}", f"{at}.{theirs}")
    for ours, theirs in (("reduce", "conv0"), ("spatial", "conv1")):
        out |= _layer(f"aux.{ours}", f"AuxLogits.{theirs}")
    return out | {"aux.classifier": "AuxLogits.fc", "classifier": "fc"}


def timm_v4(graph: Graph) -> Modules:
    """features.N.branch1.0.conv, …: everything in one row, from the stem on."""
    out = _stem(("features.0", "features.1", "features.2"))
    out |= _layer("stem.block1.branch2.layer1", "features.3.conv")
    out |= _layer("stem.block3.branch1.layer1", "features.5.conv")
    fork = [name.removeprefix("stem.block2.") for name in graph.by_name if name.startswith("stem.block2.")]
    out |= _sequential(graph, "stem.block2", frozenset(fork), "features.4")
    for i, (block, _, _, has) in enumerate(_blocks(graph), 6):
        out |= _sequential(graph, block, has, f"features.{i}")
    return out | {"classifier": "last_linear"}


def timm_resnet_v2(graph: Graph) -> Modules:
    """mixed_5b, repeat.N, mixed_6a, repeat_1.N, mixed_7a, repeat_2.N and block8; a block's last layer is conv2d."""
    out = _stem(_RESNET_STEM)
    last = {stage: number for _, stage, number, _ in _blocks(graph)}
    for block, stage, number, has in _blocks(graph):
        if number == 1:
            at = _RESNET_FIRST[stage]
        elif stage == 3 and number == last[3]:
            at = "block8"
        else:
            at = f"{_RESNET_OTHERS[stage]}.{number - 2}"
        out |= _sequential(graph, block, has, at) | {f"{block}.project.conv": f"{at}.conv2d"}
    return out | _layer("head", "conv2d_7b") | {"classifier": "classif"}


def timm_xception(_: Graph) -> Modules:
    """blockN.rep.K: activation, separable convolution, batch norm in turn; the first block has no first activation."""
    out = conv_norm("stem.layer1", "conv1", "bn1") | conv_norm("stem.layer2", "conv2", "bn2")
    for block in range(1, 13):
        for i in (1, 2, 3):
            k = 3 * i - 2 - (block == 1)
            out |= _separable(f"block{block}.layer{i}", f"block{block}.rep.{k}", f"block{block}.rep.{k + 1}")
        out |= conv_norm(f"block{block}.shortcut", f"block{block}.skip", f"block{block}.skipbn")
    return (
        out
        | _separable("head.layer1", "conv3", "bn3")
        | _separable("head.layer2", "conv4", "bn4")
        | {"classifier": "fc"}
    )


def keras_v3(graph: Graph) -> Modules:
    """conv2d_N and batch_normalization_N, in the order in which keras/src/applications/inception_v3.py makes them."""
    return _numbered(_as_made(graph)) | {"classifier": "predictions"}


def keras_resnet_v2(graph: Graph) -> Modules:
    """Numbers as in v3; the layers that go back into a sum are block35_N_conv, block17_N_conv and block8_N_conv."""
    out = _numbered(_as_made(graph)) | conv_norm("head", "conv_7b", "conv_7b_bn")
    for block, stage, number, _ in _blocks(graph):
        out[f"{block}.project.conv"] = f"{_KERAS_OTHERS[stage]}_{number - 1}_conv"
    return out | {"classifier": "predictions"}


def keras_xception(graph: Graph) -> Modules:
    """block2_sepconv1, …: the stem is block 1, the head block 14; the shortcuts' layers have numbers only."""
    out = conv_norm("stem.layer1", "block1_conv1", "block1_conv1_bn")
    out |= conv_norm("stem.layer2", "block1_conv2", "block1_conv2_bn")
    for number, ours in enumerate([*(f"block{i}" for i in range(1, 13)), "head"], 2):
        for i in (1, 2, 3):
            at = f"block{number}_sepconv{i}"
            out |= {f"{ours}.layer{i}.depthwise.conv": f"{at}_depthwise"}
            out |= conv_norm(f"{ours}.layer{i}.pointwise", f"{at}_pointwise", f"{at}_bn")
    shortcuts = [block for block in blocks(graph) if f"{block}.shortcut.conv" in graph.by_name]
    return out | _numbered([f"{block}.shortcut" for block in shortcuts]) | {"classifier": "predictions"}


def _blocks(graph: Graph) -> list[tuple[str, int, int, frozenset[str]]]:
    """(name, stage, number within the stage, layers) of every block of a stage."""
    found = [(_STAGED.fullmatch(block), has) for block, has in blocks(graph).items()]
    return [(match[0], int(match[1]), int(match[2]), has) for match, has in found if match]


def _branches(has: frozenset[str]) -> dict[int, list[str]]:
    """The branches that have layers, each with its steps: 1, 2a, 2b."""
    found: dict[int, list[str]] = {}
    for match in filter(None, map(_BRANCHED.fullmatch, sorted(has))):
        found.setdefault(int(match[1]), []).append(match[2] + match[3])
    return found


def _sequential(graph: Graph, block: str, has: frozenset[str], at: str, *, first: int = 0) -> Modules:
    """branch0 where it is one layer, branch1.0 and .1 where it is a row, branch1_1a and _1b where that splits."""
    out: Modules = {}
    for branch, steps in _branches(has).items():
        pool = f"{block}.branch{branch}.pool" in graph.by_name
        splits = any(not step.isdigit() for step in steps)
        theirs = f"{at}.branch{branch - 1 + first}"
        for step in steps:
            place = f"{int(step[0]) - 1 + pool}{step[1:]}"
            name = f"{theirs}_{place}" if splits else theirs if len(steps) == 1 and not pool else f"{theirs}.{place}"
            out |= _layer(f"{block}.branch{branch}.layer{step}", name)
    return out


def _layer(ours: str, theirs: str) -> Modules:
    return conv_norm(ours, f"{theirs}.conv", f"{theirs}.bn")


def _stem(names: tuple[str, ...]) -> Modules:
    return {k: v for i, name in enumerate(names, 1) for k, v in _layer(f"stem.layer{i}", name).items()}


def _separable(ours: str, theirs: str, norm: str) -> Modules:
    halves = {f"{ours}.depthwise.conv": f"{theirs}.conv1"}
    return halves | conv_norm(f"{ours}.pointwise", f"{theirs}.pointwise", norm)


def _as_made(graph: Graph) -> Iterator[str]:
    """The stem, then block after block; in each the branches from first to last, each from its input on."""
    yield from (f"stem.layer{i}" for i in range(1, 6))
    for block, _, _, has in _blocks(graph):
        yield from (f"{block}.branch{branch}.layer{step}" for branch, steps in _branches(has).items() for step in steps)


def _numbered(names: Iterator[str] | list[str]) -> Modules:
    out: Modules = {}
    for i, ours in enumerate(names):
        number = f"_{i}" if i else ""
        out |= conv_norm(ours, f"conv2d{number}", f"batch_normalization{number}")
    return out


def from_zero(tensors: Tensors) -> Tensors:
    """Keras' automatic names, numbered as if nothing else had been made before: conv2d, conv2d_1, …"""
    found = {name: match for name in tensors if (match := _AUTOMATIC.fullmatch(name))}
    places: dict[str, list[int]] = {}
    for match in found.values():
        places.setdefault(match[1], []).append(int(match[2] or 0))
    rank = {kind: {number: i for i, number in enumerate(sorted(set(all_)))} for kind, all_ in places.items()}
    out = {}
    for name, tensor in tensors.items():
        if match := found.get(name):
            number = rank[match[1]][int(match[2] or 0)]
            out[f"{match[1]}_{number}/{match[3]}" if number else f"{match[1]}/{match[3]}"] = tensor
        else:
            out[name] = tensor
    return out


def with_gains(tensors: Tensors) -> Tensors:
    """``from_zero``, and gains of one for batch norms that have none."""
    tensors = from_zero(tensors)
    offsets = [name.removesuffix("beta") for name in tensors if name.endswith("/beta")]
    gains = {f"{at}gamma": np.ones_like(tensors[f"{at}beta"]) for at in offsets if f"{at}gamma" not in tensors}
    return {**tensors, **gains}


def without_gains(tensors: Tensors) -> Tensors:
    """The inverse of ``with_gains``: a gain goes into the convolution before the norm, and into the norm's mean."""
    out = dict(tensors)
    for name in tensors:
        if name.endswith("/gamma"):
            norm = name.removesuffix("/gamma")
            kernel = f"{norm.replace('batch_normalization', 'conv2d').removesuffix('_bn')}/kernel"
            gain = out.pop(name)
            out[kernel] = out[kernel] * gain
            out[f"{norm}/moving_mean"] = out[f"{norm}/moving_mean"] * gain
    return out


def split_separable(tensors: Tensors) -> Tensors:
    """``from_zero``, and Keras' separable layers as two: block2_sepconv1_depthwise/kernel and …_pointwise/kernel."""
    halves = re.compile(r"(.+)/(depthwise|pointwise)_kernel")
    return {halves.sub(r"\1_\2/kernel", name): tensor for name, tensor in from_zero(tensors).items()}


def joined_separable(tensors: Tensors) -> Tensors:
    """The inverse of ``split_separable``."""
    halves = re.compile(r"(.+)_(depthwise|pointwise)/kernel")
    return {halves.sub(r"\1/\2_kernel", name): tensor for name, tensor in tensors.items()}


_ORIGINAL = always(padding="symmetric", eps=1e-3)
SCHEMES = (
    Scheme("torchvision.inception_v1", "inception_v1", "conv1.conv", "fc", torchvision_v1, arguments=_ORIGINAL),
    Scheme(
        "torchvision.inception_v3", "inception_v3", "Conv2d_1a_3x3.conv", "fc", torchvision_v3,
        arguments=always(padding="symmetric", eps=1e-3, count_padding=True),
    ),
    Scheme("timm.inception_v4", "inception_v4", "features.0.conv", "last_linear", timm_v4, arguments=_ORIGINAL),
    Scheme(
        "timm.inception_resnet_v2", "inception_resnet_v2", "conv2d_1a.conv", "classif", timm_resnet_v2,
        arguments=_ORIGINAL,
    ),
    Scheme(
        "timm.xception", "xception", "conv1", "fc", timm_xception, arguments=always(padding="symmetric", eps=1e-5),
    ),
    Scheme(
        "keras.inception_v3", "inception_v3", "conv2d", "predictions", keras_v3, KERAS,
        always(padding="symmetric", eps=1e-3, count_padding=False), prepare=with_gains, complete=without_gains,
    ),
    Scheme(
        "keras.inception_resnet_v2", "inception_resnet_v2", "conv2d", "predictions", keras_resnet_v2, KERAS,
        _ORIGINAL, prepare=with_gains, complete=without_gains,
    ),
    Scheme(
        "keras.xception", "xception", "block1_conv1", "predictions", keras_xception, KERAS,
        always(padding="same", eps=1e-3), prepare=split_separable, complete=joined_separable,
    ),
)  # fmt: skip
