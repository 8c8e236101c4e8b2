"""Runs a Quantized network in numpy: what its integers mean, and what every runtime must give within a level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import INPUT, Node
from eyespot.errors import UsageError
from eyespot.lower.int8.quantized import LEVELS, Quantized, clipped_levels
from eyespot.lower.numpy_ops import Array, compute

_EXACT = 1 << 24  # integers up to here are exact in float32


def run_quantized(network: Quantized, x: Array, *, keep: Collection[str] = ()) -> dict[str, Array]:
    """Outputs of the network by name, and the values of the nodes in ``keep``, all as float32 (n, *shape).

    x: float32 (n, channels, height, width), normalised as the bundle's pixels say. Integer layers sum exactly, are
    scaled by one float32 factor per channel and rounded, halves to even, as in ONNX Runtime. UsageError for an input or
    a name that does not fit.
    """
    graph = network.graph
    if x.dtype != np.float32 or x.shape[1:] != graph.input:
        raise UsageError(f"the input is {x.dtype} {x.shape}; this network reads float32 (n, {str(graph.input)[1:]}")
    unknown = [name for name in keep if name not in graph.by_name]
    if unknown:
        raise UsageError(f"cannot keep {unknown[0]!r}: the network has no such node; `eyespot show` lists them")
    wanted = {*graph.outputs, *keep}
    left = Counter(name for node in graph.nodes for name in node.inputs)
    values = _Values(network)
    values.put(INPUT, x)
    weights = network.float_weights()
    for node in graph.nodes:
        values.make(node, weights)
        left.subtract(node.inputs)
        for name in {*node.inputs, node.name} - wanted:
            if not left[name]:
                values.forget(name)
    return {name: values.real(name) for name in (*graph.outputs, *keep)}


class _Values:
    """Each value as levels of its grid, or as a number where it has none."""

    def __init__(self, network: Quantized) -> None:
        self._network = network
        self._readers = network.graph.readers()
        self._levels: dict[str, NDArray[np.uint8]] = {}
        self._reals: dict[str, Array] = {}

    def put(self, name: str, value: Array) -> None:
        grid = self._network.grids.get(name)
        if grid is None:
            self._reals[name] = value
        else:
            self._levels[name] = grid.quantize(value)

    def real(self, name: str) -> Array:
        if name in self._levels:
            return self._network.grids[name].dequantize(self._levels[name])
        return self._reals[name]

    def forget(self, name: str) -> None:
        self._levels.pop(name, None)
        self._reals.pop(name, None)

    def make(self, node: Node, weights: dict[str, Array]) -> None:
        """Computes one node, if the layer before it has not done so already."""
        network, grids = self._network, self._network.grids
        if node.name in self._levels:
            return
        if network.is_int8(node.name):
            self._integer_layer(node)
        elif node.name in grids and (top := clipped_levels(node, grids)) is not None:
            self._levels[node.name] = np.minimum(self._levels[node.inputs[0]], np.uint8(top))
        elif isinstance(node.op, ops.Mul) and all(name in grids for name in (node.name, *node.inputs)):
            self._product(node)
        elif isinstance(node.op, ops.Add) and self._sum(node):
            pass
        elif isinstance(node.op, ops.GlobalAvgPool) and node.name in grids and node.inputs[0] in grids:
            self._mean(node)
        else:
            short = len(node.name) + 1
            tensors = {p.name[short:]: weights[p.name] for p in network.graph.parameters_of(node)}
            self.put(node.name, compute(node.op, [self.real(name) for name in node.inputs], tensors))

    def _product(self, node: Node) -> None:
        """As QLinearMul: the zero is added before rounding, so that halves go to even levels."""
        a, b = (self._network.grids[name] for name in node.inputs)
        grid = self._network.grids[node.name]
        ratio = np.float32(a.scale) * np.float32(b.scale) / np.float32(grid.scale)
        x, y = (self._levels[n].astype(np.float32) - g.zero for n, g in zip(node.inputs, (a, b), strict=True))
        self._levels[node.name] = _levels(x * y * ratio + np.float32(grid.zero))

    def _sum(self, node: Node) -> bool:
        """As QLinearAdd, where two tensors with grids make one that has: fused products onto a constant. Else False.

        (All 65,536 pairs of levels at 60 choices of grids: none elsewhere, with AVX2 and with AVX-512.)
        """
        target = self._network.target(node, self._readers)
        if target is None or len(node.inputs) != 2 or any(name not in self._network.grids for name in node.inputs):
            return False
        (a, b), y = (self._network.grids[name] for name in node.inputs), self._network.grids[target]
        one, two = (np.float32(grid.scale) / np.float32(y.scale) for grid in (a, b))
        zeros = _fused(np.float64(a.zero), one, two * np.float32(b.zero))
        first, second = (self._levels[name].astype(np.float64) for name in node.inputs)
        self._levels[target] = _levels(_fused(first, one, _fused(second, two, np.float32(y.zero) - zeros)))
        return True

    def _mean(self, node: Node) -> None:
        """As QLinearGlobalAveragePool: an exact sum times one factor."""
        x, grid = self._network.grids[node.inputs[0]], self._network.grids[node.name]
        levels = self._levels[node.inputs[0]]
        size = levels.shape[2] * levels.shape[3]
        factor = np.float32(x.scale) / (np.float32(grid.scale) * np.float32(size))
        total = levels.sum((2, 3), dtype=np.int64, keepdims=True) - x.zero * size
        self._levels[node.name] = _levels(total.astype(np.float32) * factor + np.float32(grid.zero))

    def _integer_layer(self, node: Node) -> None:
        network, grids = self._network, self._network.grids
        x, weight = grids[node.inputs[0]], network.tensors[f"{node.name}.weight"]
        exact: Any = np.float32 if weight[0].size * LEVELS * 127 < _EXACT else np.float64
        levels: Any = self._levels[node.inputs[0]].astype(exact) - exact(x.zero)
        total: NDArray[Any] = compute(node.op, [levels], {"weight": weight.astype(exact)})
        column = (-1, *[1] * (total.ndim - 2))
        total = total.astype(np.float64) + network.tensors[f"{node.name}.bias"].reshape(column)
        step = network.bias_scale(node.name)
        target = network.target(node, self._readers)
        if target is None:
            self._reals[node.name] = total.astype(np.float32) * step.reshape(column)
            return
        y = grids[target]
        factor = (step / np.float32(y.scale)).reshape(column)
        self._levels[target] = _levels(np.rint(total.astype(np.float32) * factor) + y.zero)


def _fused(x: Any, factor: np.float32, addend: Any) -> Any:
    """x · factor + addend, rounded to float32 once; x: whole numbers up to 255, as float64."""
    return (x * np.float64(factor) + addend).astype(np.float32)


def _levels(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.clip(np.rint(values), 0, LEVELS).astype(np.uint8)
    return levels
