"""Reads ONNX files: nodes, tensors, inputs and outputs; bounded, and nothing of other files.

Field numbers: onnx/onnx.proto. Whatever points outside the file (external data), runs code of others (custom
operators, functions) or branches (subgraphs) is refused by its name.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import UnsafeFile, WeightsError

MAX_BYTES = 2 << 30  # protobuf's own limit
MAX_NODES = 20_000
MAX_AXES = 16

Tensor = NDArray[Any]
Attribute = int | float | str | Tensor | tuple[int, ...] | tuple[float, ...]

_DTYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4",
    13: "<u8",
}  # fmt: skip
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class OnnxNode(NamedTuple):
    """One operator; an empty input is one left out."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def integer(self, name: str, default: int) -> int:
        """An attribute that is one whole number."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def integers(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        value = self.attributes.get(name, tuple(default))
        return tuple(int(one) for one in value) if isinstance(value, tuple) else tuple(default)

    def real(self, name: str, default: float) -> float:
        """An attribute that is one number."""
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str = "") -> str:
        """An attribute that is a text."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else default


class OnnxInput(NamedTuple):
    """An input of the model. shape: 0 where an axis has any length, None where the rank is not said."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """What a file holds. Nodes are in order of execution, as the format asks for."""

    opset: int
    nodes: tuple[OnnxNode, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]


def read_onnx(data: bytes) -> OnnxModel:
    """Parses the bytes of an ``.onnx`` file.

    Raises:
        WeightsError: They are no ONNX model, or a damaged one.
        UnsafeFile: It needs other files or other people's code.
    """
    if len(data) > MAX_BYTES:
        raise UnsafeFile(f"expected an ONNX file of at most {MAX_BYTES >> 30} GB, got {len(data) >> 20} MB")
    try:
        return _model(memoryview(data))
    except (ValueError, TypeError, KeyError, struct.error, IndexError, OverflowError, MemoryError) as error:
        raise WeightsError(f"expected an ONNX file, got something else or a damaged one ({error})") from None


def _model(data: memoryview) -> OnnxModel:
    graph, opset = None, 0
    for number, wire, value in _fields(data):
        if number == 7 and wire == _LENGTH:
            graph = value
        elif number == 8 and wire == _LENGTH:
            parts = _single(value)
            domain = _text(parts.get(1, memoryview(b"")))
            if domain in ("", "ai.onnx"):
                opset = int(parts.get(2, 0))
        elif number == 25:
            raise UnsafeFile("expected an ONNX file of standard operators, got one with functions of its own")
    if graph is None or not 7 <= opset <= 99:
        raise ValueError("no graph" if graph is None else f"opset {opset}, where 7 is the first that is read")
    return _graph(graph, opset)


def _graph(graph: memoryview, opset: int) -> OnnxModel:
    nodes: list[OnnxNode] = []
    tensors: dict[str, Tensor] = {}
    inputs: list[OnnxInput] = []
    outputs: list[str] = []
    for number, _, value in _fields(graph):
        if number == 1:
            if len(nodes) == MAX_NODES:
                raise UnsafeFile(f"expected at most {MAX_NODES:,} operators in an ONNX file, got more")
            nodes.append(_node(value))
        elif number == 5:
            name, tensor = _tensor(value)
            tensors[name] = tensor
        elif number == 11:
            inputs.append(_input(value))
        elif number == 12:
            outputs.append(_text(_single(value)[1]))
        elif number == 15:
            raise UnsafeFile("expected dense tensors in an ONNX file, got sparse ones")
    given = tuple(one for one in inputs if one.name not in tensors)
    return OnnxModel(opset, tuple(nodes), tensors, given, tuple(outputs))


def _node(data: memoryview) -> OnnxNode:
    inputs, outputs, attributes = [], [], {}
    name = kind = domain = ""
    for number, _, value in _fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 3:
            name = _text(value)
        elif number == 4:
            kind = _text(value)
        elif number == 5:
            key, attribute = _attribute(value)
            attributes[key] = attribute
        elif number == 7:
            domain = _text(value)
    if domain not in ("", "ai.onnx"):
        raise UnsafeFile(f"expected standard operators in an ONNX file, got {_shown(kind)} of {_shown(domain)}")
    return OnnxNode(kind, name or (outputs[0] if outputs else kind), tuple(inputs), tuple(outputs), attributes)


def _attribute(data: memoryview) -> tuple[str, Attribute]:
    name, integers = "", list[int]()
    reals: list[float] = []
    value: Attribute | None = None
    for number, wire, part in _fields(data):
        if number == 1:
            name = _text(part)
        elif number == 2:
            value = struct.unpack("<f", part)[0]
        elif number == 3:
            value = _signed(part)
        elif number == 4:
            value = _text(part)
        elif number == 5:
            value = _tensor(part)[1]
        elif number in (6, 11):
            raise UnsafeFile("expected an ONNX file without branches, got one with subgraphs")
        elif number == 7:
            reals += _values(4, wire, part)
        elif number == 8:
            integers += _integers(wire, part)
    if value is None:
        value = tuple(reals) if reals else tuple(integers)
    return name, value


def _tensor(data: memoryview) -> tuple[str, Tensor]:
    name, shape, kind = "", [], 0
    raw: memoryview | None = None
    values: list[Any] = []
    for number, wire, part in _fields(data):
        if number == 1:
            shape += _integers(wire, part)
        elif number == 2:
            kind = part
        elif number == 8:
            name = _text(part)
        elif number == 9:
            raw = part
        elif number == 13 or (number == 14 and part):
            raise UnsafeFile(f"expected tensors inside the ONNX file, got {_shown(name)} in a file of its own")
        else:
            values += _values(number, wire, part)
    if kind not in _DTYPES:
        raise ValueError(f"tensor {_shown(name)} has the element type {kind}")
    return name, _array(name, kind, shape, raw, values)


def _array(name: str, kind: int, shape: Sequence[int], raw: memoryview | None, values: Sequence[Any]) -> Tensor:
    dtype = np.dtype(_DTYPES[kind])
    if len(shape) > MAX_AXES or any(axis < 0 for axis in shape):
        raise ValueError(f"tensor {_shown(name)} has the shape {shape[:MAX_AXES]}")
    count = math.prod(shape)
    if raw is not None:
        if len(raw) != count * dtype.itemsize:
            raise ValueError(f"tensor {_shown(name)} holds {len(raw)} bytes for the shape {shape}")
        return np.frombuffer(raw, dtype).reshape(shape)
    if len(values) != count:
        raise ValueError(f"tensor {_shown(name)} holds {len(values)} values for the shape {shape}")
    if kind == 10:  # halves travel as the integers that their bits are
        return np.array(values, np.uint16).view(np.float16).reshape(shape)
    return np.array(values).astype(dtype).reshape(shape)


def _values(number: int, wire: int, part: Any) -> list[Any]:
    """Elements of a tensor that are written one by one or packed; none for other fields."""
    if number in (4, 10):
        values: list[float] = np.frombuffer(part, "<f4" if number == 4 else "<f8").tolist()
        return values
    return _integers(wire, part) if number in (5, 7, 11) else []


def _input(data: memoryview) -> OnnxInput:
    parts = _single(data)
    tensor = _single(_single(parts[2])[1])
    dtype = np.dtype(_DTYPES.get(int(tensor.get(1, 0)), "O")).name
    if 2 not in tensor:
        return OnnxInput(_text(parts[1]), dtype, None)
    axes = [_single(part) for number, _, part in _fields(tensor[2]) if number == 1]
    return OnnxInput(_text(parts[1]), dtype, tuple(_signed(axis.get(1, 0)) for axis in axes))


def _single(data: memoryview) -> dict[int, Any]:
    """Fields that do not repeat; of those that do, the last."""
    return {number: value for number, _, value in _fields(data)}


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field; ValueError where the message ends too soon."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _LENGTH:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {wire}")
        if length > len(data) - at:
            raise ValueError("a field that is longer than the file")
        yield number, wire, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number of more than 64 bits")


def _integers(wire: int, part: Any) -> list[int]:
    """Whole numbers that are written one by one or packed."""
    if wire == _VARINT:
        return [_signed(part)]
    values, at = [], 0
    while at < len(part):
        value, at = _varint(part, at)
        values.append(_signed(value))
    return values


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(data: memoryview) -> str:
    return str(data, "utf-8", "replace")


def _shown(text: str) -> str:
    return repr(text[:60])
