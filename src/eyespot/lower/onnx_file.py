"""The ONNX file as protobuf: nodes, tensors, inputs and outputs, one model. Knows the format, nothing of our networks.

Field numbers: onnx/onnx.proto of ONNX 1.12, the release of opset 17 and IR version 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.lower.protobuf import Message, fields

IR_VERSION, OPSET = 8, 17
Attribute = int | float | str | Sequence[int]
Dimension = int | str  # a name for an axis of any length
_DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10, "uint16": 16}  # bfloat16 as bits
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7  # AttributeProto.AttributeType


class OnnxFile:
    """A model being written. Nodes must be added in order of execution."""

    def __init__(self, name: str) -> None:
        self._graph = Message()
        self._tensors = Message()
        self._name = name
        self._constants: set[str] = set()

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        *,
        name: str,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        """One operator; an empty input is one left out. Returns the name of what it makes."""
        node = Message()
        for value in inputs:
            node.text(1, value)
        node.text(2, output).text(3, name).text(4, kind)
        for key, attribute in (attributes or {}).items():
            node.message(5, _attribute(key, attribute))
        self._graph.message(1, node)
        return output

    def tensor(self, name: str, array: NDArray[Any]) -> str:
        """An initializer. It must not change before ``to_bytes``, which copies it; nothing does before."""
        array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        tensor = Message().integers(1, array.shape).integer(2, _DTYPES[array.dtype.name]).text(8, name)
        self._tensors.message(5, tensor.data(9, array.reshape(-1).view(np.uint8).data))
        return name

    def floats(self, *values: float) -> str:
        """A constant vector of float32, written once; one value gives a scalar."""
        return self._constant("float", np.array(values if len(values) > 1 else values[0], np.float32))

    def integers(self, *values: int) -> str:
        """A constant vector of int64, written once."""
        return self._constant("int", np.array(values, np.int64))

    def level(self, value: int) -> str:
        """A constant scalar of uint8, written once."""
        return self._constant("level", np.array(value, np.uint8))

    def _constant(self, kind: str, array: NDArray[Any]) -> str:
        name = f"{kind}:{','.join(map(str, np.atleast_1d(array).tolist()))}"
        if name not in self._constants:
            self._constants.add(name)
            self.tensor(name, array)
        return name

    def input(self, name: str, dtype: str, shape: Sequence[Dimension]) -> str:
        """An input of the model."""
        self._tensors.message(11, _value(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[Dimension]) -> None:
        """An output of the model; a node must make it."""
        self._tensors.message(12, _value(name, dtype, shape))

    def to_bytes(self, *, producer: str, version: str, metadata: Mapping[str, str]) -> bytes:
        """The file; here the tensors are copied, once."""
        graph = self._graph.text(2, self._name).splice(self._tensors)
        model = Message().integer(1, IR_VERSION).text(2, producer).text(3, version).message(7, graph)
        model.message(8, Message().text(1, "").integer(2, OPSET))
        for key, value in metadata.items():
            model.message(14, Message().text(1, key).text(2, value))
        return model.to_bytes()


def with_outputs(model: bytes, names: Sequence[str]) -> tuple[bytes, list[str]]:
    """A file of ours with the float32 values among ``names`` as its outputs too, and those that it has, in its order.

    Messages that follow one another are read as one, so the bytes stay as they are and get an appendix.
    """
    wanted, found = set(names), []
    (graph,) = (contents for field, contents in fields(model) if field == 7)
    given = {_name(contents) for field, contents in fields(graph) if field == 12}
    for field, node in fields(graph):
        if field == 1:
            outputs = [str(contents, "utf-8") for part, contents in fields(node) if part == 2]
            found += [name for name in outputs if name in wanted and name not in given]
    appendix = Message()
    for name in found:
        appendix.message(12, Message().text(1, name).message(2, Message().message(1, Message().integer(1, 1))))
    return model + Message().message(7, appendix).to_bytes(), found


def _name(value: memoryview) -> str:
    return next(str(contents, "utf-8") for field, contents in fields(value) if field == 1)


def _attribute(name: str, value: Attribute) -> Message:
    message = Message().text(1, name)
    if isinstance(value, int):
        return message.integer(3, value).integer(20, _INT)
    if isinstance(value, float):
        return message.real(2, value).integer(20, _FLOAT)
    if isinstance(value, str):
        return message.text(4, value).integer(20, _STRING)
    for number in value:
        message.integer(8, number)  # proto2: not packed
    return message.integer(20, _INTS)


def _value(name: str, dtype: str, shape: Sequence[Dimension]) -> Message:
    dimensions = Message()
    for axis in shape:
        dimensions.message(1, Message().text(2, axis) if isinstance(axis, str) else Message().integer(1, axis))
    tensor = Message().integer(1, _DTYPES[dtype]).message(2, dimensions)
    return Message().text(1, name).message(2, Message().message(1, tensor))
