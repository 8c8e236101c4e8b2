"""Where training starts from: a fresh classifier on known weights, batch norm for folded networks, dropout's rates.

    graph = fresh_head(card.graph, classes=4)
    network = Network(graph)
    network.load_weights(start_weights(graph, bundle.weights()))

Everything here returns new values: graphs and tensors that come in stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.errors import GraphError, WeightsError
from eyespot.learn.module import Network
from eyespot.lower.fold import fold_graph
from eyespot.lower.tensors import Weights, check

Tensors = dict[str, NDArray[np.float32]]

_HEAD_DEVIATION = 0.01  # of a fresh classifier's weights: all classes start about equally likely
_AFTER_CLASSIFIER = (ops.Flatten, ops.GlobalAvgPool, ops.AvgPool, ops.Activation, ops.Softmax, ops.Dropout)


def classifiers(graph: Graph) -> dict[str, str]:
    """For each output, auxiliary ones too, the linear layer or convolution that makes its classes.

    GraphError for an output that comes from anything else.
    """
    return {output: _classifier(graph, output).name for output in graph.outputs}


def _classifier(graph: Graph, output: str) -> Node:
    name = output
    while name != INPUT:
        node = graph.by_name[name]
        if isinstance(node.op, ops.Linear | ops.Conv2d):
            return node
        if not isinstance(node.op, _AFTER_CLASSIFIER):
            break
        name = node.inputs[0]
    raise GraphError(
        f"output {output!r} comes from no classifier (a linear layer or a convolution, then at most an activation and "
        "a mean), so it cannot get other classes; draw a network that ends in one"
    )


def fresh_head(graph: Graph, classes: int) -> Graph:
    """The same network with ``classes`` outputs, in every head; all other nodes keep their names and tensors.

    GraphError for fewer than two classes, and for a network without a classifier.
    """
    if classes < 2:
        raise GraphError(f"{classes} classes came, a classifier needs two or more; add pictures of another class")
    heads = set(classifiers(graph).values())
    data = graph.to_json()
    for name, kind, _, attributes, *_ in data["nodes"]:
        if name in heads:
            attributes["features" if kind == ops.Linear.kind else "channels"] = classes
    return Graph.from_json(data)


def start_weights(graph: Graph, weights: Weights, *, seed: int = 0) -> Tensors:
    """All tensors of ``graph``: the classifiers' fresh, the others as they are in ``weights``.

    weights: of the same network with any classes; auxiliary heads may be absent, and start fresh then.
    WeightsError names what is missing or misshapen.
    """
    heads = set(classifiers(graph).values())
    train_only = {node.name for node in graph.nodes if node.train_only}
    fresh = Network(graph, seed=seed).export_weights()
    rng = np.random.default_rng(seed)
    out: Tensors = {}
    for name, tensor in fresh.items():
        node, short = name.rsplit(".", 1)
        if node in heads and short == "weight":
            out[name] = (_HEAD_DEVIATION * rng.standard_normal(tensor.shape)).astype(np.float32)
        elif node in heads or (node in train_only and name not in weights):
            out[name] = tensor
        elif name in weights:
            out[name] = np.array(weights[name], np.float32)
    missing = [name for name in fresh if name not in out]
    if missing:
        raise WeightsError(
            f"the weights to start from lack {len(missing)} of {len(fresh)} tensors, the first is {missing[0]}; "
            "start from weights of the same architecture"
        )
    check(graph, out)
    return out


def backbone_features(graph: Graph) -> str:
    """The node whose output the classifier reads; dropout between the two is passed over."""
    name = _classifier(graph, graph.outputs[0]).inputs[0]
    while name != INPUT and isinstance(graph.by_name[name].op, ops.Dropout):
        name = graph.by_name[name].inputs[0]
    return name


def backbone(graph: Graph) -> Graph:
    """The network up to its features, as a vector; a map that the classifier reads whole is averaged.

    Its one output is called 'features' where nothing else is. A linear classifier on it is the network's own, but for
    SqueezeNet's, which takes the mean after its classifier and a ReLU.
    """
    last = backbone_features(graph)
    kept = graph.upwards(last)
    nodes = [node for node in graph.nodes if node.name in kept]
    if len(graph.shape(last)) == 3:
        for role, op in (("pool", ops.GlobalAvgPool()), ("flatten", ops.Flatten())):
            shape = op.infer([nodes[-1].shape])
            nodes.append(Node(_free(graph, f"features_{role}"), op, (last,), shape))
            last = nodes[-1].name
    return Graph(graph.input, tuple(nodes), (last,), {s: n for s, n in graph.taps.items() if n in kept})


def _free(graph: Graph, name: str) -> str:
    while name in graph.by_name or name == INPUT:
        name += "_"
    return name


def with_rates(graph: Graph, *, dropout: float | None = None, drop_path: float | None = None) -> Graph:
    """The network with these rates while it trains; its tensors and what it computes otherwise stay the same.

    dropout: in front of the classifier, which gets a dropout if it has none. drop_path: stochastic depth's rate of the
    last residual block; it grows linearly with depth, and every block with an identity shortcut has it (Huang et al.
    2016, arXiv 1603.09382, section 3). None leaves what is drawn. GraphError for a rate outside 0 ≤ rate < 1.
    """
    for name, rate in (("dropout", dropout), ("drop_path", drop_path)):
        if rate is not None and not 0 <= rate < 1:
            raise GraphError(f"{name} is {rate}, a rate from 0 up to but not including 1 was needed")
    if drop_path is not None:
        branches = list(_residual_branches(graph))
        for i, (add, branch) in enumerate(branches, 1):
            graph = _with_op(graph, add, branch, ops.DropPath(drop_path * i / len(branches)), "drop_path")
    if dropout is not None:
        head = _classifier(graph, graph.outputs[0])
        graph = _with_op(graph, head.name, head.inputs[0], ops.Dropout(dropout), "dropout")
    return graph


def _residual_branches(graph: Graph) -> Iterator[tuple[str, str]]:
    """(sum, what it adds to its shortcut) of every block whose shortcut is the block's own input, in order."""
    for node in graph.nodes:
        if isinstance(node.op, ops.Add) and len(node.inputs) == 2:
            for shortcut, branch in (node.inputs, node.inputs[::-1]):
                inside = graph.upwards(branch, stop=shortcut)
                if branch != INPUT and INPUT not in inside and branch != shortcut:
                    yield node.name, branch
                    break


def _with_op(graph: Graph, reader: str, read: str, op: ops.Dropout | ops.DropPath, role: str) -> Graph:
    """The op between two nodes: in place of one of its kind that is there, else as a node of its own."""
    nodes = []
    for node in graph.nodes:
        if node.name == read and isinstance(node.op, type(op)):
            return replace(graph, nodes=tuple(replace(n, op=op) if n.name == read else n for n in graph.nodes))
        if node.name == reader:
            scope = reader.rpartition(".")[0]
            name = _free(graph, f"{scope}.{role}" if scope else role)
            nodes.append(Node(name, op, (read,), graph.shape(read), node.train_only))
            node = replace(node, inputs=tuple(name if n == read else n for n in node.inputs))  # noqa: PLW2901
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def restore_norms(
    graph: Graph, weights: Weights, batches: Iterable[Tensor], *, drawn: Graph | None = None
) -> tuple[Graph, Tensors]:
    """A folded network with its batch norms back: it computes the same, and can be trained.

    Each norm gets the mean and the variance of what its convolution makes of ``batches``, and as gain and bias the
    deviation and the mean (plus the convolution's bias), so that it does nothing until its statistics move.

    batches: inputs (n, channels, height, width) of the pictures to train on; some hundred pictures are enough.
    drawn: the network before it was folded, as the catalogue draws it; it comes back without its train-only nodes,
    and a network that never had norms (SqueezeNet) comes back unchanged. Without it, every convolution with a bias
    gets a norm, save classifiers and what sees means of whole maps (squeeze-excite gates).
    Raises GraphError when ``drawn`` does not fold to ``graph``, WeightsError when the weights do not fit.
    """
    check(graph, weights)
    target = with_norms(graph) if drawn is None else drawn.inference()
    if fold_graph(target) != graph:
        raise GraphError(
            "the network as drawn does not fold to the one that came; pass the arguments that it was drawn with"
        )
    removed = [node for node in target.nodes if node.name not in graph.by_name]
    norms = {_layer(graph, target, node): node for node in removed if isinstance(node.op, ops.BatchNorm)}
    out: Tensors = {name: np.array(weights[name], np.float32) for name in target.parameters if name in weights}
    for node in removed:
        if isinstance(node.op, ops.Scale):
            _unscale(out, _layer(graph, target, node), node.op.factor, norms)
    measured = _measured(graph, weights, norms, batches)
    for layer, norm in norms.items():
        mean, variance = measured[layer]
        bias = weights[f"{layer}.bias"].astype(np.float64)
        tensors = {
            "weight": np.sqrt(variance + (norm.op.eps if isinstance(norm.op, ops.BatchNorm) else 0.0)),
            "bias": mean,
            "running_mean": mean - bias,
            "running_var": variance,
        }
        out |= {f"{norm.name}.{short}": tensor.astype(np.float32) for short, tensor in tensors.items()}
        if f"{layer}.bias" in out:  # it lies in the norm now
            out[f"{layer}.bias"] = np.zeros_like(out[f"{layer}.bias"])
    check(target, out)
    return target, {name: out[name] for name in target.parameters}


def with_norms(graph: Graph) -> Graph:
    """The network with a batch norm behind every convolution that has a bias, which the norm's takes the place of.

    Classifiers stay as they are, and so do convolutions of means over whole maps: a squeeze-excite gate has none.
    """
    heads = set(classifiers(graph).values())
    pooled: set[str] = set()
    instead: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, ops.GlobalAvgPool) or pooled.issuperset(node.inputs):
            pooled.add(node.name)
        node = replace(node, inputs=tuple(instead.get(name, name) for name in node.inputs))  # noqa: PLW2901
        if isinstance(node.op, ops.Conv2d) and node.op.bias and node.name not in pooled | heads:
            scope = node.name.removesuffix(".conv")
            norm = _free(graph, f"{scope}.norm" if scope != node.name else f"{node.name}_norm")
            instead[node.name] = norm
            nodes.append(replace(node, op=replace(node.op, bias=False)))
            nodes.append(Node(norm, ops.BatchNorm(), (node.name,), node.shape, node.train_only))
        else:
            nodes.append(node)
    outputs = tuple(instead.get(name, name) for name in graph.outputs)
    taps = {stride: instead.get(name, name) for stride, name in graph.taps.items()}
    return Graph(graph.input, tuple(nodes), outputs, taps)


def _layer(graph: Graph, target: Graph, node: Node) -> str:
    """The layer of the folded graph that took this norm or scale in."""
    name = node.inputs[0]
    while name not in graph.by_name:
        name = target.by_name[name].inputs[0]
    return name


def _unscale(tensors: Tensors, layer: str, factor: float, norms: Mapping[str, Node]) -> None:
    """Takes the factor of a scale out of the layer that it was folded into."""
    if layer in norms:
        raise GraphError(f"{layer!r} has both a norm and a scale folded in, which cannot be told apart; draw it afresh")
    for name in (f"{layer}.weight", f"{layer}.bias"):
        if name in tensors:
            tensors[name] = (tensors[name].astype(np.float64) / factor).astype(np.float32)


class _Moments(NamedTuple):
    """Per channel, of what a layer computes, its bias included."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


@torch.no_grad()
def _measured(graph: Graph, weights: Weights, layers: Iterable[str], batches: Iterable[Tensor]) -> dict[str, _Moments]:
    """Mean and variance of these layers' outputs over all batches, in float64."""
    network = Network(graph).eval()
    network.load_weights(weights)
    sums: dict[str, tuple[int, Any, Any]] = {}

    def add(layer: str, output: Tensor) -> None:
        axes = [axis for axis in range(output.dim()) if axis != 1]
        count, total, squares = sums.get(layer, (0, 0.0, 0.0))
        wide = output.double()
        sums[layer] = count + output.numel() // output.shape[1], total + wide.sum(axes), squares + (wide**2).sum(axes)

    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: add(name, output))
        for name in layers
    ]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    if hooks and not sums:
        raise GraphError("no batches came to measure batch norm's statistics on; pass a hundred pictures or more")
    return {
        name: _Moments((total / count).numpy(), (squares / count - (total / count) ** 2).clamp(min=0).numpy())
        for name, (count, total, squares) in sums.items()
    }
