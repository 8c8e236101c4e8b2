"""Weights: the numbers of a Graph by name. Whether they fit it, and random ones that make it a lively network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.errors import GraphError, WeightsError
from eyespot.lower.numpy_ops import Array, compute

Weights = Mapping[str, Array]  # keyed like Graph.parameters: "stem.conv.weight"


def check(graph: Graph, weights: Mapping[str, Any]) -> None:
    """WeightsError, in one line, unless every tensor is there and none is left over, float32 and of its shape."""
    missing = [name for name in graph.parameters if name not in weights]
    left_over = [name for name in weights if name not in graph.parameters]
    problems = [f"{len(missing)} missing ({_some(missing)})"] if missing else []
    problems += [f"{len(left_over)} left over ({_some(left_over)})"] if left_over else []
    if problems:
        raise WeightsError(
            f"the weights do not fit the network's {len(graph.parameters)} tensors: {', '.join(problems)}; "
            "draw the network that they were trained for"
        )
    for parameter in graph.parameters.values():
        tensor = weights[parameter.name]
        if tuple(tensor.shape) != parameter.shape:
            raise WeightsError(
                f"{parameter.name} is {tuple(tensor.shape)}, but the network needs {parameter.shape}; "
                "draw the network with the width and the classes that it was trained with"
            )
        if tensor.dtype != np.float32:
            raise WeightsError(f"{parameter.name} is {tensor.dtype}, but the network needs float32; convert it first")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def of_inference(graph: Graph, weights: Weights) -> tuple[Graph, dict[str, Array]]:
    """The network without its train-only nodes, and its checked tensors; those of train-only nodes may be absent."""
    inference = graph.inference()
    kept = {n: w for n, w in weights.items() if n in inference.parameters or n not in graph.parameters}
    check(inference, kept)
    return inference, kept


def random_weights(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Random weights for all nodes, train-only ones too, under which the logits differ from picture to picture.

    He-like draws alone fade or explode within fifty layers. So a few random pictures are sent through the network as
    it is drawn, and each layer is set by what it sees: batch norms get its statistics, slightly off as real ones are;
    layers without one are centred and scaled. Gains, biases and statistics are all non-trivial. One seed, one result.
    """
    rng = np.random.default_rng(seed)
    small = _small(graph)
    values = {INPUT: _pictures(rng, small)}
    readers = graph.readers()
    left = Counter(name for node in graph.nodes for name in node.inputs)
    weights: dict[str, Array] = {}
    pooled: set[str] = set()  # what only means of whole maps go into
    for node in small.nodes:
        inputs = [values[name] for name in node.inputs]
        tensors: dict[str, Array]
        if isinstance(node.op, ops.BatchNorm):
            tensors = _norm(rng, inputs[0], branch=_ends_branch(graph, node, readers))
            values[node.name] = compute(node.op, inputs, tensors)
        elif parameters := list(small.parameters_of(node)):
            normed = any(isinstance(reader.op, ops.BatchNorm) for reader in readers[node.name])
            shapes = {p.name[len(node.name) + 1 :]: p.shape for p in parameters}
            gate = len(node.shape) == 3 and node.inputs[0] in pooled
            tensors, values[node.name] = _layer(rng, node, shapes, inputs, normed=normed, gate=gate)
        else:
            tensors = {}
            values[node.name] = compute(node.op, inputs, {})
        if isinstance(node.op, ops.GlobalAvgPool) or pooled.issuperset(node.inputs):
            pooled.add(node.name)
        weights |= {f"{node.name}.{short}": np.ascontiguousarray(t, np.float32) for short, t in tensors.items()}
        left.subtract(node.inputs)
        for name in {*node.inputs, node.name}:
            if not left[name]:
                del values[name]
    return weights


def _small(graph: Graph) -> Graph:
    """The same network for a small picture, where its weights are the same: to be quick."""
    channels, *size = graph.input
    for side in (64, 96, 128):
        try:
            small = Graph.from_json({**graph.to_json(), "input": [channels, *(min(n, side) for n in size)]})
        except GraphError:
            continue
        if small.parameters == graph.parameters:
            return small
    return graph


def _pictures(rng: np.random.Generator, graph: Graph) -> Array:
    """Pictures with both fine noise and large patches, four to sixteen of them."""
    channels, *size = graph.input
    n = min(max(2**15 // math.prod(size), 4), 16)
    noise = rng.normal(size=(n, *graph.input))
    patches = rng.normal(size=(n, channels, *(-(-pixels // 8) for pixels in size)))
    for axis, pixels in enumerate(size, 2):
        patches = patches.repeat(8, axis).take(range(pixels), axis)
    return (0.7 * patches + 0.7 * noise).astype(np.float32)


def _ends_branch(graph: Graph, norm: Node, readers: Mapping[str, list[Node]]) -> bool:
    """Whether this is the last norm of a residual branch: it goes into a sum, and is no projection of the shortcut,
    whose layer reads what the branch reads too."""
    layer = graph.by_name.get(norm.inputs[0])
    alone = layer is not None and len(readers[layer.inputs[0]]) == 1
    after = readers[norm.name]
    while len(after) == 1 and isinstance(after[0].op, ops.Dropout | ops.DropPath):
        after = readers[after[0].name]
    return alone and bool(after) and all(isinstance(reader.op, ops.Add) for reader in after)


def _norm(rng: np.random.Generator, x: Array, *, branch: bool) -> dict[str, Array]:
    """Statistics of ``x``, slightly off. Positive biases keep rectifiers open, a small gain keeps residual branches
    gentle: both so that rounding does not grow from layer to layer more than in a trained network."""
    axes = (0, *range(2, x.ndim))
    mean, variance, channels = x.mean(axes), x.var(axes), x.shape[1]
    variance = np.maximum(variance, 0.1 * variance.mean() + 1e-6)
    return {
        "weight": rng.uniform(0.8, 1.2, channels) * (0.2 if branch else 1),
        "bias": rng.normal(0, 0.1, channels) if branch else rng.uniform(0.5, 1.5, channels),
        "running_mean": mean + 0.1 * rng.normal(size=channels) * np.sqrt(variance),
        "running_var": variance * rng.uniform(0.8, 1.25, channels),
    }


def _layer(
    rng: np.random.Generator,
    node: Node,
    shapes: Mapping[str, tuple[int, ...]],
    inputs: list[Array],
    *,
    normed: bool,
    gate: bool,
) -> tuple[dict[str, Array], Array]:
    """A convolution or linear layer and what it makes. normed: a norm follows; otherwise the layer centres and scales.

    gate: it belongs to a squeeze-excite gate and sees means, which differ little from picture to picture: centring
    would magnify their rounding, so it only scales.
    """
    shape = shapes["weight"]
    fan_in = shape[0] if isinstance(node.op, ops.ConvTranspose2d) else math.prod(shape[1:])
    weight = rng.standard_normal(shape, np.float32) * np.float32(fan_in**-0.5)
    bias = rng.uniform(0.5, 1.5, node.shape[0]).astype(np.float32)
    y = compute(node.op, inputs, {"weight": weight})
    if not normed:
        axes = (0, *range(2, y.ndim))
        mean = np.zeros(y.shape[1], np.float32) if gate else y.mean(axes)
        spread = np.square(y - mean.reshape(-1, *[1] * (y.ndim - 2))).mean()
        scale = np.float32(1 / math.sqrt(float(spread) + 1e-12))
        weight, bias, y = weight * scale, bias - mean * scale, y * scale
    if "bias" not in shapes:
        return {"weight": weight}, y
    return {"weight": weight, "bias": bias}, y + bias.reshape(-1, *[1] * (y.ndim - 2))
