"""Quantized → IntegerProgram: scales become fixed points, activations tables, rectifiers ends of what they follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from eyespot.core import ops
from eyespot.core.cost import cost
from eyespot.core.graph import INPUT, Node
from eyespot.core.ops import Shape
from eyespot.core.pixels import Preprocess
from eyespot.errors import ExportError
from eyespot.lower.c.integer_program import (
    Ends,
    Fixed,
    Flat,
    Gather,
    Highest,
    IntegerProgram,
    Layer,
    Levels,
    Lookup,
    Map,
    Mean,
    Part,
    Product,
    Step,
    Sum,
    Total,
)
from eyespot.lower.int8.quantized import LEVELS, Grid, Quantized, clipped_levels
from eyespot.lower.numpy_ops import Array, compute

_ALL = np.arange(LEVELS + 1, dtype=np.uint8).reshape(1, -1)
_INT32 = 1 << 31
_NAMED = 4  # layers that a refusal names


def to_integer(network: Quantized, preprocess: Preprocess, *, name: str = "") -> IntegerProgram:
    """The network in whole numbers. ExportError, which names them, when some of its layers compute in float32."""
    return _Lowering(network, preprocess).program(name)


class _Goal(NamedTuple):
    """Where a node's result goes: the name that it gets, its grid, and the rectifier on the way if there is one."""

    name: str
    grid: Grid
    rectifier: ops.Activation | None

    @property
    def ends(self) -> Ends:
        if self.rectifier is None:
            return Ends(self.grid.zero)
        top = int(self.grid.quantize(np.full(1, 6, np.float32))[0]) if self.rectifier.function == "relu6" else LEVELS
        return Ends(self.grid.zero, self.grid.zero, top)

    def table(self, values: Array) -> Levels:
        """The levels of 256 values."""
        if self.rectifier is not None:
            values = compute(self.rectifier, [values], {})
        return self.grid.quantize(values).reshape(-1)


class _Lowering:
    def __init__(self, network: Quantized, preprocess: Preprocess) -> None:
        self._network = network
        self._graph = network.graph
        self._preprocess = preprocess
        self._readers = network.graph.readers()
        self._grids = dict(network.grids)  # and those of what only moves values, which lie where they lay before
        self._made: dict[str, str] = {INPUT: INPUT}  # a node with levels → the tensor that holds them
        self._answers: dict[str, tuple[str, float]] = {}  # a node in int32 → (its tensor, what a step is worth)
        self._shapes: dict[str, Map] = {INPUT: _map(network.graph.input)}
        self._steps: dict[str, Step] = {}
        self._floats: list[Node] = []

    def program(self, name: str) -> IntegerProgram:
        graph, grids = self._graph, self._network.grids
        if len(graph.outputs) != 1 or graph.input[0] != 3:
            raise ExportError(
                f"a network of {graph.input[0]} channels and {len(graph.outputs)} outputs has no program in integers; "
                "export one that classifies colour pictures"
            )
        if INPUT not in grids:
            self._floats = [node for node in graph.nodes if INPUT in node.inputs]
            self._refuse()
        for node in graph.nodes:
            if node.name not in self._made:
                self._node(node)
        output = graph.outputs[0]
        if self._floats or not (output in self._made or output in self._answers):
            self._refuse()
        if output not in self._answers:
            self._answer(graph.by_name[output], output)
        tensor, step = self._answers[output]
        made = {**self._made, **{node: made for node, (made, _) in self._answers.items()}}
        steps = self._needed(tensor)
        kept = {INPUT, *(one.name for one in steps)}
        return IntegerProgram(
            name, self._pixels(), {n: s for n, s in self._shapes.items() if n in kept},
            {n: self._grids[n] for n in kept - {tensor}}, steps,
            {node: t for node, t in made.items() if t in kept}, tensor, step, cost(graph).macs,
        )  # fmt: skip

    def _refuse(self) -> None:
        names = [f"{node.name} ({node.op.kind})" for node in self._floats]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise ExportError(
            f"{', '.join(names[:_NAMED])}{more} compute in float32, which a program in integers cannot; quantize the "
            "network again to int8 with --integers-only, or export it to another format"
        )

    def _needed(self, output: str) -> tuple[Step, ...]:
        """The steps that the answer is made of; a gate that went into a table is not."""
        wanted = {output}
        for step in reversed(self._steps.values()):
            if step.name in wanted:
                wanted.update(step.inputs)
        return tuple(step for step in self._steps.values() if step.name in wanted)

    def _pixels(self) -> tuple[tuple[int, Levels], ...]:
        """Normalised as every session does it, then put on the input's grid."""
        multiplier, offset = (np.asarray(v, np.float32) for v in self._preprocess.affine())
        values = _ALL.reshape(-1, 1) * multiplier + offset
        order = (2, 1, 0) if self._preprocess.channels == "bgr" else (0, 1, 2)
        grid = self._network.grids[INPUT]
        return tuple((order[c], grid.quantize(values[:, c])) for c in range(3))

    def _node(self, node: Node) -> None:
        """Adds the steps of one node."""
        if isinstance(node.op, ops.Dropout | ops.DropPath | ops.Flatten) and self._same(node):
            return
        if any(name not in self._made for name in node.inputs):
            self._floats.append(node)
            return
        goal = self._goal(node)
        if goal is None:
            self._answer(node, node.name)
            return
        lower = _LOWERINGS.get(type(node.op))
        if lower is None or (isinstance(node.op, ops.Conv2d | ops.Linear) and not self._network.is_int8(node.name)):
            self._floats.append(node)
            return
        lower(self, node, goal)

    def _same(self, node: Node) -> bool:
        """Whether a node only gives on what it reads; then its readers read that."""
        source = node.inputs[0]
        if source in self._answers:
            self._answers[node.name] = self._answers[source]
            return True
        several = isinstance(node.op, ops.Flatten) and math.prod(self._graph.shape(source)[1:]) > 1
        if (
            several
            or source not in self._made
            or self._grids.setdefault(node.name, self._grid(source)) != self._grid(source)
        ):
            return False
        self._made[node.name] = self._made[source]
        return True

    def _goal(self, node: Node) -> _Goal | None:
        """None for what computes something, has no grid, and nothing with one behind it that rectifies or moves."""
        goal = self._ahead(node)
        read = {self._grid(name) for name in node.inputs}
        if goal is None and _moves(node.op) and len(read) == 1:
            goal = _Goal(node.name, read.pop(), None)
        if goal is not None and goal.name == node.name:
            self._grids[node.name] = goal.grid
        return goal

    def _ahead(self, node: Node) -> _Goal | None:
        """The goal that a node has by its own grid, or by that of the only one that reads it."""
        grids, after = self._grids, self._readers[node.name]
        if node.name in grids:
            return _Goal(node.name, grids[node.name], None)
        if len(after) != 1 or node.name in self._graph.outputs:
            return None
        op = after[0].op
        if isinstance(op, ops.Activation) and op.function in ("relu", "relu6") and after[0].name in grids:
            return _Goal(after[0].name, grids[after[0].name], op)
        if _moves(op) and after[0].name not in grids:
            behind = self._ahead(after[0])
            return behind and behind._replace(name=node.name)
        return None

    def _answer(self, node: Node, name: str) -> None:
        """A node whose result has no grid: the answer, if it is a layer's sums or levels as they are."""
        if name in self._made:
            self._total(name, self._made[name], self._grid(name))
        elif isinstance(node.op, ops.Conv2d | ops.Linear) and self._network.is_int8(name):
            self._layer(node, None)
        elif isinstance(node.op, ops.GlobalAvgPool):
            source = node.inputs[0]
            grid = self._grid(source)
            self._total(
                name, self._made[source], Grid(grid.scale / math.prod(self._graph.shape(source)[1:]), grid.zero)
            )
        else:
            self._floats.append(node)

    def _total(self, name: str, source: str, grid: Grid) -> None:
        tensor = f"{name}:answer"
        self._add(Total(tensor, (source,), grid.zero), (self._shapes[source][0], 1, 1))
        self._answers[name] = (tensor, grid.scale)

    def _add(self, step: Step, shape: Shape) -> None:
        self._steps[step.name] = step
        self._shapes[step.name] = _map(shape)

    def _put(self, step: Step, node: Node, goal: _Goal) -> None:
        """A step whose levels are those of the node's goal."""
        self._add(step, node.shape)
        self._made[goal.name] = step.name

    def _grid(self, name: str) -> Grid:
        return self._grids[name]

    def _tensors(self, node: Node) -> tuple[str, ...]:
        return tuple(self._made[name] for name in node.inputs)

    def _layer(self, node: Node, goal: _Goal | None) -> None:
        network, tensors = self._network, self._network.tensors
        grid = self._grid(node.inputs[0])
        weight, bias = tensors[f"{node.name}.weight"], tensors[f"{node.name}.bias"]
        op = node.op if isinstance(node.op, ops.Conv2d) else ops.Conv2d(len(weight), bias=True)
        weight = weight.reshape(*weight.shape[:2], *op.kernel)
        steps = network.weight_scale(node.name).astype(np.float64) * grid.scale
        unit = goal.grid.scale if goal else float(steps.max())
        scales = tuple(Fixed.of(float(step)) for step in steps / unit)
        reach = max(grid.zero, LEVELS - grid.zero)
        sums = np.abs(weight.astype(np.int64)).sum((1, 2, 3)) * reach + np.abs(bias.astype(np.int64)) + 1
        if sums.max() >= _INT32 or (sums * steps / unit).max() >= _INT32 / 2:
            raise ExportError(f"the sums of {node.name} can leave 32 bits; quantize the network again")
        name = goal.name if goal else node.name
        ends = goal.ends if goal else None
        layer = Layer(name, self._tensors(node), replace(op, bias=False), weight, bias, scales, grid.zero, ends)
        if goal:
            self._put(layer, node, goal)
        elif math.prod(node.shape[1:]) == 1:
            self._add(layer, node.shape)
            self._answers[node.name] = (name, unit)
        else:
            self._floats.append(node)

    def _activation(self, node: Node, goal: _Goal) -> None:
        x, op = self._grid(node.inputs[0]), node.op
        top = clipped_levels(node, self._network.grids) if node.name in self._network.grids else None
        if top is not None:
            table = np.minimum(_ALL, np.uint8(top)).reshape(-1)
        else:
            table = goal.table(compute(op, [x.dequantize(_ALL)], {}))
        self._put(Lookup(goal.name, self._tensors(node), table), node, goal)

    def _sum(self, node: Node, goal: _Goal) -> None:
        grids = [self._grid(name) for name in node.inputs]
        if not self._meet(node):
            return
        ratios = [grid.scale / goal.grid.scale for grid in grids]
        # The widest multipliers with which the sum of all, at their largest, keeps inside 32 bits with a bit to spare.
        shift = min(30, math.floor(math.log2((1 << 30) / (LEVELS * sum(ratios) + 1))))
        if shift < 1:
            raise ExportError(f"the sums of {node.name} can leave 32 bits; quantize the network again")
        multipliers = tuple(round(ratio * 2.0**shift) for ratio in ratios)
        zeros = tuple(grid.zero for grid in grids)
        self._put(Sum(goal.name, self._tensors(node), zeros, multipliers, shift, goal.ends), node, goal)

    def _product(self, node: Node, goal: _Goal) -> None:
        if not self._meet(node):
            return
        first, second = sorted(node.inputs, key=lambda name: -math.prod(self._graph.shape(name)))
        a, b = self._grid(first), self._grid(second)
        fixed, ends = Fixed.of(a.scale * b.scale / goal.grid.scale), goal.ends
        inputs = self._made[first], self._made[second]
        for x, gate, zeros in ((*inputs, (a.zero, b.zero)), (*inputs[::-1], (b.zero, a.zero))):
            made = self._steps.get(gate)
            if isinstance(made, Lookup) and made.inputs == (x,):  # x · gate(x) is a function of x alone
                product = (_ALL[0].astype(np.int64) - zeros[0]) * (made.table.astype(np.int64) - zeros[1])
                value = (product * fixed.multiplier + (1 << (30 - fixed.shift))) >> (31 - fixed.shift)
                table = np.clip(value + ends.zero, ends.low, ends.high).astype(np.uint8)
                self._put(Lookup(goal.name, (x,), table), node, goal)
                return
        self._put(Product(goal.name, inputs, (a.zero, b.zero), fixed, ends), node, goal)

    def _meet(self, node: Node) -> bool:
        """Whether each input is as large as the result, or one pixel of all its channels; else the node is refused."""
        shapes = {_map(self._graph.shape(name)) for name in node.inputs}
        whole = _map(node.shape)
        if shapes <= {whole, (whole[0], 1, 1)} and whole in shapes:
            return True
        self._floats.append(node)
        return False

    def _highest(self, node: Node, goal: _Goal) -> None:
        op: Any = node.op
        table = self._regrid(node.inputs[0], goal)
        self._put(Highest(goal.name, self._tensors(node), op.kernel, op.stride, op.padding, table), node, goal)

    def _mean(self, node: Node, goal: _Goal) -> None:
        op: Any = node.op
        x = self._grid(node.inputs[0])
        if isinstance(op, ops.GlobalAvgPool):
            _, *size = _map(self._graph.shape(node.inputs[0]))
            op = ops.AvgPool((size[0], size[1]), (1, 1))
        pixels = math.prod(op.kernel)
        counts = [pixels] if op.count_padding or not any(op.padding) else range(1, pixels + 1)
        scales = tuple(Fixed.of(x.scale / (goal.grid.scale * count)) for count in counts)
        step = Mean(goal.name, self._tensors(node), op.kernel, op.stride, op.padding, x.zero, scales, goal.ends)
        self._put(step, node, goal)

    def _regrid(self, source: str, goal: _Goal) -> Levels | None:
        """What each level of ``source`` is on the goal's grid; None when it stays what it is."""
        x = self._grid(source)
        if x == goal.grid and goal.rectifier is None:
            return None
        return goal.table(x.dequantize(_ALL))

    def _scale(self, node: Node, goal: _Goal) -> None:
        table = goal.table(compute(node.op, [self._grid(node.inputs[0]).dequantize(_ALL)], {}))
        self._put(Lookup(goal.name, self._tensors(node), table), node, goal)

    def _gather(self, node: Node, goal: _Goal) -> None:
        parts: list[Part] = []
        at = node.op.before if isinstance(node.op, ops.PadChannels) else 0
        for name in node.inputs:
            tensor, table = self._made[name], self._regrid(name, goal)
            channels = self._graph.shape(name)[0]
            if isinstance(node.op, ops.Shuffle):
                groups, each = node.op.groups, channels // node.op.groups
                parts += [Part(tensor, g * each, each, g, groups, table) for g in range(groups)]
                continue
            start, count = (node.op.start, node.shape[0]) if isinstance(node.op, ops.Slice) else (0, channels)
            parts.append(Part(tensor, start, count, at, 1, table))
            at += count
        inputs = tuple(dict.fromkeys(self._tensors(node)))
        step = Gather(goal.name, inputs, node.shape[0], tuple(parts), goal.ends.zero)
        self._put(step, node, goal)

    def _flat(self, node: Node, goal: _Goal) -> None:
        table = self._regrid(node.inputs[0], goal)
        source = self._made[node.inputs[0]]
        if table is not None:
            name = f"{goal.name}:levels"
            self._add(Lookup(name, (source,), table), self._graph.shape(node.inputs[0]))
            self._grids[name], source = goal.grid, name
        self._put(Flat(goal.name, (source,)), node, goal)


def _moves(op: ops.Op) -> bool:
    """Whether an op gives values that it reads, and zeros, and nothing else."""
    single = isinstance(op, ops.AvgPool) and op.kernel == (1, 1) and not any(op.padding)
    return single or isinstance(op, ops.MaxPool | ops.Flatten | ops.Slice | ops.PadChannels | ops.Shuffle | ops.Concat)


def _map(shape: Shape) -> Map:
    """A vector as a map of one pixel."""
    channels, height, width = (*shape, 1, 1)[:3]
    return channels, height, width


_LOWERINGS: Mapping[type[ops.Op], Callable[[_Lowering, Node, Any], None]] = {
    ops.Conv2d: _Lowering._layer,
    ops.Linear: _Lowering._layer,
    ops.Activation: _Lowering._activation,
    ops.Add: _Lowering._sum,
    ops.Mul: _Lowering._product,
    ops.MaxPool: _Lowering._highest,
    ops.AvgPool: _Lowering._mean,
    ops.GlobalAvgPool: _Lowering._mean,
    ops.Scale: _Lowering._scale,
    ops.Concat: _Lowering._gather,
    ops.Slice: _Lowering._gather,
    ops.PadChannels: _Lowering._gather,
    ops.Shuffle: _Lowering._gather,
    ops.Flatten: _Lowering._flat,
}
