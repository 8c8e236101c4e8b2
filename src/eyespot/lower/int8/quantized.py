"""Quantized: a network in 8 bits as a value: which tensors lie on which grid, and the integers of its weights.

A tensor on a ``Grid`` is uint8: it stands for ``scale · (q - zero)``. An int8 weight stands for ``weight · scale``,
with a scale per output channel. A layer with an int8 weight whose input has a grid computes in integers, and its bias
counts in ``scale of the input · scale of the weight``; without that grid the weight is only stored so. Whatever has no
grid computes in float32. That is all that the numpy meaning (``quantized_run``), the ONNX file (``quantized_onnx``)
and a bundle's tensors need to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.errors import WeightsError
from eyespot.lower.numpy_ops import Array

Tensors = Mapping[str, NDArray[Any]]
LEVELS = 255  # the highest of a uint8
LARGEST_WEIGHT = 127  # magnitude of an int8 weight
_GRID = ".grid"
_SCALE = ".weight_scale"


class Grid(NamedTuple):
    """256 evenly spaced values, one of which is zero. scale: a float32's value, above zero; zero: 0 to 255."""

    scale: float
    zero: int

    @classmethod
    def spanning(cls, low: float, high: float) -> Grid:
        """The grid that reaches from ``low`` to ``high``, both moved so that zero lies on it."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32(max((high - low) / LEVELS, 1e-12)))
        return cls(scale, round(min(max(-low / scale, 0), LEVELS)))

    @property
    def low(self) -> float:
        """The lowest value on the grid."""
        return -self.scale * self.zero

    @property
    def high(self) -> float:
        """The highest value on the grid."""
        return self.scale * (LEVELS - self.zero)

    def quantize(self, x: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The nearest points, halves to even; what lies outside goes to the ends."""
        levels: NDArray[np.uint8] = np.clip(np.rint(x / np.float32(self.scale)) + self.zero, 0, LEVELS).astype(np.uint8)
        return levels

    def dequantize(self, q: NDArray[np.uint8]) -> Array:
        """What points stand for."""
        return (q.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)


@dataclass(frozen=True, eq=False)
class Quantized:
    """A network for inference, some or all of it in 8 bits, or its weights in 8 or 16.

    tensors: like the graph's parameters; an int8 ``weight`` has a float32 ``weight_scale`` (output channels,) beside
    it, and an int32 ``bias`` where the layer computes in integers; float16 tensors and bfloat16 ones, whose bits numpy
    holds as uint16, count as float32. WeightsError unless they are all there, of the right type and shape.
    """

    graph: Graph
    grids: Mapping[str, Grid]
    tensors: Tensors

    def __post_init__(self) -> None:
        unknown = [name for name in self.grids if name != INPUT and name not in self.graph.by_name]
        if unknown:
            raise WeightsError(f"a grid is named {unknown[0]!r}, which is no node of the network; quantize it again")
        for parameter in self.graph.parameters.values():
            node, _, short = parameter.name.rpartition(".")
            tensor = self.tensors.get(parameter.name)
            wanted: tuple[type[np.generic], ...] = (np.float32, np.float16, np.uint16)
            if self.has_int8(node) and short == "weight":
                wanted = (np.int8,)
            elif self.is_int8(node):
                wanted = (np.int32,)
            if tensor is None or tensor.shape != parameter.shape or tensor.dtype not in wanted:
                found = "absent" if tensor is None else f"{tensor.dtype} {tensor.shape}"
                raise WeightsError(
                    f"{parameter.name} is {found}, not {np.dtype(wanted[0])} {parameter.shape}; quantize it again"
                )
            if short == "weight" and self.has_int8(node):
                scale = self.tensors.get(node + _SCALE)
                if scale is None or scale.shape != self.graph.shape(node)[:1] or scale.dtype != np.float32:
                    raise WeightsError(f"{node}{_SCALE} is missing or misshapen; quantize the network again")

    def has_int8(self, node: str) -> bool:
        """Whether a layer's weight is stored as int8."""
        weight = self.tensors.get(f"{node}.weight")
        return weight is not None and weight.dtype == np.int8

    def is_int8(self, node: str) -> bool:
        """Whether a layer computes in integers."""
        return self.has_int8(node) and self.graph.by_name[node].inputs[0] in self.grids

    def int8_layers(self) -> list[str]:
        """The layers that compute in integers, in order of execution."""
        return [node.name for node in self.graph.nodes if self.is_int8(node.name)]

    def float_layers(self) -> list[str]:
        """The convolutions and linear layers that do not."""
        layers = (ops.Conv2d, ops.ConvTranspose2d, ops.Linear)
        return [n.name for n in self.graph.nodes if isinstance(n.op, layers) and not self.is_int8(n.name)]

    def weight_scale(self, node: str) -> Array:
        """What one step of an int8 weight is worth, per output channel."""
        scale: Array = self.tensors[node + _SCALE]
        return scale

    def bias_scale(self, node: str) -> Array:
        """What one step of an integer layer's sums and bias is worth, per output channel."""
        scale: Array = self.weight_scale(node) * np.float32(self.grids[self.graph.by_name[node].inputs[0]].scale)
        return scale

    def target(self, node: Node, readers: Mapping[str, list[Node]]) -> str | None:
        """The name whose grid takes what a node computes: its own or a rectifier's that alone reads it; else None."""
        if node.name in self.grids:
            return node.name
        after = readers[node.name]
        alone = len(after) == 1 and node.name not in self.graph.outputs
        if alone and after[0].name in self.grids and rectifies(after[0].op, self.grids[after[0].name]):
            return after[0].name
        return None

    def float_weights(self) -> dict[str, Array]:
        """Every parameter of the graph as float32, as near to what it was as its storage allows."""
        out: dict[str, Array] = {}
        for name in self.graph.parameters:
            node, _, short = name.rpartition(".")
            tensor = as_float32(self.tensors[name])
            if short == "weight" and self.has_int8(node):
                tensor = tensor * column(self.weight_scale(node), self.graph.by_name[node].op, tensor.ndim)
            elif self.is_int8(node):
                tensor = tensor * self.bias_scale(node)
            out[name] = tensor
        return out

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """All of it but the graph as named tensors; a grid is float32 ``[scale, zero]``."""
        grids = {f"{name}{_GRID}": np.array(grid, np.float32) for name, grid in self.grids.items()}
        return {**self.tensors, **grids}

    @classmethod
    def from_tensors(cls, graph: Graph, tensors: Tensors) -> Quantized:
        """What ``to_tensors`` gave, beside its graph. WeightsError when it is not that."""
        grids = {}
        for name, tensor in tensors.items():
            if name.endswith(_GRID):
                scale, zero = tensor.astype(np.float64).reshape(-1) if tensor.size == 2 else (0.0, 0.0)
                if not (0 < scale < np.inf and zero == round(zero) and 0 <= zero <= LEVELS):
                    raise WeightsError(f"{name} is no grid (a scale above 0, a zero of 0 to 255); quantize it again")
                grids[name.removesuffix(_GRID)] = Grid(float(scale), int(zero))
        kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(_GRID)}
        scales = {n: t.astype(np.float32) for n, t in kept.items() if n.endswith(_SCALE)}  # may be stored as float16
        return cls(graph, grids, kept | scales)


def as_float32(tensor: NDArray[Any]) -> Array:
    """The numbers of a stored tensor: bfloat16, held as uint16, is the upper half of a float32."""
    if tensor.dtype == np.uint16:
        bits: Array = (tensor.astype(np.uint32) << 16).view(np.float32)
        return bits
    numbers: Array = tensor.astype(np.float32)
    return numbers


def as_bfloat16(tensor: Array) -> NDArray[np.uint16]:
    """The bits of finite numbers rounded to bfloat16, halves to even."""
    bits = np.ascontiguousarray(tensor, np.float32).view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def column(vector: Array, op: ops.Op, rank: int) -> Array:
    """A vector over output channels, shaped so that it meets the weight of ``op``, of that rank."""
    axis = 1 if isinstance(op, ops.ConvTranspose2d) else 0
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


def rectifies(op: ops.Op, grid: Grid) -> bool:
    """Whether rounding to the grid does all that an activation does: a rectifier, and the grid ends where it does."""
    if not isinstance(op, ops.Activation) or grid.zero:
        return False
    return op.function == "relu" or (op.function == "relu6" and grid.high <= 6 * (1 + 1e-6))


def clipped_levels(node: Node, grids: Mapping[str, Grid]) -> int | None:
    """The highest level of a hard sigmoid that is a clip of its input's own levels; None when it is none.

    With the input's zero ``z`` at 3 / scale, level ``q`` stands for x + 3 = scale · q; hard_sigmoid is that over 6, up
    to 1: the same levels on a grid of a sixth of the scale, cut at ``2 z``.
    """
    if not isinstance(node.op, ops.Activation) or node.op.function != "hard_sigmoid":
        return None
    x, y = grids.get(node.inputs[0]), grids[node.name]
    if x is None or y.zero or abs(x.scale * x.zero - 3) > 1e-5 or abs(y.scale * 6 / x.scale - 1) > 1e-5:
        return None
    return min(2 * x.zero, 255)
