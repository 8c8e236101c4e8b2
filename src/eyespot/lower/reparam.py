"""Re-parameterises: parallel branches that were trained side by side become the one convolution that they sum to.

RepVGG and MobileOne are built on it (2101.03697, section 3.3); it works on any sum of convolutions, batch norms and the
plain input that read the same map with the same geometry.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import Graph, Node
from eyespot.lower.fold import fold_exactly, fold_graph
from eyespot.lower.numpy_ops import Array
from eyespot.lower.tensors import Weights

Array64 = NDArray[np.float64]
Exact = dict[str, NDArray[Any]]  # tensors of a folded graph, not yet rounded


def reparam_graph(graph: Graph) -> Graph:
    """The network as it is deployed: folded (``fold_graph``), and parallel branches of a sum made one convolution.

    Branches join when they read the same map and nobody else reads them: convolutions of one stride, dilation and
    groups whose kernels lie inside the largest one's, batch norms, and the map itself. The largest convolution takes
    the others in and keeps its name; a sum of which nothing else is left goes, and its readers read that convolution.
    A network without such sums comes back folded and otherwise as it is.
    """
    return _plan(fold_graph(graph)).graph


def reparam(graph: Graph, weights: Weights) -> tuple[Graph, dict[str, Array]]:
    """``reparam_graph`` and its weights, computed in float64 and rounded once. WeightsError when they do not fit."""
    folded, exact = fold_exactly(graph, weights)
    plan = _plan(folded)
    for merge in plan.merges:
        carrier = folded.by_name[merge.carrier]
        weight = exact[f"{carrier.name}.weight"].astype(np.float64)
        bias = _bias(exact, carrier)
        for branch in merge.branches:
            kernel, offset = _as_convolution(branch.node, exact, *weight.shape[:2])
            rows, columns = (slice(at, at + n) for at, n in zip(branch.at, kernel.shape[2:], strict=True))
            weight[:, :, rows, columns] += kernel
            bias = bias + offset
        exact[f"{carrier.name}.weight"], exact[f"{carrier.name}.bias"] = weight, bias
    return plan.graph, {name: exact[name].astype(np.float32) for name in plan.graph.parameters}


class _Branch(NamedTuple):
    """What a carrier takes in: a convolution or a batch norm; None: the map itself.

    at: the row and column of the carrier's kernel at which this one's begins.
    """

    node: Node | None
    at: tuple[int, int]


class _Merge(NamedTuple):
    carrier: str
    branches: list[_Branch]


class _Plan(NamedTuple):
    graph: Graph
    merges: list[_Merge]  # in order of execution


def _plan(graph: Graph) -> _Plan:
    """graph: folded."""
    read = Counter(name for node in graph.nodes for name in node.inputs)
    read.update((*graph.outputs, *graph.taps.values()))
    nodes: dict[str, Node] = {}
    instead: dict[str, str] = {}  # a sum that is gone → the convolution that computes it
    merges: list[_Merge] = []
    for drawn in graph.nodes:
        node = replace(drawn, inputs=tuple(instead.get(name, name) for name in drawn.inputs))
        found = _merge(node, graph.input, nodes, read) if isinstance(node.op, ops.Add) else []
        merges += found
        left = list(node.inputs)
        for carrier, branches in found:
            op, (x,) = _conv(nodes[carrier]), nodes[carrier].inputs
            nodes[carrier] = replace(nodes[carrier], op=replace(op, bias=True))
            for branch in branches:
                left.remove(branch.node.name if branch.node else x)
                if branch.node:
                    del nodes[branch.node.name]
        if found and len(left) == 1:
            instead[node.name] = left[0]
            read[left[0]] = read[node.name]
        else:
            nodes[node.name] = replace(node, inputs=tuple(left))
    outputs = tuple(instead.get(name, name) for name in graph.outputs)
    taps = {stride: instead.get(name, name) for stride, name in graph.taps.items()}
    return _Plan(Graph(graph.input, tuple(nodes.values()), outputs, taps), merges)


def _merge(add: Node, shape: tuple[int, ...], nodes: Mapping[str, Node], read: Mapping[str, int]) -> list[_Merge]:
    """What can join in one sum; the largest kernels take the others in. shape: the network's input."""
    alone = [nodes[name] for name in add.inputs if name in nodes and read[name] == 1]
    convolutions = [node for node in alone if isinstance(node.op, ops.Conv2d)]
    taken: set[str] = set()
    merges = []
    for carrier in sorted(convolutions, key=lambda node: -math.prod(_conv(node).kernel)):
        if carrier.name in taken:
            continue
        (x,) = carrier.inputs
        branches = []
        if carrier.shape == (nodes[x].shape if x in nodes else shape) and x not in taken:
            branches += [_Branch(None, at) for name in add.inputs if name == x and (at := _inside(None, carrier))]
        for node in alone:
            same = node is not carrier and node.inputs == (x,) and node.shape == carrier.shape
            if same and node.name not in taken and (at := _inside(node.op, carrier)):
                branches.append(_Branch(node, at))
        if branches:
            merges.append(_Merge(carrier.name, branches))
            taken |= {carrier.name, *(branch.node.name if branch.node else x for branch in branches)}
    return merges


def _inside(op: ops.Op | None, carrier: Node) -> ops.Pair | None:
    """The row and column of the carrier's kernel from which it does what ``op`` does; None when it cannot.

    op: None is the map itself.
    """
    large = _conv(carrier)
    if op is None or isinstance(op, ops.BatchNorm):  # a 1×1 convolution, in groups of any size
        op = ops.Conv2d(groups=large.groups)
    if not isinstance(op, ops.Conv2d) or op.stride != large.stride or op.groups != large.groups:
        return None
    at = []
    for axis in (0, 1):
        step = large.dilation[axis]
        start, rest = divmod(large.padding[axis] - op.padding[axis], step)
        if rest or not 0 <= start <= large.kernel[axis] - op.kernel[axis]:
            return None
        if op.kernel[axis] > 1 and op.dilation[axis] != step:
            return None
        at.append(start)
    return at[0], at[1]


def _conv(node: Node) -> ops.Conv2d:
    return cast("ops.Conv2d", node.op)


def _as_convolution(node: Node | None, exact: Exact, channels: int, inputs: int) -> tuple[Array64, Array64]:
    """The kernel and the bias with which a branch is a convolution to ``channels``, whose filters read ``inputs``."""
    if node is not None and isinstance(node.op, ops.Conv2d):
        return exact[f"{node.name}.weight"].astype(np.float64), _bias(exact, node)
    each = np.arange(channels)
    kernel = np.zeros((channels, inputs, 1, 1))
    kernel[each, each % inputs] = 1
    if node is None or not isinstance(node.op, ops.BatchNorm):
        return kernel, np.zeros(channels)
    scale, offset, mean, variance = (
        exact[f"{node.name}.{short}"].astype(np.float64) for short in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + node.op.eps)
    return kernel * scale[:, None, None, None], offset - mean * scale


def _bias(exact: Exact, node: Node) -> Array64:
    return exact.get(f"{node.name}.bias", np.zeros(node.shape[0])).astype(np.float64)
