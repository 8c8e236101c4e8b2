"""Which channels go: those that matter least for the work they take, step by step until the rest is cheap enough."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.cost import cost
from eyespot.core.graph import Graph, Node
from eyespot.core.ops import Shape
from eyespot.errors import UsageError
from eyespot.lower.tensors import Weights
from eyespot.shrink.coupling import Bools, Coupling, Group, Ints
from eyespot.shrink.narrow import narrow_op

Scores = NDArray[np.float64]

MULTIPLE = 8  # channels of a layer that processors compute at once: layers keep multiples of it
FLOOR = 1 / 8  # of a group's channels are always kept
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


def wanted_macs(text: str, graph: Graph) -> int:
    """MACs that ``text`` asks for: '0.5x' is a share of the network's, '150M' a number (k, M, G).

    UsageError when it is neither, or is not less than what the network takes now.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgx]?)", text.strip().lower())
    if match is None:
        raise UsageError(f"--macs {text!r} is neither a share like 0.5x nor a number like 150M; write one of these")
    now = cost(graph).macs
    number, unit = float(match[1]), match[2]
    wanted = int(number * (now if unit == "x" else _UNITS[unit]))
    if not 0 < wanted < now:
        found = f"--macs {text} are {in_words(wanted)}, the network takes {in_words(now)}"
        raise UsageError(f"{found}; ask for fewer, and more than none")
    return wanted


def in_words(macs: int) -> str:
    """'150.3M MACs'."""
    return f"{macs / 1e6:.1f}M MACs" if macs >= 1e6 else f"{macs / 1e3:.1f}k MACs"


def magnitudes(coupling: Coupling, weights: Weights) -> Scores:
    """How large the weights are that make each class (classes,): squares, batch norm's scale in them, 1 on average.

    It needs no pictures; what is small may matter all the same.
    """
    norms = {node.inputs[0]: node for node in coupling.graph.nodes if isinstance(node.op, ops.BatchNorm)}
    total = np.zeros(coupling.classes)
    makers = np.zeros(coupling.classes)
    for name in {name for group in coupling.groups for name in group.makers}:
        node = coupling.graph.by_name[name]
        weight = np.asarray(weights[f"{name}.weight"], np.float64)
        if isinstance(node.op, ops.ConvTranspose2d):
            weight = weight.swapaxes(0, 1)
        sizes = np.square(weight).sum(tuple(range(1, weight.ndim)))
        if (norm := norms.get(name)) is not None and isinstance(norm.op, ops.BatchNorm):
            gain, variance = (np.asarray(weights[f"{norm.name}.{s}"], np.float64) for s in ("weight", "running_var"))
            sizes = sizes * gain**2 / (variance + norm.op.eps)
        labels = coupling.labels[name]
        np.add.at(total, labels, sizes / max(sizes.mean(), 1e-30))
        np.add.at(makers, labels, 1)
    return total / np.maximum(makers, 1)


def select(coupling: Coupling, scores: Scores, macs: int) -> Bools:
    """Which classes stay (classes,), so that the network takes ``macs`` at the most.

    scores: what is lost with each class, in any unit. Of all groups the one goes on whose next channels lose least for
    the MACs that they save, until it is enough. Groups keep a multiple of 8 channels (or nearly, where classes hold
    three or so) and an eighth of theirs; smaller ones stay as they are. UsageError, with the least that can be had,
    when that does not suffice.
    """
    kept = coupling.everything()
    work = _Work(coupling)
    total = start = cost(coupling.graph).macs
    queue: list[tuple[float, int]] = []
    left = [_steps(group, scores) for group in coupling.groups]
    for i, steps in enumerate(left):
        if steps:
            heapq.heappush(queue, (0.0, i))
    while total > macs:
        if not queue:
            raise UsageError(_too_few(start, total, macs))
        _, i = heapq.heappop(queue)
        step = left[i][-1]
        saved = work.saved(i, kept, step)
        price = float(scores[step].sum()) / max(saved, 1)
        if queue and price > queue[0][0]:  # prices only rise as other groups shrink: what was computed is the least
            heapq.heappush(queue, (price, i))
            continue
        kept[step] = False
        total -= saved
        left[i].pop()
        if left[i]:
            heapq.heappush(queue, (price, i))
    return kept


def _too_few(start: int, least: int, macs: int) -> str:
    if least == start:
        return "no layer has channels that can be removed (16 or more that nothing else holds); take another network"
    return (
        f"pruning reaches {in_words(least)} ({least / start:.2f}x) at the least, {in_words(macs)} were asked for; "
        "ask for more, or prune a smaller network"
    )


def _steps(group: Group, scores: Scores) -> list[Ints]:
    """The classes that go one after the other, the first at the end; each leaves a multiple of so many channels."""
    count = len(group.classes)
    unit = math.ceil(MULTIPLE / group.width)
    least = max(math.ceil(count * FLOOR / unit) * unit, unit)
    order = group.classes[np.argsort(scores[group.classes], kind="stable")]
    ends = [count - keep for keep in range(least, count, unit)]
    return [order[end - unit if i + 1 < len(ends) else 0 : end] for i, end in enumerate(ends)]


class _Work:
    """What a group's channels cost, by the ops' own count."""

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        graph = coupling.graph
        of = np.full(coupling.classes, len(coupling.groups))  # behind the last: those of no group
        for i, group in enumerate(coupling.groups):
            of[group.classes] = i
        self._nodes: list[list[Node]] = [[] for _ in range(len(coupling.groups) + 1)]
        for node in graph.nodes:
            if node.op.macs(graph.input_shapes(node), node.shape):
                labels = np.concatenate([coupling.labels[name] for name in (node.name, *node.inputs)])
                for i in np.unique(of[labels]).tolist():
                    self._nodes[i].append(node)

    def saved(self, group: int, kept: Bools, step: Ints) -> int:
        """MACs that the step of the group saves, of the network with what is kept now."""
        nodes = self._nodes[group]
        before = sum(self._macs(node, kept) for node in nodes)
        kept[step] = False
        after = sum(self._macs(node, kept) for node in nodes)
        kept[step] = True
        return before - after

    def _macs(self, node: Node, kept: Bools) -> int:
        op = narrow_op(self._coupling, node, kept)
        inputs = [self._shape(name, kept) for name in node.inputs]
        return op.macs(inputs, op.infer(inputs))

    def _shape(self, name: str, kept: Bools) -> Shape:
        whole = self._coupling.graph.shape(name)
        return int(kept[self._coupling.labels[name]].sum()), *whole[1:]


def widths(coupling: Coupling, kept: Bools) -> Mapping[str, tuple[int, int]]:
    """For each layer that makes channels, how many it had and has."""
    layers = (ops.Conv2d, ops.ConvTranspose2d, ops.Linear)
    found = [node.name for node in coupling.graph.nodes if isinstance(node.op, layers)]
    return {name: (len(coupling.labels[name]), int(kept[coupling.labels[name]].sum())) for name in found}
