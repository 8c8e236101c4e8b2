"""Graph → ONNX: a file for ONNX Runtime and every tool that reads opset 17, written directly, with our names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import LOGITS, PIXELS, Preprocess
from eyespot.lower.onnx_file import Attribute, OnnxFile
from eyespot.lower.pixels import RGB, absorb_pixels, check_size, order_of
from eyespot.lower.reparam import reparam
from eyespot.lower.tensors import Weights

BATCH = "N"


def to_onnx(
    graph: Graph,
    weights: Weights,
    *,
    preprocess: Preprocess | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The network as it is deployed (``reparam``) as an ONNX file (opset 17, IR 8) for any batch size.

    Without ``preprocess`` the input is "input", float32 (N, C, H, W), normalised. With it the input is "pixels", uint8
    (N, H, W, 3), RGB: what ``prepare`` gives; the normalisation and the order of channels are inside. The output is
    "logits", or the nodes' names when there is more than one. ``metadata`` goes into the file's metadata_props.
    WeightsError when the weights do not fit, GraphError when the preprocessing is not for this network's input.
    """
    graph, folded = reparam(graph, weights)
    file = OnnxFile("eyespot")
    values = {name: name for name in graph.by_name}
    if len(graph.outputs) == 1:
        values[graph.outputs[0]] = LOGITS
    if preprocess is None:
        values[INPUT] = file.input(INPUT, "float32", (BATCH, *graph.input))
    else:
        folded, left = absorb_pixels(graph, folded, preprocess)
        values[INPUT] = pixels(file, graph, left, absorbed=left is not preprocess)
    for node in graph.nodes:
        tensors = [file.tensor(p.name, folded[p.name]) for p in graph.parameters_of(node)]
        write_node(file, node, [values[name] for name in node.inputs], tensors, values[node.name])
    for name in graph.outputs:
        file.output(values[name], "float32", (BATCH, *graph.shape(name)))
    return file.to_bytes(producer="eyespot", version="", metadata=metadata)


def pixels(file: OnnxFile, graph: Graph, preprocess: Preprocess, *, absorbed: bool = False) -> str:
    """uint8 pixels → the network's input, ``(pixel - mean / scale) · scale / std``.

    absorbed: whether the factor is in the weights, so that none is written, not even one (bytes of bundles stay).
    """
    check_size(graph, preprocess)
    factor, mean = np.array(preprocess.affine()[0]), np.array(preprocess.mean) / preprocess.scale
    order = order_of(preprocess)
    x = file.input(PIXELS, "uint8", (BATCH, *preprocess.size, 3))
    x = file.node("Transpose", [x], "pixels:nchw", name="pixels.transpose", attributes={"perm": (0, 3, 1, 2)})
    if order != RGB:
        x = file.node("Gather", [x, file.integers(*order)], "pixels:bgr", name="pixels.order", attributes={"axis": 1})
    x = file.node("Cast", [x], "pixels:float", name="pixels.cast", attributes={"to": 1})
    if mean.any():
        column = file.tensor("pixels.mean", mean.astype(np.float32).reshape(3, 1, 1))
        x = file.node("Sub", [x, column], "pixels:centred", name="pixels.centre")
    if not absorbed:
        column = file.tensor("pixels.factor", factor.astype(np.float32).reshape(3, 1, 1))
        x = file.node("Mul", [x, column], "pixels:scaled", name="pixels.scale")
    return x


def write_node(file: OnnxFile, node: Node, inputs: list[str], tensors: list[str], output: str) -> None:  # noqa: PLR0912 (one case per op)
    """The operators of one node. tensors: its parameters in their order."""

    def make(kind: str, attributes: Mapping[str, Attribute] | None = None, *, constants: tuple[str, ...] = ()) -> None:
        file.node(kind, [*inputs, *tensors, *constants], output, name=node.name, attributes=attributes)

    match node.op:
        case ops.Conv2d() as op:
            make("Conv", _window(op) | {"dilations": op.dilation, "group": op.groups})
        case ops.ConvTranspose2d() as op:
            make("ConvTranspose", _window(op))
        case ops.BatchNorm() as op:
            make("BatchNormalization", {"epsilon": op.eps})
        case ops.Activation() as op:
            _activation(file, node, op, inputs[0], output)
        case ops.MaxPool() as op:
            make("MaxPool", _window(op))
        case ops.AvgPool() as op:
            make("AveragePool", _window(op) | {"count_include_pad": int(op.count_padding)})
        case ops.GlobalAvgPool():
            make("GlobalAveragePool")
        case ops.Flatten():
            make("Flatten")
        case ops.Linear():
            make("Gemm", {"transB": 1})
        case ops.Add():
            make("Add" if len(inputs) == 2 else "Sum")
        case ops.Mul():
            make("Mul")
        case ops.Scale() as op:
            make("Mul", constants=(file.floats(op.factor),))
        case ops.Concat():
            make("Concat", {"axis": 1})
        case ops.Slice() as op:
            make("Slice", constants=(file.integers(op.start), file.integers(op.stop), file.integers(1)))
        case ops.PadChannels() as op:
            rest = [0] * (len(node.shape) - 1)
            make("Pad", constants=(file.integers(0, op.before, *rest, 0, op.after, *rest),))
        case ops.Shuffle() as op:
            _shuffle(file, node, op, inputs[0], output)
        case ops.Resize() as op:
            make(
                "Resize",
                {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                if op.mode == "nearest"
                else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
                constants=("", file.floats(1, 1, *op.scale)),
            )
        case ops.Softmax():
            make("Softmax", {"axis": 1})
        case op:
            raise TypeError(f"ONNX: no operator for {op.kind}")


def _window(op: ops.Conv2d | ops.ConvTranspose2d | ops.MaxPool | ops.AvgPool) -> dict[str, Attribute]:
    return {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.padding}


def _shuffle(file: OnnxFile, node: Node, op: ops.Shuffle, x: str, output: str) -> None:
    """Reshape to a (groups, n) table, transpose, reshape back; 0 keeps the batch axis."""
    channels, *rest = node.shape
    table = file.integers(0, op.groups, channels // op.groups, *rest)
    axes = (0, 2, 1, *range(3, 3 + len(rest)))
    name = node.name
    x = file.node("Reshape", [x, table], f"{name}:table", name=f"{name}.table")
    x = file.node("Transpose", [x], f"{name}:turned", name=f"{name}.turn", attributes={"perm": axes})
    file.node("Reshape", [x, file.integers(0, channels, *rest)], output, name=name)


_PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish"}


def _activation(file: OnnxFile, node: Node, op: ops.Activation, x: str, output: str) -> None:
    name = node.name

    def step(kind: str, inputs: list[str], suffix: str) -> str:
        return file.node(kind, inputs, f"{name}:{suffix}", name=f"{name}.{suffix}")

    match op.function:
        case "relu" | "sigmoid" | "tanh" | "hard_swish":
            file.node(_PLAIN[op.function], [x], output, name=name)
        case "relu6":
            file.node("Clip", [x, file.floats(0), file.floats(6)], output, name=name)
        case "leaky_relu":
            file.node("LeakyRelu", [x], output, name=name, attributes={"alpha": op.slope})
        case "hard_sigmoid":
            file.node("HardSigmoid", [x], output, name=name, attributes={"alpha": 1 / 6, "beta": 0.5})
        case "silu":
            file.node("Mul", [x, step("Sigmoid", [x], "gate")], output, name=name)
        case "mish":
            gate = step("Tanh", [step("Softplus", [x], "softplus")], "gate")
            file.node("Mul", [x, gate], output, name=name)
        case "gelu":  # x · (1 + erf(x / √2)) / 2, in the form that ONNX Runtime recognises
            gate = step("Erf", [step("Div", [x, file.floats(math.sqrt(2))], "scaled")], "erf")
            gate = step("Add", [gate, file.floats(1)], "gate")
            file.node("Mul", [step("Mul", [x, gate], "gated"), file.floats(0.5)], output, name=name)
