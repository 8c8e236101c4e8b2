"""Makes a Quantized network of a float one: integers of the weights, corrected biases, equalised channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.lower.int8.plan import LAYERS, Ready, gridded
from eyespot.lower.int8.quantized import LARGEST_WEIGHT, LEVELS, Grid, Quantized, as_bfloat16, column
from eyespot.lower.int8.ranges import Method, Seen, choose_grids, sharing
from eyespot.lower.int8.rounding import round_with_inputs
from eyespot.lower.numpy_ops import Array, compute

LARGEST_BIAS = 1 << 30  # of a bias in its own steps, so that sums keep inside 32 bits
_BEYOND = 1.25  # how much further than on calibration pictures a channel may reach after equalising
_STRETCH = 64.0  # by how much a channel is stretched at the most


@dataclass(frozen=True)
class Recipe:
    """How a network is quantized.

    method: of choosing ranges, but for the tensors in ``methods``. corrected: biases; rounded: weights by answers.
    floats: layers that stay in float32.
    """

    method: Method = "minmax"
    methods: tuple[tuple[str, Method], ...] = ()
    corrected: bool = False
    rounded: bool = False
    floats: frozenset[str] = frozenset()


@dataclass(eq=False)
class Evidence:
    """What calibration pictures showed of a network.

    seen: per tensor. means: per layer, its input's mean over the pictures, (channels, height, width) or (features,).
    moments: per layer, group by group, the mean product of each two values that its filters see, (groups, k, k).
    """

    seen: dict[str, Seen] = field(default_factory=dict)
    means: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    moments: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class Fitter:
    """Quantizes one network by one set of evidence, by any recipe; what recipes share is computed once."""

    def __init__(self, ready: Ready, evidence: Evidence) -> None:
        self.ready = ready
        self.evidence = evidence
        self._grids: dict[Method, dict[str, Grid]] = {}
        self._weights: dict[tuple[str, bool], tuple[NDArray[np.int8], Array]] = {}
        self._lost: dict[tuple[str, bool], NDArray[np.float64]] = {}

    def fit(self, recipe: Recipe) -> Quantized:
        """The network in 8 bits. ``evidence.moments`` are needed for ``rounded`` only."""
        layers, names = gridded(self.ready.graph, recipe.floats)
        methods = dict(recipe.methods)
        grids = {name: self._choose(methods.get(name, recipe.method))[name] for name in names}
        tensors: dict[str, NDArray[Any]] = dict(self.ready.weights)
        for name in layers:
            node = self.ready.graph.by_name[name]
            bias = self.ready.weights[f"{name}.bias"].astype(np.float64)
            integers, scale = self._integers(node, recipe)
            if recipe.corrected:
                bias = bias + self._correction(node, recipe)
            steps = bias / (scale * np.float32(grids[node.inputs[0]].scale)).astype(np.float64)
            tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"] = integers, scale
            tensors[f"{name}.bias"] = np.clip(np.rint(steps), -LARGEST_BIAS, LARGEST_BIAS).astype(np.int32)
        return Quantized(self.ready.graph, grids, tensors)

    def groups(self) -> list[list[str]]:
        """The tensors whose range may be chosen one apart from the other."""
        ready, seen = self.ready, self.evidence.seen
        return sharing(ready.graph, list(seen), seen, ready.preprocess)

    def _choose(self, method: Method) -> dict[str, Grid]:
        if method not in self._grids:
            ready, seen = self.ready, self.evidence.seen
            self._grids[method] = choose_grids(ready.graph, list(seen), seen, ready.preprocess, method)
        return self._grids[method]

    def _correction(self, node: Node, recipe: Recipe) -> NDArray[np.float64]:
        """What rounding the weights takes from the layer's mean answers, per output channel."""
        key = self._key(node, recipe)
        if key not in self._lost:
            integers, scale = self._integers(node, recipe)
            weight = self.ready.weights[f"{node.name}.weight"]
            left = weight - integers * column(scale, node.op, weight.ndim)
            self._lost[key] = _response(node, left.astype(np.float32), self.evidence.means[node.name])
        return self._lost[key]

    def _key(self, node: Node, recipe: Recipe) -> tuple[str, bool]:
        return node.name, recipe.rounded and node.name in self.evidence.moments

    def _integers(self, node: Node, recipe: Recipe) -> tuple[NDArray[np.int8], Array]:
        key = self._key(node, recipe)
        moments = self.evidence.moments[node.name] if key[1] else None
        if key not in self._weights:
            weight, bias = (self.ready.weights[f"{node.name}.{short}"] for short in ("weight", "bias"))
            # The narrowest grid that any recipe gives the input, so that the bias fits whatever the recipe.
            seen = self.evidence.seen[node.inputs[0]]
            step = max(seen.high - seen.low, 1e-6) / (4 * LEVELS)
            scale = weight_scale(weight, np.abs(bias) / step)
            self._weights[key] = round_weights(weight, scale, moments), scale
        return self._weights[key]


def store(ready: Ready, dtype: str) -> Quantized:
    """The network with its weights stored as 'int8', 'float16' or 'bfloat16' and everything computed in float32."""
    tensors: dict[str, NDArray[Any]] = {}
    for node in ready.graph.nodes:
        for parameter in ready.graph.parameters_of(node):
            tensor = ready.weights[parameter.name]
            if dtype == "int8" and parameter.name.endswith(".weight") and isinstance(node.op, LAYERS):
                scale = weight_scale(tensor, np.zeros(len(tensor)))
                tensors[f"{node.name}.weight_scale"] = scale
                tensors[parameter.name] = round_weights(tensor, scale)
            elif dtype == "bfloat16":
                tensors[parameter.name] = as_bfloat16(tensor)
            else:
                half = dtype == "float16" and bool(np.abs(tensor).max(initial=0) < np.finfo(np.float16).max)
                tensors[parameter.name] = tensor.astype(np.float16) if half else tensor
    return Quantized(ready.graph, {}, tensors)


def weight_scale(weight: Array, bias: NDArray[np.floating]) -> Array:
    """Per output channel: the largest weight at 127; more where the bias, in steps of the input, won't fit."""
    largest = np.maximum(np.abs(weight).reshape(len(weight), -1).max(1) / LARGEST_WEIGHT, bias / LARGEST_BIAS)
    scale: Array = np.maximum(largest, 1e-12).astype(np.float32)
    return scale


def round_weights(weight: Array, scale: Array, moments: NDArray[np.float64] | None = None) -> NDArray[np.int8]:
    """The integers of a weight, to the nearest; with ``moments``, so that the layer's answers stay the nearest."""
    steps = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
    if moments is not None:
        return round_with_inputs(steps, moments)
    integers: NDArray[np.int8] = np.clip(np.rint(steps), -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)
    return integers


def _response(node: Node, weight: Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a layer with this weight makes of its mean input, averaged over places, per output channel."""
    made = compute(node.op, [mean[None].astype(np.float32)], {"weight": weight})[0]
    response: NDArray[np.float64] = made.reshape(len(made), -1).mean(1, dtype=np.float64)
    return response


def equalize(ready: Ready, seen: Mapping[str, Seen]) -> tuple[Ready, int]:
    """The same function with the channels between two layers stretched to one range, and in how many places.

    Works where a convolution with a rectifier behind it is read by one other convolution alone (Nagel et al.,
    1906.04721, section 4.1): a channel times t before is divided by t after. Channels are only stretched, up to the
    largest one's range, so that a ReLU6 clips no value that it did not clip on calibration pictures. Before a depthwise
    convolution, whose weights have a scale per channel, all reach the same range; before others a channel goes half
    way if its weights there are large.
    """
    graph, weights = ready.graph, dict(ready.weights)
    readers = graph.readers()
    places = 0
    for node in graph.nodes:
        pair = _pair(graph, node, readers)
        found = seen.get(pair[0]) if pair else None
        if pair is None or found is None or found.highs is None:
            continue
        stretch = _stretches(found.highs, weights[f"{pair[1].name}.weight"], pair[1].op)
        if stretch is None:
            continue
        places += 1
        weights[f"{node.name}.weight"] = weights[f"{node.name}.weight"] * stretch.reshape(-1, 1, 1, 1)
        weights[f"{node.name}.bias"] = weights[f"{node.name}.bias"] * stretch
        across = (-1, 1, 1, 1) if _depthwise(pair[1]) else (1, -1, 1, 1)
        weights[f"{pair[1].name}.weight"] = weights[f"{pair[1].name}.weight"] / stretch.reshape(across)
    return Ready(graph, weights, ready.preprocess), places


def _pair(graph: Graph, node: Node, readers: Mapping[str, list[Node]]) -> tuple[str, Node] | None:
    """(the tensor between, the convolution that alone reads it) for a convolution that has such a partner."""
    name, after = node.name, readers[node.name]
    if not isinstance(node.op, ops.Conv2d) or node.inputs[0] == INPUT:
        return None
    rectifier = (
        len(after) == 1 and isinstance(after[0].op, ops.Activation) and after[0].op.function in ("relu", "relu6")
    )
    if not rectifier:
        return None
    name, after = after[0].name, readers[after[0].name]
    if len(after) != 1 or name in graph.outputs or not isinstance(after[0].op, ops.Conv2d):
        return None
    second = after[0]
    return (name, second) if _dense(second) or _depthwise(second) else None


def _dense(node: Node) -> bool:
    return isinstance(node.op, ops.Conv2d) and node.op.groups == 1


def _depthwise(node: Node) -> bool:
    return isinstance(node.op, ops.Conv2d) and node.op.groups == node.op.channels and node.op.groups > 1


def _stretches(highs: Array, weight: Array, op: ops.Op) -> Array | None:
    """Factors of at least one, per channel between the two layers; None when there is nothing to gain."""
    top = float(highs.max())
    if top <= 0:
        return None
    room = top / np.maximum(highs * _BEYOND, top / _STRETCH)
    if isinstance(op, ops.Conv2d) and op.groups == 1:
        rows = weight / np.maximum(np.abs(weight).max((1, 2, 3), keepdims=True), 1e-12)
        size = np.abs(rows).max((0, 2, 3))  # of this channel's weights, beside the largest of their filter
        room = np.minimum(room, np.sqrt(size * top / np.maximum(highs, top / _STRETCH)))
    stretch = np.maximum(room, 1.0).astype(np.float32)
    return stretch if stretch.max() > 1 else None


def layer_inputs(graph: Graph) -> dict[str, str]:
    """For each layer that has an integer kernel, what it reads."""
    return {node.name: node.inputs[0] for node in graph.nodes if isinstance(node.op, LAYERS)}


def layer_before(graph: Graph, name: str) -> str | None:
    """The layer whose answers, through activations and gates alone, a layer reads; None when there is no such one."""
    node = graph.by_name[name]
    while node.inputs[0] != INPUT:
        node = graph.by_name[node.inputs[0]]
        if isinstance(node.op, LAYERS):
            return node.name
        if not isinstance(node.op, ops.Activation | ops.Mul):
            return None
    return None
