"""What a scheme of names is: how one source calls the tensors of one family, and in which layouts it keeps them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from eyespot.core.graph import Graph
from eyespot.core.ops import BatchNorm, Conv2d, Linear, Op
from eyespot.weights.arrays import Array
from eyespot.weights.replaced_head import with_dense_head, with_usual_head

Tensors = Mapping[str, Array]
Modules = dict[str, str]  # our node → their module

_BLOCK = re.compile(r"((?:stage\d+\.)?block\d+)\.(.+)")
_KERNEL_LAST_TO_FIRST = (3, 2, 0, 1)  # height, width, in, out → out, in, height, width
_DEPTHWISE = (2, 3, 0, 1)  # height, width, channel, 1 → channel, 1, height, width


class Layout(NamedTuple):
    """How a framework names the tensors of a layer: the sign between layer and tensor, the names by kind of layer."""

    join: str
    conv: Mapping[str, tuple[str, ...]]
    norm: Mapping[str, tuple[str, ...]]
    channels_last: bool = False

    def names(self, op: Op, short: str) -> tuple[str, ...]:
        """What our tensor may be called there, first the usual."""
        return (self.norm if isinstance(op, BatchNorm) else self.conv)[short]

    def ours(self, op: Op, short: str, theirs: Array) -> Array:
        """A view in our layout; one that cannot be brought there comes back as it is, and its shape will not fit."""
        if short != "weight" or isinstance(op, BatchNorm):
            return theirs
        if self.channels_last and theirs.ndim == 4:
            depthwise = isinstance(op, Conv2d) and 1 < op.groups == op.channels and theirs.shape[3] == 1
            theirs = theirs.transpose(_DEPTHWISE if depthwise else _KERNEL_LAST_TO_FIRST)
        elif self.channels_last and theirs.ndim == 2:
            theirs = theirs.T
        if isinstance(op, Linear) and theirs.ndim == 4 and theirs.shape[2:] == (1, 1):
            return theirs[:, :, 0, 0]  # a 1×1 convolution of a 1×1 map
        return theirs

    def theirs(self, op: Op, short: str, ours: Array, *, as_convolution: bool = False) -> Array:
        """The inverse of ``ours``; as_convolution: their layer is a 1×1 convolution where ours is linear."""
        if short != "weight" or isinstance(op, BatchNorm):
            return ours
        if as_convolution and ours.ndim == 2:
            ours = ours[:, :, None, None]
        if self.channels_last and ours.ndim == 4:
            depthwise = isinstance(op, Conv2d) and 1 < op.groups == op.channels
            axes = _DEPTHWISE if depthwise else _KERNEL_LAST_TO_FIRST
            return ours.transpose([axes.index(axis) for axis in range(4)])
        return ours.T if self.channels_last and ours.ndim == 2 else ours


TORCH = Layout(
    ".",
    {"weight": ("weight",), "bias": ("bias",)},
    {short: (short,) for short in ("weight", "bias", "running_mean", "running_var")},
)
KERAS = Layout(
    "/",
    {"weight": ("kernel", "depthwise_kernel"), "bias": ("bias",)},
    {"weight": ("gamma",), "bias": ("beta",), "running_mean": ("moving_mean",), "running_var": ("moving_variance",)},
    channels_last=True,
)
GLUON = Layout("_", TORCH.conv, {**TORCH.norm, "weight": ("gamma",), "bias": ("beta",)})


def no_counters(tensors: Tensors) -> Tensors:
    """Without what counts training steps: batch norm's ``num_batches_tracked``, and numbers that have no axis."""
    return {n: tensor for n, tensor in tensors.items() if tensor.ndim and n.rsplit(".", 1)[-1] != "num_batches_tracked"}


def without_normalization(tensors: Tensors) -> Tensors:
    """Without what Keras' Normalization layers subtract and divide by, which is the card's business."""
    return {n: tensor for n, tensor in tensors.items() if n.rpartition("/")[2] not in ("mean", "variance", "count")}


def with_counters(tensors: Tensors) -> Tensors:
    """The inverse of ``no_counters``: each of torch's batch norms counts from zero."""
    norms = [name.removesuffix("running_mean") for name in tensors if name.endswith(".running_mean")]
    return {**tensors, **{f"{norm}num_batches_tracked": np.zeros((), np.int64) for norm in norms}}


@dataclass(frozen=True, slots=True)
class Scheme:
    """The names of one source for one family.

    stem, classifier: their modules, which every file of this source has; the classifier's bias counts the classes.
    modules: our nodes to their modules, for a graph of this family. arguments: by variant, what the file cannot say but
    its source can (padding, epsilon). suits: which variants of the family. prepare: drops what is no weight.
    complete: the inverse, for a file that goes back there. as_convolutions: our linear layers that are 1×1 there.
    """

    name: str
    family: str
    stem: str
    classifier: str
    modules: Callable[[Graph], Modules]
    layout: Layout = TORCH
    arguments: Callable[[str], Mapping[str, object]] = lambda _: MappingProxyType({})
    suits: Callable[[str], bool] = lambda _: True
    prepare: Callable[[Tensors], Tensors] = no_counters
    complete: Callable[[Tensors], Tensors] = with_counters
    as_convolutions: tuple[str, ...] = ()

    def prepared(self, tensors: Tensors) -> Tensors:
        """Only what is a weight, a replaced head under the classifier's name."""
        weights = self.prepare(tensors)
        if self.layout is KERAS:
            return with_dense_head(without_normalization(weights), self.classifier)
        return with_usual_head(weights, self.classifier) if self.layout is TORCH else weights

    def recognises(self, prepared: Tensors) -> bool:
        """Whether the file has this source's stem and classifier."""
        return self._bias in prepared and self.has_stem(prepared)

    def has_stem(self, prepared: Tensors) -> bool:
        """Whether the file has this source's first layer."""
        return any(f"{self.stem}{self.layout.join}{name}" in prepared for name in self.layout.conv["weight"])

    def classes(self, prepared: Tensors) -> int:
        """The number of outputs of a recognised file."""
        return prepared[self._bias].size

    @property
    def _bias(self) -> str:
        return f"{self.classifier}{self.layout.join}bias"


def always(**arguments: object) -> Callable[[str], Mapping[str, object]]:
    """The same arguments for every variant."""
    return lambda _: arguments


def layers(graph: Graph) -> list[str]:
    """The nodes that store tensors, in order of execution."""
    return [node.name for node in graph.nodes if any(True for _ in graph.parameters_of(node))]


def blocks(graph: Graph) -> dict[str, frozenset[str]]:
    """The blocks in order of execution (``stage2.block1``), each with the layers in it (``expand.conv``)."""
    found: dict[str, set[str]] = {}
    for name in layers(graph):
        if match := _BLOCK.fullmatch(name):
            found.setdefault(match[1], set()).add(match[2])
    return {block: frozenset(inner) for block, inner in found.items()}


def numbered(block: str) -> tuple[int, int]:
    """The stage of a block and its place in it: (2, 1) for ``stage2.block1``."""
    stage, number = block.removeprefix("stage").split(".block")
    return int(stage), int(number)


def conv_norm(ours: str, conv: str, norm: str) -> Modules:
    """A convolution and the batch norm behind it."""
    return {f"{ours}.conv": conv, f"{ours}.norm": norm}


def only(modules: Iterable[tuple[str, str]], graph: Graph) -> Modules:
    """Those rows of a table whose nodes the graph has (a first block without expansion, one without squeeze-excite)."""
    return {ours: theirs for ours, theirs in modules if ours in graph.by_name}
