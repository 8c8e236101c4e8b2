"""Chooses grids by what calibration pictures showed: how far each one reaches, and which tensors share one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import Preprocess
from eyespot.lower.int8.quantized import LEVELS, Grid
from eyespot.lower.int8.to_onnx import MOVES, reads_pixels
from eyespot.lower.numpy_ops import Array

Method = Literal["minmax", "percentile", "tight", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
WHOLE: tuple[Method, ...] = ("minmax", "percentile", "mse", "entropy")  # for all tensors alike; 'tight' is for some
_BINS = 4096  # of a histogram, at the most
_OUTSIDE = 1e-4  # the share of values that 'percentile' leaves outside, on each side
_TIGHT = 1e-3  # and 'tight'
_SHARES = np.linspace(1.0, 0.3, 36)  # of the whole range, that 'mse' and 'entropy' try


class Histogram(NamedTuple):
    """How often values near ``middles`` came; zeros, which every grid holds exactly, are left out."""

    middles: NDArray[np.float64]
    counts: NDArray[np.float64]


class Seen:
    """What calibration pictures showed of one tensor: its ends, its histogram, and the highest value per channel.

    Bins are a power of two wide, so that they can be joined in pairs when a value comes that lies far outside.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.highs: Array | None = None
        self._exponent = -40  # of the bins' width
        self._first = 0  # the number of the first bin; bin i holds i · width up to, not including, (i + 1) · width
        self._counts = np.zeros(1, np.int64)

    def add(self, values: Array) -> None:
        """One picture's tensor, (channels, …)."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        highs = values.reshape(len(values), -1).max(1)
        self.highs = highs if self.highs is None else np.maximum(self.highs, highs)
        while (self.high - self.low) / 2.0**self._exponent > _BINS - 2:
            self._coarsen()
        bins = np.floor(values[values != 0] * np.float32(2.0**-self._exponent)).astype(np.int64)
        if bins.size:
            first = int(bins.min())
            self._put(first, np.bincount(bins - first))

    def join(self, other: Seen) -> None:
        """Takes in what another tensor showed, but for its channels."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        first, counts, exponent = other._first, other._counts, other._exponent
        while self._exponent < exponent or (self.high - self.low) / 2.0**self._exponent > _BINS - 2:
            self._coarsen()
        while exponent < self._exponent:
            first, counts, exponent = *_halved(first, counts), exponent + 1
        self._put(first, counts)

    def histogram(self) -> Histogram:
        """The bins that are not empty."""
        filled = np.flatnonzero(self._counts)
        middles = np.asarray((filled + self._first + 0.5) * 2.0**self._exponent, np.float64)
        return Histogram(middles, self._counts[filled].astype(np.float64))

    def _coarsen(self) -> None:
        if self._counts.any():
            self._first, self._counts = _halved(self._first, self._counts)
        self._exponent += 1

    def _put(self, first: int, counts: NDArray[np.int64]) -> None:
        if not self._counts.any():
            self._first, self._counts = first, counts.astype(np.int64)
            return
        start, stop = min(first, self._first), max(first + len(counts), self._first + len(self._counts))
        joined = np.zeros(stop - start, np.int64)
        joined[self._first - start :][: len(self._counts)] += self._counts
        joined[first - start :][: len(counts)] += counts
        self._first, self._counts = start, joined


def _halved(first: int, counts: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Bins of twice the width."""
    padded = np.pad(counts, (first % 2, (first + len(counts)) % 2))
    return first // 2, padded.reshape(-1, 2).sum(1)


def _together(seen: Sequence[Seen]) -> Seen:
    """What tensors that share a grid showed."""
    joined = Seen()
    for one in seen:
        joined.join(one)
    return joined


def choose_grids(
    graph: Graph, names: Collection[str], seen: Mapping[str, Seen], preprocess: Preprocess, method: Method
) -> dict[str, Grid]:
    """A grid for each of ``names``. What only moves values shares one with what it reads, and so costs nothing.

    A pair ``x · hard_sigmoid(x)`` gets grids on which the gate is a clip of x's own levels: x from -3 on, for what lies
    below becomes zero anyway.
    """
    grids: dict[str, Grid] = {}
    pixels = reads_pixels(preprocess)
    readers = graph.readers()
    clipped = [name for name in names if name != INPUT and _hard_swish(name, readers, names)]
    for group in _groups(graph, names, seen, alone={*clipped, *([INPUT] if pixels else [])}):
        grid = _grid(_together([seen[name] for name in group]), method)
        grids |= dict.fromkeys(group, grid)
    if pixels and INPUT in names:
        grids[INPUT] = pixels
    for name in clipped:
        grids |= _hard_swish_grids(name, readers, Grid.spanning(-3, max(grids[name].high, 0.1)))
    for name in names:
        if name != INPUT and _sigmoid(graph.by_name[name].op):
            grids[name] = Grid.spanning(0, min(max(seen[name].high, 1 / LEVELS), 1.0))
    return {name: grids[name] for name in names}


def sharing(graph: Graph, names: Collection[str], seen: Mapping[str, Seen], preprocess: Preprocess) -> list[list[str]]:
    """The names, those together whose grids depend on one another; without those whose grid is given."""
    readers = graph.readers()
    pairs = {n: g for n in names if n != INPUT and _hard_swish(n, readers, names) for g in [_gate_of(n, readers)]}
    given = {*pairs.values(), *([INPUT] if reads_pixels(preprocess) else [])}
    given |= {n for n in names if n != INPUT and _sigmoid(graph.by_name[n].op)}
    groups = _groups(graph, names, seen, alone={*pairs, *given})
    return [[*group, *(pairs[n] for n in group if n in pairs)] for group in groups if not given.intersection(group)]


def _sigmoid(op: ops.Op) -> bool:
    return isinstance(op, ops.Activation) and op.function == "sigmoid"


def _gate_of(name: str, readers: Mapping[str, list[Node]]) -> str:
    return next(n.name for n in readers[name] if isinstance(n.op, ops.Activation))


def _hard_swish(name: str, readers: Mapping[str, list[Node]], names: Collection[str]) -> bool:
    """Whether a tensor is read by a hard sigmoid and by the product with it, and by nothing else."""
    gates = [n for n in readers[name] if isinstance(n.op, ops.Activation) and n.op.function == "hard_sigmoid"]
    others = [n for n in readers[name] if n not in gates]
    product = len(others) == 1 and isinstance(others[0].op, ops.Mul)
    return len(gates) == 1 and product and gates[0].name in names and set(others[0].inputs) == {name, gates[0].name}


def _hard_swish_grids(name: str, readers: Mapping[str, list[Node]], reach: Grid) -> dict[str, Grid]:
    zero = min(max(round(3 / reach.scale), 2), LEVELS - 1)
    while zero > 2 and 3 / zero * (LEVELS - zero) < reach.high * 0.999:
        zero -= 1
    x = Grid(float(np.float32(3 / zero)), zero)
    return {name: x, _gate_of(name, readers): Grid(float(np.float32(x.scale / 6)), 0)}


def _groups(graph: Graph, names: Collection[str], seen: Mapping[str, Seen], alone: Collection[str]) -> list[list[str]]:
    """The names, together where they share a grid. What is never negative joins nothing that is: it would need a
    rectifier of its own again."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if node.name not in parent or not isinstance(node.op, MOVES):
            continue
        for name in node.inputs:
            joins = name in parent and name not in alone and node.name not in alone
            if joins and (seen[name].low >= 0) == (seen[node.name].low >= 0):
                parent[root(name)] = root(node.name)
    groups: dict[str, list[str]] = {}
    for name in names:
        if name not in alone or name != INPUT:
            groups.setdefault(root(name), []).append(name)
    return list(groups.values())


def _grid(seen: Seen, method: Method) -> Grid:
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if high - low <= 0:
        return Grid.spanning(0, 1)
    return Grid.spanning(*_RANGES[method](seen.histogram(), low, high))


def _percentile(seen: Histogram, low: float, high: float, *, outside: float = _OUTSIDE) -> tuple[float, float]:
    below = np.cumsum(seen.counts) / max(seen.counts.sum(), 1)
    cut = seen.middles[min(int(np.searchsorted(below, outside)), len(below) - 1)]
    top = seen.middles[min(int(np.searchsorted(below, 1 - outside)), len(below) - 1)]
    return (max(low, float(cut)) if cut < 0 else low), (min(high, float(top)) if top > 0 else high)


def _least(loss: Callable[[float, float], float], low: float, high: float) -> tuple[float, float]:
    """The ends, each cut to some share of the range in turn, at which a loss is least."""
    best = low, high
    for _ in range(2 if low < 0 else 1):
        for cut in ("high", "low") if low < 0 else ("high",):
            tried = [(best[0], high * s) if cut == "high" else (low * s, best[1]) for s in _SHARES]
            best = min(tried, key=lambda ends: loss(*ends))
    return best


def _mse(seen: Histogram, low: float, high: float) -> tuple[float, float]:
    values = seen.middles.astype(np.float32)

    def loss(low: float, high: float) -> float:
        grid = Grid.spanning(low, high)
        inside = np.square(grid.dequantize(grid.quantize(values)) - values)
        # Inside, the error of a level is that of values spread over it; a bin's middle alone would hit or miss.
        kept = (values > grid.low) & (values < grid.high)
        return float((np.where(kept, grid.scale**2 / 12, inside) * seen.counts).sum())

    return _least(loss, low, high)


def _entropy(seen: Histogram, low: float, high: float) -> tuple[float, float]:
    """The range whose 256 levels lose the least information on the histogram (Migacz, TensorRT, 2017)."""

    def loss(low: float, high: float) -> float:
        return _divergence(seen, low, high)

    return _least(loss, low, high)


def _divergence(seen: Histogram, low: float, high: float) -> float:
    """Kullback-Leibler divergence of the histogram on the grid's levels from the histogram with its ends gathered."""
    inside = (seen.middles >= low) & (seen.middles <= high)
    if not inside.any():
        return np.inf
    kept = seen.counts[inside]
    reference = kept.copy()
    reference[0] += seen.counts[seen.middles < low].sum()
    reference[-1] += seen.counts[seen.middles > high].sum()
    level = np.clip((seen.middles[inside] - low) / (high - low) * (LEVELS + 1), 0, LEVELS).astype(np.int64)
    total, filled = np.bincount(level, kept), np.bincount(level)
    spread = (total / np.maximum(filled, 1))[level]
    p, q = reference / reference.sum(), spread / spread.sum()
    return float((p * np.log(p / q)).sum())


_RANGES: Mapping[Method, Callable[[Histogram, float, float], tuple[float, float]]] = {
    "minmax": lambda _, low, high: (low, high),
    "percentile": _percentile,
    "tight": partial(_percentile, outside=_TIGHT),
    "mse": _mse,
    "entropy": _entropy,
}
