"""Folds batch norm and scales into the layer before them and drops what does nothing: fewer nodes, same function."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import Graph, Node
from eyespot.lower.numpy_ops import Array
from eyespot.lower.tensors import Weights, of_inference

Foldable = ops.Conv2d | ops.ConvTranspose2d | ops.Linear


def fold_graph(graph: Graph) -> Graph:
    """The network as it runs: no train-only nodes, no dropout, and batch norm or scale inside the layer before it.

    A norm or scale stays where folding would change something else: when it does not directly follow a convolution or
    linear layer, or when that layer has other readers, is an output or a tap. Whoever read a removed node reads the
    node before it; so do outputs and taps.
    """
    return _plan(graph).graph


def fold(graph: Graph, weights: Weights) -> tuple[Graph, dict[str, Array]]:
    """``fold_graph`` and its weights, computed in float64. WeightsError when the weights do not fit the graph."""
    folded, exact = fold_exactly(graph, weights)
    return folded, {name: value.astype(np.float32, copy=False) for name, value in exact.items()}


def fold_exactly(graph: Graph, weights: Weights) -> tuple[Graph, dict[str, NDArray[Any]]]:
    """``fold`` before it rounds: what changed is float64, what did not is the caller's own array."""
    inference, weights = of_inference(graph, weights)
    plan = _plan(graph)
    exact: dict[str, NDArray[Any]] = {}
    for layer, node in plan.folded:
        centre, scale, offset = _affine(node, weights)
        name, bias_name = f"{layer}.weight", f"{layer}.bias"
        weight = exact.get(name, weights[name])
        bias = exact.get(bias_name, weights.get(bias_name, np.zeros(1)))
        axis = 1 if isinstance(inference.by_name[layer].op, ops.ConvTranspose2d) else 0  # of its outputs
        exact[name] = weight * np.expand_dims(scale, [i for i in range(weight.ndim) if i != axis])
        exact[bias_name] = (bias - centre) * scale + offset
    return plan.graph, {name: exact[name] if name in exact else weights[name] for name in plan.graph.parameters}


def _affine(node: Node, weights: Weights) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(centre, scale, offset) of a norm or scale that computes (x - centre) · scale + offset; vectors over channels."""
    if isinstance(node.op, ops.Scale):
        return np.zeros(1), np.array([node.op.factor]), np.zeros(1)
    eps = node.op.eps if isinstance(node.op, ops.BatchNorm) else 0.0  # it is: only these two fold
    mean, variance = (weights[f"{node.name}.running_{short}"].astype(np.float64) for short in ("mean", "var"))
    return mean, weights[f"{node.name}.weight"] / np.sqrt(variance + eps), weights[f"{node.name}.bias"]


class _Plan(NamedTuple):
    graph: Graph
    folded: list[tuple[str, Node]]  # (the layer that takes it in, the norm or scale), in order of execution


def _plan(graph: Graph) -> _Plan:
    graph = graph.inference()
    instead: dict[str, str] = {}  # removed node → the node that its readers read instead

    def now(name: str) -> str:
        while name in instead:
            name = instead[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, ops.Dropout | ops.DropPath):
            instead[node.name] = node.inputs[0]
    kept = [node for node in graph.nodes if node.name not in instead]
    read = Counter(now(name) for node in kept for name in node.inputs)
    read.update(now(name) for name in (*graph.outputs, *graph.taps.values()))
    folded: list[tuple[str, Node]] = []
    nodes: dict[str, Node] = {}
    for node in kept:
        before = nodes.get(now(node.inputs[0]))
        foldable = isinstance(node.op, ops.BatchNorm | ops.Scale)
        if foldable and before and isinstance(before.op, Foldable) and read[before.name] == 1:
            instead[node.name] = before.name
            read[before.name] = read[node.name]
            folded.append((before.name, node))
            bias = before.op.bias or isinstance(node.op, ops.BatchNorm)  # nothing times a factor stays nothing
            nodes[before.name] = replace(before, op=replace(before.op, bias=bias))
        else:
            nodes[node.name] = replace(node, inputs=tuple(now(name) for name in node.inputs))
    outputs = tuple(now(name) for name in graph.outputs)
    taps = {stride: now(name) for stride, name in graph.taps.items()}
    return _Plan(Graph(graph.input, tuple(nodes.values()), outputs, taps), folded)
