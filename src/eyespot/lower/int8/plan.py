"""What a network becomes before it is quantized: deployed, reading grey levels, gates drawn; and what gets a grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import Preprocess
from eyespot.lower.numpy_ops import Array
from eyespot.lower.pixels import absorb_pixels, first_convolutions
from eyespot.lower.reparam import reparam
from eyespot.lower.tensors import Weights

LAYERS = (ops.Conv2d, ops.Linear)  # what has an integer kernel
_GATES: Mapping[str, ops.ActivationName] = {"silu": "sigmoid", "hard_swish": "hard_sigmoid"}
_RECTIFIERS = ("relu", "relu6")


class Ready(NamedTuple):
    """A network that can be quantized: the same function, to rounding, of the same pictures."""

    graph: Graph
    weights: dict[str, Array]
    preprocess: Preprocess


def make_ready(graph: Graph, weights: Weights, preprocess: Preprocess, *, grey: bool = True) -> Ready:
    """Folded and re-parameterised, reading grey levels where it can, with SiLU and hard-swish drawn as products.

    ``x · gate(x)`` has integer kernels where the whole function has none. Every layer has a bias, so that one can be
    corrected. Reading grey levels (``pixel - zero``) needs no arithmetic before the first layer; where that layer pads,
    its border sees ``zero`` instead of each channel's own mean, which differ by a few levels. Not with ``grey`` False.
    """
    graph, deployed = reparam(graph, weights)
    graph, deployed = _with_biases(_with_gates(graph), deployed)
    first = first_convolutions(graph) if grey else []
    if not first:
        return Ready(graph, deployed, preprocess)
    deployed, levels = absorb_pixels(graph, deployed, preprocess)
    zero = float(np.clip(np.rint(np.mean(levels.mean)), 0, 255))
    for node in first:
        weight = deployed[f"{node.name}.weight"].astype(np.float64)
        moved = (weight * (zero - np.array(levels.mean)).reshape(-1, 1, 1)).sum((1, 2, 3))
        deployed[f"{node.name}.bias"] = (deployed[f"{node.name}.bias"] + moved).astype(np.float32)
    return Ready(graph, deployed, replace(levels, mean=(zero, zero, zero)))


def _with_gates(graph: Graph) -> Graph:
    """SiLU and hard-swish as the product of their input with a node ``NAME.gate``."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, ops.Activation) and node.op.function in _GATES:
            gate = f"{node.name}.gate"
            nodes.append(replace(node, name=gate, op=replace(node.op, function=_GATES[node.op.function])))
            nodes.append(replace(node, op=ops.Mul(), inputs=(node.inputs[0], gate)))
        else:
            nodes.append(node)
    return Graph(graph.input, tuple(nodes), graph.outputs, graph.taps)


def _with_biases(graph: Graph, weights: dict[str, Array]) -> tuple[Graph, dict[str, Array]]:
    weights = dict(weights)
    nodes = []
    for node in graph.nodes:
        if isinstance(node.op, LAYERS) and not node.op.bias:
            weights[f"{node.name}.bias"] = np.zeros(node.shape[0], np.float32)
            nodes.append(replace(node, op=replace(node.op, bias=True)))
        else:
            nodes.append(node)
    return Graph(graph.input, tuple(nodes), graph.outputs, graph.taps), weights


def gridded(graph: Graph, floats: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """(layers in integers, names that get a grid), in order of execution, when the layers ``floats`` stay in float.

    Every value between integer layers has a grid, but not what a rectifier alone reads (the rectifier has), nor the
    network's outputs, nor what only float layers read.
    """
    readers = graph.readers()
    layers = [n.name for n in graph.nodes if isinstance(n.op, LAYERS) and n.name not in floats]
    grids: set[str] = set()
    for node in reversed(graph.nodes):
        after = readers[node.name]
        if node.name in graph.outputs or (len(after) == 1 and _rectifier(after[0])):
            continue
        wanted = any(reader.name in layers or reader.name in grids for reader in after)
        wanted |= _rectifier(node) and node.inputs[0] in layers and len(readers[node.inputs[0]]) == 1
        if node.name in floats and any(_gate(reader) for reader in after):
            continue  # a float layer's activation is computed in float as well
        if wanted or node.name in layers:
            grids.add(node.name)
    for node in graph.nodes:
        if _gate(node) and node.inputs[0] not in grids and node.name in grids:
            grids.remove(node.name)
    if any(reader.name in layers or reader.name in grids for reader in readers[INPUT]):
        grids.add(INPUT)
    return layers, [name for name in (INPUT, *graph.by_name) if name in grids]


def _rectifier(node: Node) -> bool:
    return isinstance(node.op, ops.Activation) and node.op.function in _RECTIFIERS


def _gate(node: Node) -> bool:
    return isinstance(node.op, ops.Activation) and node.op.function in _GATES.values()
