"""What a network costs, in milliseconds of reading and before anything is built: parameters, MACs, peak activations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.ops import Activation, Add, BatchNorm, Dropout, DropPath, Flatten, Scale

BYTES = 4  # float32


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters are the trained tensors' elements; MACs are for one picture; activations are float32 bytes."""

    parameters: int
    macs: int
    peak_activation_bytes: int


@dataclass(frozen=True, slots=True)
class LayerCost:
    """The cost of one node."""

    node: Node
    parameters: int
    macs: int


def layers(graph: Graph) -> list[LayerCost]:
    """Cost node by node, in order of execution."""
    return [
        LayerCost(
            node,
            sum(math.prod(p.shape) for p in graph.parameters_of(node) if p.trained),
            node.op.macs(graph.input_shapes(node), node.shape),
        )
        for node in graph.nodes
    ]


def cost(graph: Graph) -> Cost:
    """The whole network as it runs: train-only nodes are left out."""
    graph = graph.inference()
    shapes = {INPUT: graph.input}
    parameters = macs = 0
    for node in graph.nodes:  # the sums of ``layers`` in one pass: a search for a network costs a thousand
        inputs = [shapes[name] for name in node.inputs]
        for shape in node.op.parameters(inputs).values():
            parameters += math.prod(shape)
        macs += node.op.macs(inputs, node.shape)
        shapes[node.name] = node.shape
    return Cost(parameters, macs, peak_activation_bytes(graph))


def training_parameters(graph: Graph) -> int:
    """Trained elements with the train-only nodes counted in (published figures of Inception count them)."""
    return sum(row.parameters for row in layers(graph))


_IN_PLACE = (Activation, BatchNorm, Dropout, DropPath, Flatten, Add, Scale)


def peak_activation_bytes(graph: Graph) -> int:
    """The most float32 activation memory alive at once, one picture, executed in order.

    A node's input is freed after its last reader; activations, batch norm and sums overwrite an input that nobody else
    still needs, as every runtime's memory planner arranges.
    """
    last: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            last[name] = i
    for name in graph.outputs:
        last[name] = len(graph.nodes)
    live = math.prod(graph.input)
    peak = live
    sizes = {INPUT: live}
    for i, node in enumerate(graph.nodes):
        size = sizes[node.name] = math.prod(node.shape)
        dying = {name: sizes[name] for name in node.inputs if last[name] == i}
        reused = isinstance(node.op, _IN_PLACE) and any(s == size for n, s in dying.items() if n != INPUT)
        peak = max(peak, live if reused else live + size)
        live += size - sum(dying.values())
        if node.name not in last:
            live -= size
    return peak * BYTES
