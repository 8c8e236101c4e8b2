"""An ONNX file of operations that we know → a graph with tensors, so that it can be quantized, exported, pruned.

What exporters leave behind is folded: arithmetic on shapes, constants, layouts that are undone again. Whatever else is
in the file is refused by its operator and name. ``run.onnx_proof`` compares the graph with the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyespot.core.graph import Graph
from eyespot.core.ops import Shape
from eyespot.core.sketch import Sketch
from eyespot.errors import GraphError, WeightsError
from eyespot.weights.onnx import layout
from eyespot.weights.onnx.constants import fold
from eyespot.weights.onnx.drawing import UNKNOWN, Drawing
from eyespot.weights.onnx.elementwise import ELEMENTWISE
from eyespot.weights.onnx.layers import LAYERS
from eyespot.weights.onnx.model import OnnxInput, OnnxModel, OnnxNode
from eyespot.weights.onnx.moves import MOVES, split

_HANDLERS = {**LAYERS, **ELEMENTWISE, **MOVES}
_MAX_SIDE = 8192


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """A file as a graph.

    Attributes:
        graph: The network; its outputs are the maps that the file's outputs are made of.
        weights: Its tensors.
        outputs: How each of the file's outputs is laid out of those maps, by its name.
        input: The name of the file's input.
        channels_last: Whether the file takes (N, height, width, channels).
        dtype: What the file's input is made of.
    """

    graph: Graph
    weights: dict[str, NDArray[np.float32]] = field(repr=False)
    outputs: Mapping[str, layout.Value]
    input: str
    channels_last: bool
    dtype: str


def to_graph(model: OnnxModel, *, size: tuple[int, int] | None = None) -> OnnxNetwork:
    """Draws what ``read_onnx`` read.

    Args:
        model: The file.
        size: (height, width) of the input, where the file leaves them open.

    Raises:
        WeightsError: The file does something that is not known; the message names the operator.
    """
    if len(model.inputs) != 1:
        names = ", ".join(one.name for one in model.inputs[:3]) or "none"
        raise WeightsError(f"expected an ONNX file with one input, got {len(model.inputs)} ({names})")
    given = model.inputs[0]
    shape, last = _input_shape(given, size)
    drawing = Drawing(model, Sketch(shape))
    start: layout.Value = layout.Leaf(drawing.sketch.input)
    drawing.values[given.name] = layout.transposed(start, (0, 2, 3, 1)) if last else start
    for number, node in enumerate(_with_borders(model, drawing)):
        try:
            with drawing.sketch.scope(f"n{number}"):
                _draw(drawing, node)
        except (GraphError, ValueError, IndexError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"ONNX operator {node.kind} ({node.name[:60]!r}) is not known here: {reason}") from None
    return _finished(model, drawing, given, last=last)


def _draw(drawing: Drawing, node: OnnxNode) -> None:
    given = [drawing.value(name) for name in node.inputs]
    if node.kind == "Split":
        for name, part in zip(node.outputs, split(drawing, node, given), strict=True):
            drawing.values[name] = part
        return
    if node.kind == "Shape" and not isinstance(given[0], np.ndarray):
        made = np.array(given[0].shape, np.int64)
    else:
        folded = fold(node, [value if isinstance(value, np.ndarray) else None for value in given])
        if folded is None and node.kind not in _HANDLERS:
            raise ValueError("no operation of ours does that")
        if folded is None:
            drawing.values[node.outputs[0]] = _HANDLERS[node.kind](drawing, node, given)
            return
        made = folded
    drawing.values[node.outputs[0]] = made


def _finished(model: OnnxModel, drawing: Drawing, given: OnnxInput, *, last: bool) -> OnnxNetwork:
    outputs: dict[str, layout.Value] = {}
    for name in model.outputs:
        value = drawing.values.get(name)
        if value is None or isinstance(value, np.ndarray):
            raise WeightsError(f"expected outputs that come from the input, got {name[:60]!r}")
        outputs[name] = value
        if isinstance(value, layout.Reshaped) and len(value.shape) == 2 and isinstance(value.inside, layout.Leaf):
            outputs[name] = layout.Leaf(drawing.vector(value))
    maps = dict.fromkeys(m.name for value in outputs.values() for m in layout.leaves(value))
    if drawing.sketch.input.name in maps:
        raise WeightsError("expected outputs that something computes, got the input itself")
    graph = drawing.sketch.graph(*drawing.sketch.maps(*maps)).up_to(*maps)
    unknown = next((node.name for node in graph.nodes if UNKNOWN in node.name), None)
    if unknown is not None:
        raise WeightsError("an ONNX operator Softplus or Erf is not known but as a part of Mish or GELU")
    weights = {name: drawing.tensors[name] for name in graph.parameters}
    return OnnxNetwork(graph, weights, outputs, given.name, last, given.dtype)


def _input_shape(given: OnnxInput, size: tuple[int, int] | None) -> tuple[Shape, bool]:
    """((channels, height, width), whether the file has the channels last)."""
    shape = given.shape
    if shape is None or len(shape) != 4 or given.dtype not in ("float32", "uint8"):
        raise WeightsError(f"expected an input of images, float32 or uint8 with four axes, got {given.dtype} {shape}")
    last = shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)
    channels, height, width = (shape[3], *shape[1:3]) if last else shape[1:]
    height, width = (height, width) if size is None else size
    if not (channels > 0 and 0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise WeightsError(f"expected an input of a known size, got {shape}; say its height and width")
    return (channels, height, width), last


def _with_borders(model: OnnxModel, drawing: Drawing) -> list[OnnxNode]:
    """The operators, with borders of zeros that are padded before convolutions and averages given to these."""
    borders: dict[str, tuple[str, tuple[int, ...]]] = {}
    nodes = []
    for node in model.nodes:
        readers = drawing.readers.get(node.outputs[0], []) if node.outputs else []
        pads = _border(node, drawing)
        if pads and readers and all(reader.kind == "Conv" and _is_plain(reader) for reader in readers):
            borders[node.outputs[0]] = node.inputs[0], pads
            continue
        if node.inputs and node.inputs[0] in borders:
            source, more = borders[node.inputs[0]]
            own = node.integers("pads", (0, 0, 0, 0))
            sides = tuple(a + b for a, b in zip(own, more, strict=True))
            node = node._replace(inputs=(source, *node.inputs[1:]), attributes={**node.attributes, "pads": sides})  # noqa: PLW2901
        nodes.append(node)
    return nodes


def _is_plain(node: OnnxNode) -> bool:
    return node.text("auto_pad", "NOTSET") in ("NOTSET", "VALID") and len(node.integers("pads", (0, 0, 0, 0))) == 4


def _border(node: OnnxNode, drawing: Drawing) -> tuple[int, ...] | None:
    """(top, left, bottom, right) of a Pad that puts zeros around a map and nothing else."""
    if node.kind != "Pad" or node.text("mode", "constant") != "constant":
        return None
    pads = node.integers("pads")
    if len(node.inputs) > 1:
        constant = drawing.constant(node.inputs[1])
        pads = () if constant is None else tuple(int(n) for n in constant.ravel())
    value = drawing.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0 or (value is not None and value.any()):
        return None
    return None if node.real("value", 0.0) else (pads[2], pads[3], pads[6], pads[7])
