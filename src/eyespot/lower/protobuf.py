"""Protocol-buffer messages: writes the three encodings that an ONNX file uses, no copy until the end; and reads them.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

_VARINT, _LENGTH, _FIXED32 = 0, 2, 5  # wire types


class Message:
    """A message being written. Fields are numbers; what is added twice is repeated; order is kept."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._size = 0

    def integer(self, field: int, value: int) -> Message:
        """int32, int64, bool or enum."""
        return self._add(varint(field << 3 | _VARINT) + varint(value))

    def real(self, field: int, value: float) -> Message:
        """A 32-bit float."""
        return self._add(varint(field << 3 | _FIXED32) + struct.pack("<f", value))

    def text(self, field: int, value: str) -> Message:
        """A string, in UTF-8."""
        return self.data(field, value.encode())

    def data(self, field: int, value: bytes | memoryview) -> Message:
        """Bytes. A memoryview must be one of bytes; it is kept, not copied, until ``to_bytes``."""
        self._add(varint(field << 3 | _LENGTH) + varint(len(value)))
        return self._add(value)

    def integers(self, field: int, values: Iterable[int]) -> Message:
        """Repeated integers, packed."""
        return self.data(field, b"".join(map(varint, values)))

    def message(self, field: int, value: Message) -> Message:
        """A message inside this one."""
        return self._add(varint(field << 3 | _LENGTH) + varint(value._size)).splice(value)

    def splice(self, value: Message) -> Message:
        """The fields of another message, appended to these."""
        self._parts += value._parts
        self._size += value._size
        return self

    def to_bytes(self) -> bytes:
        """The whole message; the only place that copies."""
        return b"".join(self._parts)

    def _add(self, part: bytes | memoryview) -> Message:
        self._parts.append(part)
        self._size += len(part)
        return self


def varint(value: int) -> bytes:
    """An integer in groups of seven bits, lowest first; negative ones as their 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(message: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that hold texts, bytes or messages, as (number, contents); others are passed over.

    For messages that ``Message`` wrote: ValueError for other wire types.
    """
    view, at = memoryview(message), 0
    while at < len(view):
        tag, at = _read_varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, at = _read_varint(view, at)
        elif wire == _FIXED32:
            at += 4
        elif wire == _LENGTH:
            length, at = _read_varint(view, at)
            yield number, view[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {wire} is none that we write")


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
