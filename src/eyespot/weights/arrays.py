"""Raw bytes of other people's files as numpy arrays: element types by name, and how much a file may unfold to."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import WeightsError

Array = NDArray[Any]
Shape = tuple[int, ...]
ByteOrder = Literal["<", ">"]

# An honest file of floats grows at most twofold (half precision to float32), a little more where layers share tensors;
# what grows further is stretched or compressed to fill the memory of whoever opens it.
UNFOLD = 8
ALLOWANCE = 1 << 20

# numpy has no bfloat16: its bits are read as uint16 and moved to the upper half of a float32.
BFLOAT16 = "bfloat16"
_SIZES = {
    "float64": 8, "float32": 4, "float16": 2, BFLOAT16: 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1,
}  # fmt: skip
ELEMENT_TYPES = frozenset(_SIZES)


def element_size(name: str) -> int:
    """Bytes of one element of this type."""
    return _SIZES[name]


def stored_type(name: str, byte_order: ByteOrder) -> np.dtype[Any]:
    """The numpy type of the stored bits, ``byte_order`` being '<' or '>'."""
    return np.dtype("uint16" if name == BFLOAT16 else name).newbyteorder(byte_order)


def widen(raw: Array, name: str) -> Array:
    """A contiguous array of the machine's own byte order that owns its memory; half precision becomes float32."""
    if name == BFLOAT16:
        bits = raw.astype(np.uint32, order="C")
        bits <<= 16
        return bits.view(np.float32)
    if name == "float16":
        return raw.astype(np.float32, order="C")
    return raw.astype(raw.dtype.newbyteorder("="), order="C", copy=True)


class Budget:
    """Counts what the tensors of one file unfold to, before memory is asked for."""

    def __init__(self, file: str, file_size: int) -> None:
        self._file = file
        self._size = file_size
        self._left = UNFOLD * file_size + ALLOWANCE

    def take(self, name: str, shape: Shape, element: str) -> None:
        """Accounts for one tensor; WeightsError when the file would fill more memory than it could honestly need."""
        # An axis of length zero hides the others from a product, but not from numpy's own limits.
        if any(n < 0 for n in shape) or math.prod(n for n in shape if n) > 1 << 48:
            raise WeightsError(f"{self._file}: {name} has the impossible shape {short_shape(shape)}")
        width = max(element_size(element), 4 if element in ("float16", BFLOAT16) else 1)
        self._left -= math.prod(shape) * width
        if self._left < 0:
            raise WeightsError(
                f"{self._file}: {name} of shape {short_shape(shape)} makes its tensors unfold to more than {UNFOLD} "
                f"times the file's {self._size} bytes; save plain, uncompressed tensors"
            )


def short_shape(shape: Shape) -> str:
    """A shape for an error line, of bounded length whatever a file claims."""
    text = "×".join(str(n) if abs(n) < 1 << 64 else "huge" for n in shape[:8]) or "scalar"
    return f"{text}×…" if len(shape) > 8 else text


def shown(text: str) -> str:
    """Text out of a file for an error line: printable, on one line, of bounded length."""
    clean = "".join(c if c.isprintable() else "?" for c in text[:100])
    return clean + "…" if len(text) > 100 else clean
