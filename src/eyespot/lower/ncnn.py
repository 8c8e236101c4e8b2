"""Graph → ncnn: the text of a .param file and the bytes of its .bin, written directly.

Source of layer numbers and tensors' order: ncnn's docs/developer-guide/operators.md and
param-and-model-file-structure.md. ncnn has no batches and reads planes of floats, so pixels come as
``Mat.from_pixels(…, PIXEL_RGB, …)`` gives them: grey levels 0 to 255, the normalisation is inside. It has no place for
metadata: labels and the contract of the pixels lie beside its files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import Preprocess
from eyespot.errors import GraphError
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.numpy_ops import Array
from eyespot.lower.reparam import reparam
from eyespot.lower.tensors import Weights

PARAM, BIN = "model.param", "model.bin"
PIXELS, LOGITS = "pixels", "logits"
_MAGIC = 7767517
_FLOAT32, _INT8 = bytes(4), (0x000D4B38).to_bytes(4, "little")  # flags before tensors that may be stored in two ways
_LAYERS = (ops.Conv2d, ops.ConvTranspose2d, ops.Linear)

Value = int | float | Sequence[float]


def to_ncnn(
    graph: Graph,
    weights: Weights,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),  # noqa: ARG001 (every writer takes it)
) -> dict[str, bytes]:
    """The network as it is deployed (``reparam``) as ``model.param`` and ``model.bin``, for one picture at a time.

    ``metadata`` is left out. GraphError when the preprocessing is not for this network's input, or for more than one
    output.
    """
    graph, folded = reparam(graph, weights)
    _check(graph, preprocess)
    file = _File(graph)
    file.pixels(preprocess)
    for node in graph.nodes:
        file.node(node, {p.name[len(node.name) + 1 :]: folded[p.name] for p in graph.parameters_of(node)})
    return {PARAM: file.text().encode(), BIN: file.tensors()}


def quantized_to_ncnn(
    network: Quantized,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),  # noqa: ARG001 (every writer takes it)
) -> dict[str, bytes]:
    """A network in 8 bits as ``model.param`` and ``model.bin``: its integer weights as they are, maps on ncnn's grids.

    ncnn's maps are symmetric, -127 to 127, and rounded as a layer reads them: what lies on 256 levels of ours lies on
    about half as many there. Layers with several filters a group stay in float32, where ncnn has one scale a group; so
    do those that read pixels.
    """
    graph = network.graph
    _check(graph, preprocess)
    file = _File(graph)
    file.pixels(preprocess)
    weights = network.float_weights()
    for node in graph.nodes:
        tensors = {p.name[len(node.name) + 1 :]: weights[p.name] for p in graph.parameters_of(node)}
        file.node(node, tensors, _integers(network, node))
    return {PARAM: file.text().encode(), BIN: file.tensors()}


class _Integers(NamedTuple):
    """A layer in 8 bits. weight_scale: what one step is worth, per output channel; reach: the largest input."""

    weight: NDArray[np.int8]
    weight_scale: Array
    reach: float


def _integers(network: Quantized, node: Node) -> _Integers | None:
    """A layer's integers, where ncnn can hold them."""
    shared = isinstance(node.op, ops.Conv2d) and node.op.groups not in (1, node.op.channels)
    if not network.is_int8(node.name) or shared or node.inputs[0] == INPUT or isinstance(node.op, ops.ConvTranspose2d):
        return None
    grid = network.grids[node.inputs[0]]
    weight: NDArray[np.int8] = network.tensors[f"{node.name}.weight"]
    return _Integers(weight, network.weight_scale(node.name), max(-grid.low, grid.high))


def _check(graph: Graph, preprocess: Preprocess) -> None:
    if graph.input != (3, *preprocess.size) or len(graph.outputs) != 1:
        raise GraphError(
            f"ncnn: pictures of {preprocess.size} and one output were needed, the network reads {graph.input} and "
            f"gives {len(graph.outputs)}; draw it with size={preprocess.size}"
        )


class _File:
    """The two files while they are written: layer by layer, each value under a name for each of its readers."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = graph.readers()
        self._lines: list[str] = []
        self._blobs = 0
        self._tensors: list[bytes] = []
        self._unread: dict[str, list[str]] = {}  # of each value, the names that nobody has read yet
        self._done: set[str] = set()  # activations that the layer before them computes

    def text(self) -> str:
        """The .param file."""
        return "\n".join([str(_MAGIC), f"{len(self._lines)} {self._blobs}", *self._lines]) + "\n"

    def tensors(self) -> bytes:
        """The .bin file."""
        return b"".join(self._tensors)

    def pixels(self, preprocess: Preprocess) -> None:
        """The input, and what makes it the network's own: ``pixel · multiplier + offset``, red first or last."""
        height, width = preprocess.size
        self._layer("Input", PIXELS, [], [PIXELS], {0: width, 1: height, 2: 3})
        name = PIXELS
        if preprocess.channels == "bgr":
            planes = [f"{PIXELS}:{colour}" for colour in "rgb"]
            self._layer("Slice", "pixels.slice", [PIXELS], planes, {-23300: (1, -233, -233)})
            self._layer("Concat", "pixels.bgr", planes[::-1], ["pixels:bgr"], {0: 0})
            name = "pixels:bgr"
        multiplier, offset = (np.array(values, np.float32) for values in preprocess.affine())
        self._make(INPUT, "Scale", "pixels.scale", [name], {0: 3, 1: 1}, [multiplier, offset])

    def node(self, node: Node, tensors: Mapping[str, Array], integers: _Integers | None = None) -> None:
        """One node, unless the layer before it has done its work. tensors: float32, also where there are integers."""
        if node.name in self._done:
            return
        inputs = [self._unread[name].pop() for name in node.inputs]
        if isinstance(node.op, _LAYERS):
            self._weighted(node, inputs, tensors, integers)
        elif isinstance(node.op, ops.GlobalAvgPool):
            self._global_pool(node, inputs)
        else:
            kind, values, floats = _plain(node, tensors)
            self._make(node.name, kind, node.name, inputs, values, floats)

    def _weighted(
        self, node: Node, inputs: list[str], tensors: Mapping[str, Array], integers: _Integers | None
    ) -> None:
        """A convolution or linear layer, with the activation that alone reads it."""
        kind, values, weight = _layer(node, tensors)
        name, after = node.name, self._readers[node.name]
        if len(after) == 1 and name not in self._graph.outputs and (fused := _fused(after[0].op)):
            values |= {9: fused[0]} | ({-23310: fused[1]} if fused[1] else {})
            name = after[0].name
            self._done.add(name)
        bias = [tensors["bias"]] if "bias" in tensors else []
        if integers is None:
            self._tensors.append(_FLOAT32)
            self._make(name, kind, node.name, inputs, values, [weight, *bias])
        else:
            data = integers.weight.tobytes()
            self._tensors.append(_INT8 + data + bytes(-len(data) % 4))
            reach = np.array([127 / integers.reach], np.float32)
            scales: list[Array] = [np.reciprocal(integers.weight_scale), reach]
            self._make(name, kind, node.name, inputs, values | {8: 1}, [*bias, *scales])

    def _global_pool(self, node: Node, inputs: list[str]) -> None:
        """A vector, as ncnn gives it; made a map of one pixel again where something else than a flattening reads it."""
        values: dict[int, Value] = {0: 1, 4: 1}
        if all(isinstance(reader.op, ops.Flatten) for reader in self._readers[node.name]):
            self._make(node.name, "Pooling", node.name, inputs, values)
        else:
            vector = f"{node.name}:vector"
            self._layer("Pooling", node.name, inputs, [vector], values)
            shape: dict[int, Value] = {0: 1, 1: 1, 2: node.shape[0]}
            self._make(node.name, "Reshape", f"{node.name}.map", [vector], shape)

    def _make(
        self,
        value: str,
        kind: str,
        name: str,
        inputs: Sequence[str],
        numbers: Mapping[int, Value],
        tensors: Sequence[Array] = (),
    ) -> None:
        """A layer that makes a value of the graph; one with several readers is handed on under a name for each."""
        blob = LOGITS if value in self._graph.outputs else f"{PIXELS}:scaled" if value == INPUT else value
        self._layer(kind, name, inputs, [blob], numbers, tensors)
        count = sum(node.inputs.count(value) for node in self._readers[value])
        self._unread[value] = [blob]
        if count > 1:
            self._unread[value] = [f"{blob}:{at}" for at in range(count)]
            self._layer("Split", f"{blob}.split", [blob], list(self._unread[value]), {})

    def _layer(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        numbers: Mapping[int, Value],
        tensors: Sequence[Array] = (),
    ) -> None:
        words = [kind.ljust(24), name.ljust(24), str(len(inputs)), str(len(outputs)), *inputs, *outputs]
        self._lines.append(" ".join([*words, *(f"{key}={_text(value)}" for key, value in numbers.items())]))
        self._blobs += len(outputs)
        self._tensors += [np.ascontiguousarray(tensor, "<f4").tobytes() for tensor in tensors]


def _text(value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.9e}"  # read as a float only with a point or an exponent
    return ",".join([str(len(value)), *map(_text, value)])


def _layer(node: Node, tensors: Mapping[str, Array]) -> tuple[str, dict[int, Value], NDArray[Any]]:
    """(ncnn's layer, its numbers, its weight in ncnn's order)."""
    weight, bias = tensors["weight"], int("bias" in tensors)
    match node.op:
        case ops.Conv2d() as op:
            values = _window(op) | {5: bias, 6: weight.size, 2: op.dilation[1], 12: op.dilation[0]}
            if op.groups == 1:
                return "Convolution", {0: op.channels} | values, weight
            return "ConvolutionDepthWise", {0: op.channels} | values | {7: op.groups}, weight
        case ops.ConvTranspose2d() as op:
            values = {0: op.channels} | _window(op) | {5: bias, 6: weight.size}
            return "Deconvolution", values, weight.swapaxes(0, 1)
        case ops.Linear() as op:
            return "InnerProduct", {0: op.features, 1: bias, 2: weight.size}, weight
        case op:
            raise TypeError(f"ncnn: {op.kind} has no weight")


def _window(op: ops.Conv2d | ops.ConvTranspose2d) -> dict[int, Value]:
    top, left, bottom, right = op.padding
    return {
        1: op.kernel[1], 11: op.kernel[0], 3: op.stride[1], 13: op.stride[0], 4: left, 14: top, 15: right, 16: bottom,
    }  # fmt: skip


def _fused(op: ops.Op) -> tuple[int, tuple[float, ...]] | None:
    """The number and constants of an activation that ncnn's layers compute themselves."""
    if not isinstance(op, ops.Activation):
        return None
    known: dict[str, tuple[int, tuple[float, ...]]] = {
        "relu": (1, ()),
        "leaky_relu": (2, (op.slope,)),
        "relu6": (3, (0.0, 6.0)),
        "sigmoid": (4, ()),
        "mish": (5, ()),
        "hard_swish": (6, (1 / 6, 0.5)),
    }
    return known.get(op.function)


_ACTIVATIONS: Mapping[str, tuple[str, dict[int, Value]]] = {
    "relu": ("ReLU", {}),
    "relu6": ("Clip", {0: 0.0, 1: 6.0}),
    "silu": ("Swish", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_swish": ("HardSwish", {0: 1 / 6, 1: 0.5}),
    "hard_sigmoid": ("HardSigmoid", {0: 1 / 6, 1: 0.5}),
    "gelu": ("GELU", {}),
    "mish": ("Mish", {}),
    "tanh": ("TanH", {}),
}


def _plain(node: Node, tensors: Mapping[str, Array]) -> tuple[str, dict[int, Value], list[Array]]:  # noqa: PLR0912 (one case per op)
    """(ncnn's layer, its numbers, its tensors) of an op without a matrix of weights."""
    floats: list[Array] = []
    match node.op:
        case ops.BatchNorm() as op:
            floats = [tensors[short] for short in ("weight", "running_mean", "running_var", "bias")]
            layer: tuple[str, dict[int, Value]] = "BatchNorm", {0: node.shape[0], 1: op.eps}
        case ops.Activation(function="leaky_relu") as op:
            layer = "ReLU", {0: op.slope}
        case ops.Activation() as op:
            layer = _ACTIVATIONS[op.function]
        case ops.MaxPool() as op:
            layer = "Pooling", _pool(op, 0)
        case ops.AvgPool() as op:
            layer = "Pooling", _pool(op, 1) | {6: int(op.count_padding)}
        case ops.Flatten():
            layer = "Flatten", {}
        case ops.Add():
            layer = ("BinaryOp", {0: 0}) if len(node.inputs) == 2 else ("Eltwise", {0: 1})
        case ops.Mul():
            layer = "BinaryOp", {0: 2}
        case ops.Scale() as op:
            layer = "BinaryOp", {0: 2, 1: 1, 2: float(op.factor)}
        case ops.Concat():
            layer = "Concat", {0: 0}
        case ops.Slice() as op:
            layer = "Crop", {-23309: (op.start,), -23310: (op.stop,), -23311: (0,)}
        case ops.PadChannels() as op:
            layer = "Padding", {4: 0, 5: 0.0, 7: op.before, 8: op.after}
        case ops.Shuffle() as op:
            layer = "ShuffleChannel", {0: op.groups}
        case ops.Resize() as op:
            kind = 1 if op.mode == "nearest" else 2
            layer = "Interp", {0: kind, 1: float(op.scale[0]), 2: float(op.scale[1])}
        case ops.Softmax():
            layer = "Softmax", {0: 0, 1: 1}
        case op:
            raise TypeError(f"ncnn: no layer for {op.kind}")
    return *layer, floats


def _pool(op: ops.MaxPool | ops.AvgPool, kind: int) -> dict[int, Value]:
    top, left, bottom, right = op.padding
    return {
        0: kind, 1: op.kernel[1], 11: op.kernel[0], 2: op.stride[1], 12: op.stride[0], 3: left, 13: top, 14: right,
        15: bottom, 5: 1,
    }  # fmt: skip
