"""Candidate: a network at a size and a precision, what is known of it before it is measured, and what it must take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from eyespot.arch.catalogue import draw, variants
from eyespot.core import ops
from eyespot.core.cost import BYTES, Cost
from eyespot.core.graph import Graph
from eyespot.core.pixels import Preprocess
from eyespot.lower.reparam import reparam_graph

Precision = Literal["float32", "int8"]
WEIGHT_BYTES: Mapping[Precision, int] = {"float32": 4, "int8": 1}
LOSS = 0.5  # points of top-1 that `eyespot quantize` may lose; what an int8 network is expected to be worse by


@dataclass(frozen=True)
class Candidate:
    """A network that may be chosen: ``draw(architecture, arguments)`` at ``precision`` on ``runtime``.

    name: the bundle's whose weights it has or starts from, else the architecture's. start: that bundle's name when it
    is on this machine, else "". top1: per cent on ImageNet, as ``source`` published it for the float32 network; None:
    nobody did, or not at this size. promise: what is measured first; the higher, the more accurate it is expected.
    weights: where they are, as ``eyespot models`` says. quantized: the name of its int8 bundle where that is on this
    machine or can be made of what is, else "".
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    preprocess: Preprocess
    cost: Cost
    precision: Precision = "float32"
    start: str = ""
    top1: float | None = None
    source: str = ""
    weights: str = "none"
    promise: float = field(default=0.0, compare=False)
    runtime: str = "onnxruntime"
    quantized: str = ""

    @property
    def ready(self) -> str:
        """The bundle that is this very network and can be written now; "" where weights or images are missing."""
        return self.quantized if self.precision == "int8" else self.start

    @property
    def family(self) -> str:
        """The architecture's family; the architecture for one of which the catalogue knows none."""
        known = variants().get(self.architecture)
        return known.family if known else self.architecture

    @property
    def side(self) -> int:
        """The longer side of its pictures."""
        return max(self.preprocess.size)

    @property
    def title(self) -> str:
        """Its name for a person: 'mobilenet_v2_1.0.tv_in1k at 160, int8', and the runtime if it is not ONNX Runtime."""
        changed = [f"{k} {v:g}" for k, v in self.arguments.items() if k in ("width", "depth") and not self.start]
        name = self.name if self.top1 is not None or self.start else " ".join([self.name, *changed])
        on = "" if self.runtime == "onnxruntime" else f" on {self.runtime}"
        return f"{name} at {self.side}, {self.precision}{on}"

    @property
    def expected(self) -> float | None:
        """Its published top-1, less what quantizing may lose."""
        return None if self.top1 is None else self.top1 - (LOSS if self.precision == "int8" else 0.0)

    def draw(self) -> Graph:
        """The network."""
        return draw(self.architecture, self.arguments).inference()

    def least_bytes(self) -> float:
        """What its file holds at the least, by its parameters: nearly all of them are weights. Those of batch norms,
        which are folded away, and biases, which int8 does not shrink, are allowed for with a twentieth."""
        return self.cost.parameters * WEIGHT_BYTES[self.precision] * 0.95

    def least_memory(self) -> float:
        """What a process that runs it holds at the least: its weights and the largest maps that live together."""
        share = WEIGHT_BYTES[self.precision] / BYTES
        return self.least_bytes() + self.cost.peak_activation_bytes * share


def quantizing_keeps(graph: Graph) -> bool:
    """Whether int8 is known to keep a network's accuracy: every activation is a rectifier, so that all is integers.

    Networks with gates (SiLU, hard-swish, squeeze-excite) are faster in int8 too, but lose more than is assumed of one
    that nobody quantized and evaluated.
    """
    kinds = {n.op.function for n in reparam_graph(graph).nodes if isinstance(n.op, ops.Activation)}
    return kinds <= {"relu", "relu6"}


def shrunk_by(own: int, side: int) -> float:
    """Points of top-1 that a network loses on pictures of ``side`` pixels when it was trained at ``own``; a rule to
    order candidates by, never a result. MobileNetV2 1.0, trained anew at each size, loses 1.1 at 192 of 224, 3.0 at
    160, 6.5 at 128 and 11.5 at 96 (tensorflow/models, slim/nets/mobilenet/README.md): 8.5 · log2(224 / side)^1.45."""
    return 8.5 * math.log2(own / side) ** 1.45 if side < own else 0.0
