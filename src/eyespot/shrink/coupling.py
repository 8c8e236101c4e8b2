"""Which channels of a network can only be removed together: those of a sum, of a gate and what it gates, of a group.

    coupling = couple(graph)
    coupling.labels["stage2.block1.expand.conv"]     # the class of each of its channels

A *class* is a set of channels that are kept or removed as one; each channel of each map belongs to one. A *group* is
the classes that are made by the same layers: by one, or by several whose outputs are added. Channels that may not be
removed, the picture's and the answers', are in classes that are not free; so is whatever an op that is unknown here
reads or makes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.ops import Op, Shape

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# What gives each channel of its one input a channel of its own, in the same place.
_PASSES = (
    ops.BatchNorm, ops.Activation, ops.MaxPool, ops.AvgPool, ops.GlobalAvgPool, ops.Resize, ops.Scale, ops.Dropout,
    ops.DropPath,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """Classes that the same layers make. name: the first of these; makers: all of them.

    width: how many of the first one's channels belong to one class. classes: their numbers.
    """

    name: str
    makers: tuple[str, ...]
    width: int
    classes: Ints

    @property
    def channels(self) -> int:
        """How many channels the first maker has in it."""
        return len(self.classes) * self.width


@dataclass(frozen=True, eq=False)
class Coupling:
    """What goes with what in ``graph``.

    labels: for the input and each node the class (n,) of each channel or feature of its output. free: for each class,
    whether it may be removed. whole: convolutions that lose whole groups of theirs, input and output together, as
    depthwise ones do.
    """

    graph: Graph
    labels: Mapping[str, Ints]
    free: Bools
    whole: frozenset[str]
    groups: tuple[Group, ...]

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.free)

    def everything(self) -> Bools:
        """The choice that keeps all."""
        return np.ones(self.classes, np.bool_)

    def readers(self) -> tuple[Node, ...]:
        """The layers whose weights read classes that their outputs do not belong to: without a class, a column goes."""
        layers = (ops.Conv2d, ops.ConvTranspose2d, ops.Linear)
        return tuple(n for n in self.graph.nodes if isinstance(n.op, layers) and n.name not in self.whole)


def couple(graph: Graph) -> Coupling:
    """The classes of a network's channels; its train-only nodes are left out."""
    graph = graph.inference()
    walk = _Walk(graph)
    for node in graph.nodes:
        walk.visit(node)
    for name in graph.outputs:
        walk.pin(walk.labels[name])
    return walk.coupling()


class _Walk:
    """Goes through the nodes in order, with the sets so far as a forest of parents (union-find)."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parents: list[int] = []
        self._pinned: list[int] = []
        self._whole: set[str] = set()
        self.labels: dict[str, Ints] = {INPUT: self._fresh(graph.input[0])}
        self.pin(self.labels[INPUT])

    def visit(self, node: Node) -> None:
        inputs = [self.labels[name] for name in node.inputs]
        shapes = self._graph.input_shapes(node)
        if isinstance(node.op, _PASSES):
            self.labels[node.name] = inputs[0]
        elif type(node.op) in _VISITS:
            self.labels[node.name] = _VISITS[type(node.op)](self, node, inputs, shapes)
        else:
            self.labels[node.name] = self._fresh(node.shape[0])
            for labels in (*inputs, self.labels[node.name]):
                self.pin(labels)

    def pin(self, labels: Ints) -> None:
        """These may not be removed."""
        self._pinned += labels.tolist()

    def coupling(self) -> Coupling:
        """What was found, the classes numbered in the order in which they appear."""
        numbers: dict[int, int] = {}
        labels = {
            name: np.array([numbers.setdefault(self._root(i), len(numbers)) for i in found.tolist()], np.int64)
            for name, found in self.labels.items()
        }
        free = np.ones(len(numbers), np.bool_)
        free[[numbers[root] for root in map(self._root, self._pinned) if root in numbers]] = False
        return Coupling(self._graph, labels, free, frozenset(self._whole), _groups(self._graph, labels, free))

    def _fresh(self, count: int) -> Ints:
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count, dtype=np.int64)

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label

    def _unite(self, first: Ints, second: Ints) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            a, b = self._root(a), self._root(b)  # noqa: PLW2901
            self._parents[max(a, b)] = min(a, b)

    def conv(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        op = node.op
        assert isinstance(op, ops.Conv2d)  # noqa: S101  # _VISITS is keyed by the op's type
        read, made = inputs[0], self._fresh(op.channels)
        if op.groups == 1:
            return made
        table, outputs = read.reshape(op.groups, -1), made.reshape(op.groups, -1)
        if min(table.shape[1], outputs.shape[1]) < op.groups:  # many small groups: they go whole
            self._whole.add(node.name)
            for row in (*table, *outputs):
                self._unite(row[:-1], row[1:])
            self._unite(table[:, 0], outputs[:, 0])
        else:  # a few large ones: each loses as many
            self._pair(table)
            for row in outputs[1:]:
                self._unite(outputs[0], row)
        return made

    def _pair(self, table: Ints) -> None:
        """Couples each channel of a group with one of every other, so that each keeps as many.

        Which with which is free. Sets that lie within a group come first, so that few that were apart are united.
        """
        roots = [[self._root(label) for label in row] for row in table.tolist()]
        seen = Counter(root for row in roots for root in set(row))
        within = [{root for root in row if seen[root] == 1} for row in roots]
        order = [
            [i for _, _, i in sorted((root not in inside, root, i) for i, root in enumerate(row))]
            for row, inside in zip(roots, within, strict=True)
        ]
        for row, places in zip(table[1:], order[1:], strict=True):
            self._unite(table[0][order[0]], row[places])

    def linear(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        return self._fresh(node.shape[0])

    def flatten(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        return np.repeat(inputs[0], math.prod(shapes[0][1:]))

    def meet(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        """Sums and products: channels in the same place go together; one that is stretched over all stays."""
        full = [labels for labels in inputs if len(labels) == node.shape[0]]
        for labels in inputs:
            if len(labels) == node.shape[0]:
                self._unite(full[0], labels)
            else:
                self.pin(labels)
        return full[0]

    def concat(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        return np.concatenate(inputs)

    def slice(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        assert isinstance(node.op, ops.Slice)  # noqa: S101
        return inputs[0][node.op.start : node.op.stop]

    def pad(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        assert isinstance(node.op, ops.PadChannels)  # noqa: S101
        return np.concatenate([self._fresh(node.op.before), inputs[0], self._fresh(node.op.after)])

    def shuffle(self, node: Node, inputs: list[Ints], shapes: list[Shape]) -> Ints:
        """What is left is shuffled as before only if every row of the table loses the same columns."""
        assert isinstance(node.op, ops.Shuffle)  # noqa: S101
        table = inputs[0].reshape(node.op.groups, -1)
        for row in table[1:]:
            self._unite(table[0], row)
        return table.T.reshape(-1)


_VISITS: Mapping[type[Op], Callable[[_Walk, Node, list[Ints], list[Shape]], Any]] = {
    ops.Conv2d: _Walk.conv,
    ops.ConvTranspose2d: _Walk.linear,
    ops.Linear: _Walk.linear,
    ops.Flatten: _Walk.flatten,
    ops.Add: _Walk.meet,
    ops.Mul: _Walk.meet,
    ops.Concat: _Walk.concat,
    ops.Slice: _Walk.slice,
    ops.PadChannels: _Walk.pad,
    ops.Shuffle: _Walk.shuffle,
}


def _groups(graph: Graph, labels: Mapping[str, Ints], free: Bools) -> tuple[Group, ...]:
    """The free classes that the same layers make, and that lie in the same slices, are a group."""
    kinds = (ops.Conv2d, ops.ConvTranspose2d, ops.Linear, ops.Slice)
    places: dict[int, list[str]] = {}
    for node in graph.nodes:
        if isinstance(node.op, kinds):
            for number in np.unique(labels[node.name]).tolist():
                if free[number]:
                    places.setdefault(number, []).append(node.name)
    together: dict[tuple[str, ...], list[int]] = {}
    for number in sorted(places):
        together.setdefault(tuple(places[number]), []).append(number)
    found = []
    for names, classes in together.items():
        makers = tuple(name for name in names if not isinstance(graph.by_name[name].op, ops.Slice))
        width = int((labels[makers[0]] == classes[0]).sum())
        found.append(Group(makers[0], makers, width, np.array(classes, np.int64)))
    return tuple(found)
