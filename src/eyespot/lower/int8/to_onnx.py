"""Quantized → ONNX: integers between QuantizeLinear and DequantizeLinear, in opset 17 as everything else.

ONNX Runtime turns ``dequantize → op → quantize`` into one integer kernel (QLinearConv, QLinearAdd, QGemm, …) and keeps
maps channels-last in between. Other tools read the same file. What only moves or compares values works on uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import LOGITS, PIXELS, Preprocess
from eyespot.lower.int8.quantized import Grid, Quantized, clipped_levels, rectifies
from eyespot.lower.onnx import BATCH, pixels, write_node
from eyespot.lower.onnx_file import OnnxFile

# What only moves or compares values: it works on levels as they are, on one grid for all that it reads and gives.
MOVES = (ops.MaxPool, ops.Flatten, ops.Slice, ops.Shuffle, ops.Concat, ops.Dropout, ops.DropPath)


def quantized_to_onnx(
    network: Quantized,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),
    outputs: tuple[str, ...] = (),
) -> bytes:
    """An ONNX file that takes "pixels", uint8 (N, H, W, 3), RGB, and gives "logits", float32.

    outputs: the nodes to give instead, by their names; for looking inside.

    Where the network reads whole grey levels (``preprocess.scale`` 1, one mean, no deviation, red first) the pixels go
    into its first layer as they are.
    """
    writer = _Writer(network, outputs)
    writer.input(preprocess)
    for node in network.graph.nodes:
        writer.node(node)
    return writer.finish(metadata)


def reads_pixels(preprocess: Preprocess) -> Grid | None:
    """The grid on which pixels already lie for a network that reads grey levels; None when it does not."""
    zero = preprocess.mean[0]
    plain = preprocess.scale == 1 and preprocess.std == (1, 1, 1) and set(preprocess.mean) == {zero}
    if plain and preprocess.channels == "rgb" and zero == round(zero) and 0 <= zero <= 255:
        return Grid(1.0, round(zero))
    return None


def is_all_integer(network: Quantized, preprocess: Preprocess) -> bool:
    """Whether whole numbers are all that is computed, from the pixels to the sums that the outputs are made of.

    Where that is so the levels do not depend on how a runtime orders or fuses floating point; a sigmoid's table or a
    first layer in float32 may differ in a last digit, which rounding then makes a level.
    """
    grid, readers = network.grids.get(INPUT), network.graph.readers()
    if grid is None or grid != reads_pixels(preprocess):
        return False
    return all(_computes_integers(network, node, readers) for node in network.graph.nodes)


def _computes_integers(network: Quantized, node: Node, readers: Mapping[str, list[Node]]) -> bool:
    grids = network.grids
    if any(name not in grids for name in node.inputs):  # what is left to do behind a layer is to round
        return node.name in grids and rectifies(node.op, grids[node.name])
    rounded = network.target(node, readers) is not None
    if network.is_int8(node.name):
        return rounded or node.name in network.graph.outputs
    if node.name in grids and clipped_levels(node, grids) is not None:
        return True
    if isinstance(node.op, ops.Add):
        return rounded and len(node.inputs) == 2
    nearest = isinstance(node.op, ops.Resize) and node.op.mode == "nearest"
    return rounded and (nearest or isinstance(node.op, (ops.Mul, ops.GlobalAvgPool, *MOVES)))


class _Writer:
    """Writes node by node and knows under which names each value stands: as float, as uint8, or as both."""

    def __init__(self, network: Quantized, outputs: tuple[str, ...]) -> None:
        self._network = network
        self._outputs = outputs or network.graph.outputs
        self._graph: Graph = network.graph
        self._readers = network.graph.readers()
        self._file = OnnxFile("eyespot")
        self._float: dict[str, str] = {}
        self._uint8: dict[str, str] = {}

    def input(self, preprocess: Preprocess) -> None:
        grid = self._network.grids.get(INPUT)
        if grid is not None and grid == reads_pixels(preprocess):
            name = self._file.input(PIXELS, "uint8", (BATCH, *preprocess.size, 3))
            axes = {"perm": (0, 3, 1, 2)}
            self._uint8[INPUT] = self._file.node("Transpose", [name], "pixels:nchw", name="pixels.t", attributes=axes)
        else:
            self._float[INPUT] = pixels(self._file, self._graph, preprocess)
            self._to_grid(INPUT)

    def node(self, node: Node) -> None:
        name, grids = node.name, self._network.grids
        grid = grids.get(name)
        moves = isinstance(node.op, MOVES) or (isinstance(node.op, ops.Resize) and node.op.mode == "nearest")
        if grid and moves and all(grids.get(i) == grid for i in node.inputs):
            write_node(self._file, node, [self._uint8[i] for i in node.inputs], [], f"{name}:q")
            self._uint8[name] = f"{name}:q"
        elif grid and (levels := clipped_levels(node, grids)) is not None:
            bounds = [self._file.level(0), self._file.level(levels)]
            self._uint8[name] = self._file.node("Clip", [self._uint8[node.inputs[0]], *bounds], f"{name}:q", name=name)
        elif grid and rectifies(node.op, grid) and node.inputs[0] not in grids:
            self._float[name] = self._float[node.inputs[0]]  # rounding to the grid is all that is left to do
            self._to_grid(name)
        else:
            last = self._outputs == (name,) and grid is None
            self._float[name] = LOGITS if last else name
            inputs = [self._as_float(i) for i in node.inputs]
            write_node(self._file, node, inputs, self._tensors(node), self._float[name])
            self._to_grid(name)

    def finish(self, metadata: Mapping[str, str]) -> bytes:
        for name in self._outputs:
            self._file.output(self._as_float(name), "float32", (BATCH, *self._graph.shape(name)))
        return self._file.to_bytes(producer="eyespot", version="", metadata=metadata)

    def _tensors(self, node: Node) -> list[str]:
        """The node's parameters as float, whatever they are stored as: DequantizeLinear and Cast of constants."""
        network, file = self._network, self._file
        names = []
        for parameter in self._graph.parameters_of(node):
            name, tensor = parameter.name, network.tensors[parameter.name]
            if tensor.dtype == np.float32:
                names.append(file.tensor(name, tensor))
                continue
            stored = file.tensor(f"{name}:stored", tensor)
            if tensor.dtype in (np.float16, np.uint16):
                names.append(file.node("Cast", [stored], name, name=f"{name}.cast", attributes={"to": 1}))
                continue
            of_weight = tensor.dtype == np.int8
            scale = network.weight_scale(node.name) if of_weight else network.bias_scale(node.name)
            step = file.tensor(f"{name}:scale", scale)
            zero = file.tensor(f"{name}:zero", np.zeros(len(scale), tensor.dtype))
            axis = {"axis": 1 if of_weight and isinstance(node.op, ops.ConvTranspose2d) else 0}
            constants = [stored, step, zero]
            names.append(file.node("DequantizeLinear", constants, name, name=f"{name}.dq", attributes=axis))
        return names

    def _grid(self, name: str) -> list[str]:
        grid = self._network.grids[name]
        return [self._file.floats(grid.scale), self._file.level(grid.zero)]

    def _to_grid(self, name: str) -> None:
        if name in self._network.grids:
            inputs = [self._float[name], *self._grid(name)]
            self._uint8[name] = self._file.node("QuantizeLinear", inputs, f"{name}:q", name=f"{name}.q")
            del self._float[name]  # readers see the rounded values

    def _as_float(self, name: str) -> str:
        if name not in self._float:
            output = LOGITS if self._outputs == (name,) else f"{name}:dq"
            inputs = [self._uint8[name], *self._grid(name)]
            self._float[name] = self._file.node("DequantizeLinear", inputs, output, name=f"{name}.dq")
        return self._float[name]
