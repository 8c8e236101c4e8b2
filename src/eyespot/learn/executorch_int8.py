"""A network in 8 bits as a torch module of the operators that ExecuTorch's XNNPACK turns into integer kernels.

Each value between layers is an int8 tensor on the house's grid, 128 lower; a layer reads it through a ``dequantize``
and its answer goes through a ``quantize``, and XNNPACK makes one integer kernel of the three.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from torch import Tensor, nn

from eyespot.core import ops
from eyespot.core.graph import INPUT, Node
from eyespot.learn.module import Layer
from eyespot.lower.int8.quantized import Grid, Quantized, clipped_levels
from eyespot.lower.int8.to_onnx import MOVES

_EPS = float(np.finfo(np.float32).eps)  # the least step that a grid found at run time may have
_PADS = (ops.AvgPool, ops.PadChannels)
_DROPS = (ops.Dropout, ops.DropPath)  # nothing, once trained


class IntegerNetwork(nn.Module):
    """Called with a normalised float tensor (1, channels, height, width), it gives the first output, float32.

    Integer layers compute in integers, sums and products too; what XNNPACK has no such kernel for computes in float32
    between two roundings.
    """

    def __init__(self, network: Quantized) -> None:
        super().__init__()
        graph = network.graph
        self._grids = dict(network.grids)
        self._output = graph.outputs[0]
        self._plan: list[tuple[Node, str]] = []  # and the name that the answer goes by: its own or its rectifier's
        self._layers = nn.ModuleList()
        readers, floats, done = graph.readers(), network.float_weights(), set[str]()
        for node in graph.nodes:
            if node.name in done:
                continue
            target = network.target(node, readers) or node.name
            done |= {node.name, target}
            self._plan.append((node, target))
            short = len(node.name) + 1
            tensors = {p.name[short:]: torch.from_numpy(floats[p.name]) for p in graph.parameters_of(node)}
            self._layers.append(_layer(network, node, target, tensors))

    def forward(self, x: Tensor) -> Tensor:
        """The logits (1, classes)."""
        levels: dict[str, Tensor] = {}
        reals: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor) -> None:
            if value.dtype == torch.int8:
                levels[name] = value
            elif name in self._grids:
                levels[name] = to_levels(value, self._grids[name])
            else:
                reals[name] = value

        def read(name: str) -> Tensor:  # a node of its own for each reader, as the partitioner wants them
            return reals[name] if name in reals else to_reals(levels[name], self._grids[name])

        keep(INPUT, x)
        for (node, target), layer in zip(self._plan, self._layers, strict=True):
            same = [self._grids.get(name) == self._grids.get(target) for name in node.inputs]
            if isinstance(node.op, _DROPS) and all(same) and target in self._grids:
                levels[target] = levels[node.inputs[0]]
            elif isinstance(node.op, MOVES) and target in self._grids and not all(same):
                grid = self._grids[target]
                keep(target, layer(*[to_reals(to_levels(read(name), grid), grid) for name in node.inputs]))
            else:
                keep(target, layer(*[read(name) for name in node.inputs]))
        return read(self._output)


def to_levels(x: Tensor, grid: Grid) -> Tensor:
    """The nearest points of a grid, as int8."""
    levels: Tensor = torch.ops.quantized_decomposed.quantize_per_tensor.default(x, *_int8(grid))
    return levels


def to_reals(levels: Tensor, grid: Grid) -> Tensor:
    """What int8 levels stand for."""
    x: Tensor = torch.ops.quantized_decomposed.dequantize_per_tensor.default(levels, *_int8(grid))
    return x


def _int8(grid: Grid) -> tuple[float, int, int, int, torch.dtype]:
    return grid.scale, grid.zero - 128, -128, 127, torch.int8


def _layer(network: Quantized, node: Node, target: str, tensors: dict[str, Tensor]) -> nn.Module:
    """What computes a node."""
    grids = network.grids
    after = network.graph.readers()[node.name]
    rounded = target in grids or (len(after) == 1 and _clips(after[0]) and after[0].name in grids)
    if network.is_int8(node.name) and rounded:
        return _IntegerLayer(network, node)
    if network.is_int8(node.name) and isinstance(node.op, ops.Linear):
        return _Answers(network, node)
    if target in grids and len(node.shape) == 3 and clipped_levels(node, grids) is not None:
        return _HardSigmoid(node.shape[0])
    layer = Layer(network.graph, node)
    for name, tensor in tensors.items():
        (layer.get_parameter if name in layer._parameters else layer.get_buffer)(name).data.copy_(tensor)
    read = grids.get(node.inputs[0])
    if read is not None and isinstance(node.op, _PADS):
        # ExecuTorch 1.5 takes a zero pad right behind a dequantize for a part of an integer layer; not behind this.
        return nn.Sequential(nn.Hardtanh(read.low, read.high), layer)
    return layer


def _clips(node: Node) -> bool:
    return isinstance(node.op, ops.Activation) and node.op.function in ("relu", "relu6")


class _Weights(nn.Module):
    """The stored integers of a layer."""

    def __init__(self, weight: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(np.ascontiguousarray(weight)))
        self.register_buffer("scale", torch.from_numpy(np.ascontiguousarray(scale, np.float32)))
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int64))
        self.register_buffer("bias", torch.from_numpy(np.ascontiguousarray(bias, np.float32)))

    def forward(self) -> tuple[Tensor, Tensor]:
        """(weight, bias) as float32; a bias that is a whole number of steps, which XNNPACK finds again."""
        weight = torch.ops.quantized_decomposed.dequantize_per_channel.default(
            self.get_buffer("weight"), self.get_buffer("scale"), self.get_buffer("zero"), 0, -127, 127, torch.int8
        )
        return weight, self.get_buffer("bias")


def _stored(network: Quantized, name: str, wider: int = 0) -> _Weights:
    weight = network.tensors[f"{name}.weight"]
    padded = np.pad(weight, [(0, 0), (0, wider)]) if wider else weight
    bias = network.tensors[f"{name}.bias"] * network.bias_scale(name).astype(np.float64)
    return _Weights(padded, network.weight_scale(name), bias)


class _IntegerLayer(nn.Module):
    """A convolution or a linear layer whose answer is rounded."""

    def __init__(self, network: Quantized, node: Node) -> None:
        super().__init__()
        self._op, self._stored = node.op, _stored(network, node.name)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._stored()
        op = self._op
        if not isinstance(op, ops.Conv2d):
            return F.linear(x, weight, bias)
        top, left, bottom, right = op.padding
        padding = (top, left)
        if padding != (bottom, right):
            x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        return F.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups)


class _Answers(nn.Module):
    """A linear layer whose answers have no grid: int8 times int8, and real numbers come out.

    XNNPACK does that to float32 inputs, which it puts on a grid from their lowest to their highest value by itself. The
    ends of our grid go in with them, so that it finds ours; their weights are zero.
    """

    def __init__(self, network: Quantized, node: Node) -> None:
        super().__init__()
        grid = network.grids[node.inputs[0]]
        self._stored = _stored(network, node.name, wider=2)
        self.register_buffer("ends", torch.tensor([[grid.low, grid.high]]))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._stored()
        wider = torch.cat([x, self.get_buffer("ends")], 1)
        ends: Sequence[object] = (-128, 127, torch.int8)
        decomposed = torch.ops.quantized_decomposed
        scale, zero = decomposed.choose_qparams.tensor(wider, -128, 127, _EPS, torch.int8)
        levels = decomposed.quantize_per_tensor.tensor(wider, scale, zero, *ends)
        return F.linear(decomposed.dequantize_per_tensor.tensor(levels, scale, zero, *ends), weight, bias)


class _HardSigmoid(nn.Module):
    """x / 6 + 1 / 2, cut at 0 and 1, as a depthwise convolution of one pixel, for which there is an integer kernel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        scale = np.full(channels, np.float32(1 / (6 * 127)))
        self._stored = _Weights(np.full((channels, 1, 1, 1), 127, np.int8), scale, np.full(channels, 0.5))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._stored()
        return F.hardtanh(F.conv2d(x, weight, bias, groups=len(bias)), 0.0, 1.0)
