"""Graph → LiteRT (TFLite): a file for phones and small boards, written directly, in float32 or int8.

int8 is LiteRT's own scheme: weights symmetric per channel, maps asymmetric, biases in 32 bits. Our grids are the same
but for where they begin to count, and through XNNPACK, which is what LiteRT runs on by itself, every level is that of
our numpy meaning. LiteRT's own kernels, where there is no XNNPACK, round twice and come near it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import LOGITS, PIXELS, Preprocess
from eyespot.lower.int8.quantized import Grid, Quantized, as_float32, rectifies
from eyespot.lower.int8.to_onnx import MOVES, reads_pixels
from eyespot.lower.litert import metadata as litert_metadata
from eyespot.lower.litert.file import LitertFile, Tensor
from eyespot.lower.litert.ops import FUSABLE, channel_axis, fused, is_depthwise, layout, outside, write_node
from eyespot.lower.pixels import absorb_pixels, check_size
from eyespot.lower.reparam import reparam
from eyespot.lower.tensors import Weights

_SIGMOID = Grid(1 / 256, 0)  # the only one on which LiteRT's LOGISTIC answers
_NEVER_NEGATIVE = ("relu", "relu6", "sigmoid", "hard_sigmoid")


def to_litert(
    graph: Graph,
    weights: Weights,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The network as it is deployed (``reparam``) as a LiteRT file for one picture at a time.

    The input is "pixels", uint8 (1, height, width, 3), RGB; the normalisation is inside. The output is "logits",
    float32 (1, classes), or the nodes' names when there is more than one; a map is (1, height, width, channels).
    ``metadata``'s "labels" and the preprocessing travel as files in it, the rest as buffers. WeightsError when the
    weights do not fit, GraphError when the preprocessing is not for this network's input, MissingExtra without
    ai-edge-litert.
    """
    graph, deployed = reparam(graph, weights)
    deployed, preprocess = absorb_pixels(graph, deployed, preprocess)
    return quantized_to_litert(Quantized(graph, {}, deployed), preprocess=preprocess, metadata=metadata)


def quantized_to_litert(
    network: Quantized,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The same of a network in 8 bits; layers that it leaves in float32 stay so, between DEQUANTIZE and QUANTIZE.

    Weights that are only stored in 8 or 16 bits stay so in the file.
    """
    writer = _Writer(network)
    writer.input(preprocess)
    for node in network.graph.nodes:
        writer.node(node)
    return writer.finish(metadata)


class _Writer:
    """Writes node by node and knows as which tensors each value stands: as float, as int8, or as both."""

    def __init__(self, network: Quantized) -> None:
        self._network = network
        self._graph: Graph = network.graph
        self._readers = network.graph.readers()
        self._file = LitertFile("eyespot")
        self._float: dict[str, Tensor] = {}
        self._int8: dict[str, Tensor] = {}

    def input(self, preprocess: Preprocess) -> None:
        height, width = preprocess.size
        check_size(self._graph, preprocess)
        self._preprocess = preprocess
        file, shape = self._file, (1, height, width, 3)
        grid = self._network.grids.get(INPUT)
        if grid is not None and grid == reads_pixels(preprocess):
            self._pixels = file.value(PIXELS, shape, "uint8", grid)
            x = file.op("DEQUANTIZE", [self._pixels], file.value(f"{PIXELS}:float", shape))
            self._int8[INPUT] = file.op("QUANTIZE", [x], file.value(INPUT, shape, "int8", grid))
            return
        factor, mean = np.array(preprocess.affine()[0]), np.array(preprocess.mean) / preprocess.scale
        zero = int(mean[0]) if set(mean) == {mean[0]} and mean[0] in range(256) else 0
        step = float(factor[0]) if set(factor) == {factor[0]} else 1.0
        self._pixels = file.value(PIXELS, shape, "uint8", Grid(step, zero))
        x = file.op("DEQUANTIZE", [self._pixels], file.value(f"{PIXELS}:float", shape))
        if preprocess.channels == "bgr":
            x = file.op("GATHER", [x, file.integers(2, 1, 0)], file.value(f"{PIXELS}:bgr", shape), {"axis": 3})
        if (mean != zero).any():
            centre = file.floats(*(step * (mean - zero)))
            x = file.op("SUB", [x, centre], file.value(f"{PIXELS}:centred", shape))
        if (factor != step).any():
            x = file.op("MUL", [x, file.floats(*(factor / step))], file.value(f"{PIXELS}:scaled", shape))
        self._float[INPUT] = x
        self._to_grid(INPUT)

    def node(self, node: Node) -> None:
        """Writes one node, and the rectifier that alone reads it as part of it."""
        if node.name in self._float or node.name in self._int8:
            return
        after = self._rectifier(node)
        target, activation = (after.name, fused(after.op)) if after else (node.name, "NONE")
        grid = self._network.grids.get(target)
        if grid is not None and self._integers(node, target, grid, activation):
            return
        if grid is None and isinstance(node.op, ops.Linear) and self._network.is_int8(node.name):
            self._answers(node, target, activation)
            return
        name = self._real_name(target) if grid is None else f"{target}:float"
        output = self._file.value(name, outside(node.shape))
        inputs = [self._as_float(name) for name in node.inputs]
        parameters = self._parameters(node, integer=False)
        write_node(self._file, node, inputs, parameters, output, activation=activation, positive=self._positive(node))
        self._float[target] = output
        self._to_grid(target)

    def finish(self, metadata: Mapping[str, str]) -> bytes:
        """The file with everything that travels in it."""
        outputs = self._graph.outputs
        given = {LOGITS if len(outputs) == 1 else name: self._as_float(name) for name in outputs}
        described = litert_metadata.model_metadata(
            name=metadata.get("name", "eyespot"), licence=metadata.get("licence", ""), size=self._preprocess.size,
            pixels=PIXELS, outputs=list(given), labelled="labels" in metadata,
        )  # fmt: skip
        apart = {"labels": litert_metadata.LABELS, "preprocess": litert_metadata.PREPROCESS}
        buffers = {key: text.encode() for key, text in metadata.items() if key not in apart}
        model = self._file.to_bytes({PIXELS: self._pixels}, given, {litert_metadata.ENTRY: described, **buffers})
        return litert_metadata.with_files(model, {apart[key]: text for key, text in metadata.items() if key in apart})

    def _rectifier(self, node: Node) -> Node | None:
        """The rectifier that alone reads a node whose own values nobody rounds."""
        after = self._readers[node.name]
        if not isinstance(node.op, FUSABLE) or len(after) != 1:
            return None
        if node.name in self._network.grids or node.name in self._graph.outputs:
            return None
        rectifier = isinstance(after[0].op, ops.Activation) and after[0].op.function in ("relu", "relu6")
        return after[0] if rectifier else None

    def _positive(self, node: Node) -> bool:
        before = self._graph.by_name.get(node.inputs[0])
        return before is not None and isinstance(before.op, ops.Activation) and before.op.function in _NEVER_NEGATIVE

    def _integers(self, node: Node, target: str, grid: Grid, activation: str) -> bool:
        """Writes a node on int8 tensors, if XNNPACK has a kernel that rounds it once.

        It has none for sums and means, where one value in ten thousand comes out a level off and twenty layers later
        everything does, and one for sigmoids on a single grid. These are left to float32, which hardly takes longer
        (MobileNetV2: 3.45 → 3.52 ms).
        """
        if any(name not in self._int8 for name in node.inputs):
            return False
        inputs, file = [self._int8[name] for name in node.inputs], self._file
        pixel = math.prod(node.shape[1:]) == 1  # a gate's few values: float32 costs nothing and rounds once
        match node.op:
            case ops.Conv2d() | ops.Linear():
                possible = self._network.is_int8(node.name)
            case ops.Mul() | ops.Activation(function="leaky_relu"):
                possible = True
            case ops.Resize(mode="bilinear"):
                possible = inputs[0].grid == grid
            case ops.Activation(function="sigmoid"):
                possible = not pixel and grid == _SIGMOID
            case ops.Activation(function="hard_sigmoid"):
                if possible := not pixel and grid.zero == 0:
                    self._int8[target] = self._hard_sigmoid(node, inputs[0], grid)
                return possible
            case ops.Activation() as op if rectifies(op, grid):
                self._int8[target] = self._on(inputs[0], grid, target)  # rounding to the grid is all there is to do
                return True
            case op:
                possible = isinstance(op, (*MOVES, ops.PadChannels, ops.Resize))
                inputs = [self._on(x, grid, f"{node.name}:{at}") for at, x in enumerate(inputs)] if possible else inputs
        if possible:
            output = file.value(target, outside(node.shape), "int8", grid)
            parameters, positive = self._parameters(node, integer=True), self._positive(node)
            write_node(file, node, inputs, parameters, output, activation=activation, positive=positive)
            self._int8[target] = output
        return possible

    def _hard_sigmoid(self, node: Node, x: Tensor, grid: Grid) -> Tensor:
        """x / 6 + 1 / 2, cut at 0 and 1: a depthwise convolution of one pixel whose output is cut."""
        assert x.grid is not None  # noqa: S101 - int8 tensors have one
        file, channels, step = self._file, x.shape[-1], np.float32(1 / (6 * 127))
        shape = (1, 1, 1, channels)
        scale = np.array([step], np.float32)
        weight = file.constant(f"{node.name}.sixth", np.full(shape, 127, np.int8), scales=scale)
        steps = np.float32(x.grid.scale) * scale
        bias = file.constant(f"{node.name}.half", np.full(channels, round(0.5 / steps[0]), np.int32), scales=steps)
        cut = file.enum("ActivationFunctionType", "RELU_N1_TO_1" if grid.high > 1 else "NONE")
        options = {
            "padding": file.enum("Padding", "VALID"), "strideH": 1, "strideW": 1, "depthMultiplier": 1,
            "dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": cut,
        }  # fmt: skip
        output = file.value(node.name, x.shape, "int8", grid)
        return file.op("DEPTHWISE_CONV_2D", [x, weight, bias], output, options)

    def _answers(self, node: Node, target: str, activation: str) -> None:
        """A linear layer whose answers have no grid: int8 times int8, and real numbers come out.

        LiteRT does that to float32 inputs, which it puts on a grid from their lowest to their highest value by itself.
        The ends of our grid go in with them, so that it finds ours; their weights are zero. The bias is added apart:
        XNNPACK's kernel for this (AVX-512 VNNI, 2026) leaves the upper halves of registers dirty, and until an operator
        cleans them, whatever comes next runs at a quarter of its speed (MobileNetV2: 3.50 → 3.73 ms).
        """
        file, network, name = self._file, self._network, node.name
        x, grid = self._as_float(node.inputs[0]), network.grids[node.inputs[0]]
        ends = file.constant(f"{name}.ends", np.array([[grid.low, grid.high]], np.float32))
        wider = file.value(f"{name}:ended", (1, x.shape[1] + 2))
        file.op("CONCATENATION", [x, ends], wider, {"axis": 1})
        stored = np.pad(network.tensors[f"{name}.weight"], ((0, 0), (0, 2)))
        weight = file.constant(f"{name}.weight", stored, scales=network.weight_scale(name))
        bias = (network.tensors[f"{name}.bias"] * network.bias_scale(name)).astype(np.float32)
        shape = outside(node.shape)
        none = file.constant(f"{name}.none", np.zeros_like(bias))
        summed = file.value(f"{name}:summed", shape)
        options = {"asymmetricQuantizeInputs": True}
        file.op("FULLY_CONNECTED", [wider, weight, none], summed, options, version=12)
        output = file.value(self._real_name(target), shape)
        also = {"fusedActivationFunction": file.enum("ActivationFunctionType", activation)}
        self._float[target] = file.op("ADD", [summed, file.constant(f"{name}.bias", bias)], output, also)

    def _parameters(self, node: Node, *, integer: bool) -> dict[str, Tensor]:
        """A node's stored tensors; in float32, whatever they are stored as, or as integers."""
        if isinstance(node.op, ops.BatchNorm):
            return self._affine(node, node.op)
        if not isinstance(node.op, ops.Conv2d | ops.ConvTranspose2d | ops.Linear):
            return {}
        network, file, name = self._network, self._file, node.name
        depthwise = is_depthwise(node, self._graph.input_shapes(node))
        weight_tensor = network.tensors[f"{name}.weight"]
        if weight_tensor.dtype == np.uint16:  # LiteRT widens float16, not bfloat16
            weight_tensor = as_float32(weight_tensor)
        stored = layout(node, "weight", weight_tensor, depthwise=depthwise)
        scales = network.weight_scale(name) if network.has_int8(name) else None
        weight = file.constant(f"{name}.weight", stored, scales=scales, axis=channel_axis(depthwise=depthwise))
        if stored.dtype != np.float32 and not integer:
            real = file.value(f"{name}.weight:float", stored.shape)
            weight = file.op("DEQUANTIZE", [weight], real, version=5 if stored.dtype == np.int8 else 3)
        channels = node.shape[0]
        bias = network.tensors.get(f"{name}.bias", np.zeros(channels, np.int32 if integer else np.float32))
        if integer:
            return {"weight": weight, "bias": file.constant(f"{name}.bias", bias, scales=network.bias_scale(name))}
        real_bias = bias * network.bias_scale(name) if bias.dtype == np.int32 else as_float32(bias)
        return {"weight": weight, "bias": file.constant(f"{name}.bias", real_bias.astype(np.float32))}

    def _affine(self, node: Node, op: ops.BatchNorm) -> dict[str, Tensor]:
        """A norm that could not be folded as a factor and an offset per channel."""
        mean, variance, weight, bias = (
            as_float32(self._network.tensors[f"{node.name}.{short}"]).astype(np.float64)
            for short in ("running_mean", "running_var", "weight", "bias")
        )
        factor = weight / np.sqrt(variance + op.eps)
        tensors = {"weight": factor, "bias": bias - mean * factor}
        return {
            short: self._file.constant(f"{node.name}.{short}", tensor.astype(np.float32))
            for short, tensor in tensors.items()
        }

    def _on(self, x: Tensor, grid: Grid, name: str) -> Tensor:
        """An int8 tensor on another grid, if it is not on it already."""
        if x.grid == grid:
            return x
        return self._file.op("QUANTIZE", [x], self._file.value(f"{name}:moved", x.shape, "int8", grid))

    def _to_grid(self, name: str) -> None:
        grid = self._network.grids.get(name)
        if grid is not None:
            x = self._float.pop(name)  # readers see the rounded values
            self._int8[name] = self._file.op("QUANTIZE", [x], self._file.value(name, x.shape, "int8", grid))

    def _as_float(self, name: str) -> Tensor:
        if name not in self._float:
            x = self._int8[name]
            own = LOGITS if self._graph.outputs == (name,) else f"{name}:float"
            self._float[name] = self._file.op("DEQUANTIZE", [x], self._file.value(own, x.shape))
        return self._float[name]

    def _real_name(self, name: str) -> str:
        return LOGITS if self._graph.outputs == (name,) else name
