"""A network with some of its channels left out: a graph of its own with the source's names, and its sliced tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.ops import Op, Shape
from eyespot.errors import GraphError
from eyespot.lower.tensors import Weights, check
from eyespot.shrink.coupling import Bools, Coupling

Floats = NDArray[np.float32]


def narrow(coupling: Coupling, kept: Bools) -> Graph:
    """The network with the classes of ``kept`` (one bool each) only; nodes, names, outputs and taps stay.

    GraphError when a class that is not free would go, or a map would be left without channels.
    """
    if not kept[~coupling.free].all():
        raise GraphError("a channel of the picture or of the answers was to be removed; keep all that are not free")
    graph = coupling.graph
    shapes: dict[str, Shape] = {INPUT: graph.input}
    nodes = []
    for node in graph.nodes:
        op = narrow_op(coupling, node, kept)
        shapes[node.name] = op.infer([shapes[name] for name in node.inputs])
        nodes.append(replace(node, op=op, shape=shapes[node.name]))
    return Graph(graph.input, tuple(nodes), graph.outputs, graph.taps)


def narrow_weights(coupling: Coupling, kept: Bools, weights: Weights) -> dict[str, Floats]:
    """The tensors of ``narrow(coupling, kept)``, cut out of the whole network's. WeightsError if they do not fit it."""
    check(coupling.graph, weights)
    out: dict[str, Floats] = {}
    for node in coupling.graph.nodes:
        made = kept[coupling.labels[node.name]]
        read = kept[coupling.labels[node.inputs[0]]]
        for parameter in coupling.graph.parameters_of(node):
            tensor = weights[parameter.name]
            cut = tensor[made] if tensor.ndim == 1 else _CUTS[type(node.op)](coupling, node, tensor, made, read)
            out[parameter.name] = np.ascontiguousarray(cut, np.float32)
    return out


def narrow_op(coupling: Coupling, node: Node, kept: Bools) -> Op:
    """The op of a node for the channels that are left. GraphError when there are none."""
    op, made = node.op, kept[coupling.labels[node.name]]
    left = int(made.sum())
    if not left:
        raise GraphError(f"{node.name} would be left without channels; keep one or more")
    if isinstance(op, ops.Conv2d):
        groups = left * op.groups // op.channels if node.name in coupling.whole else op.groups
        return replace(op, channels=left, groups=groups)
    if isinstance(op, ops.ConvTranspose2d):
        return replace(op, channels=left)
    if isinstance(op, ops.Linear):
        return replace(op, features=left)
    if isinstance(op, ops.PadChannels):
        after = int(made[len(made) - op.after :].sum()) if op.after else 0
        return replace(op, before=int(made[: op.before].sum()), after=after)
    if isinstance(op, ops.Slice):
        start = int(kept[coupling.labels[node.inputs[0]]][: op.start].sum())
        return replace(op, start=start, stop=start + left)
    return op


def silence(coupling: Coupling, kept: Bools, weights: Weights) -> dict[str, Floats]:
    """The whole network's tensors with zeros wherever a channel that is not kept is read: it says what is left says.

    Removing a class is this, but for the work that it saves.
    """
    out = {name: np.array(tensor, np.float32) for name, tensor in weights.items()}
    for node in coupling.readers():
        read = kept[coupling.labels[node.inputs[0]]]
        weight = out[f"{node.name}.weight"]
        if isinstance(node.op, ops.Conv2d):
            table = read.reshape(node.op.groups, -1)
            for rows, columns in zip(np.split(weight, node.op.groups), table, strict=True):
                rows[:, ~columns] = 0
        elif isinstance(node.op, ops.Linear):
            weight[:, ~read] = 0
        else:
            weight[~read] = 0
    return out


def _conv(coupling: Coupling, node: Node, tensor: Floats, made: Bools, read: Bools) -> Floats:
    if node.name in coupling.whole:
        return tensor[made]
    assert isinstance(node.op, ops.Conv2d)  # noqa: S101  # _CUTS is keyed by the op's type
    columns = read.reshape(node.op.groups, -1)
    outputs = made.reshape(node.op.groups, -1)
    rows = np.split(tensor, node.op.groups)
    return np.concatenate([row[out][:, inside] for row, out, inside in zip(rows, outputs, columns, strict=True)])


_Cut = Callable[[Coupling, Node, Floats, Bools, Bools], Floats]
_CUTS: Mapping[type[Op], _Cut] = {
    ops.Conv2d: _conv,
    ops.ConvTranspose2d: lambda _, __, tensor, made, read: tensor[read][:, made],
    ops.Linear: lambda _, __, tensor, made, read: tensor[made][:, read],
}
