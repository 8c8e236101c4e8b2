"""Runs a Graph in numpy, one node after the other: the answer that every runtime must give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from eyespot.core.graph import INPUT, Graph, Node
from eyespot.errors import UsageError
from eyespot.lower.numpy_ops import Array, compute
from eyespot.lower.tensors import Weights, of_inference


def run(graph: Graph, weights: Weights, x: Array, *, keep: Collection[str] = ()) -> dict[str, Array]:
    """Outputs of the network for inference by name, and those of the nodes in ``keep``; each (n, *shape).

    x: float32 (n, channels, height, width), normalised. Every other map is freed after its last reader. UsageError for
    an input or a name that does not fit; WeightsError for weights that do not.
    """
    graph, weights = of_inference(graph, weights)
    if x.dtype != "float32" or x.shape[1:] != graph.input:
        raise UsageError(f"the input is {x.dtype} {x.shape}; this network reads float32 (n, {str(graph.input)[1:]}")
    unknown = [name for name in keep if name not in graph.by_name]
    if unknown:
        raise UsageError(f"cannot keep {unknown[0]!r}: the network has no such node; `eyespot show` lists them")
    wanted = {*graph.outputs, *keep}
    left = Counter(name for node in graph.nodes for name in node.inputs)
    values = {INPUT: x}
    for node in graph.nodes:
        values[node.name] = compute(node.op, [values[name] for name in node.inputs], tensors_of(graph, weights, node))
        left.subtract(node.inputs)
        for name in {*node.inputs, node.name} - wanted:
            if not left[name]:
                del values[name]
    return {name: values[name] for name in (*graph.outputs, *keep)}


def tensors_of(graph: Graph, weights: Weights, node: Node) -> dict[str, Array]:
    """The tensors of one node by their short names."""
    return {p.name[len(node.name) + 1 :]: weights[p.name] for p in graph.parameters_of(node)}
