"""Reads .safetensors: the package checks the header; the tensors come in the order in which they lie in the file."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from eyespot.errors import WeightsError
from eyespot.weights.arrays import Array, element_size, shown, stored_type, widen

MAX_HEADER = 32 << 20  # bytes; a network of 10,000 tensors needs one
_ELEMENTS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, Array]:
    """The tensors by name, half precision as float32. WeightsError when it is damaged or holds a type numpy lacks."""
    file = path.name
    try:
        with path.open("rb") as opened:
            size = struct.unpack("<Q", opened.read(8))[0]
            if size > min(MAX_HEADER, path.stat().st_size):
                raise WeightsError(f"{file} claims a header of {size} bytes, at most {MAX_HEADER} and the file's own")
            # The package checks shapes against offsets, and that the tensors fill the file without gap or overlap.
            with safe_open(path, framework="numpy"):
                pass
            header: dict[str, Any] = json.loads(opened.read(size))
            header.pop("__metadata__", None)
            in_order = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
            return {name: _read(file, opened, 8 + size, name, entry) for name, entry in in_order}
    except (OSError, SafetensorError, struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{file} is damaged or no safetensors file: {shown(str(error))}; fetch it again") from None


def _read(file: str, opened: Any, data: int, name: str, entry: dict[str, Any]) -> Array:
    element = _ELEMENTS.get(entry["dtype"])
    if element is None:
        raise WeightsError(f"{file}: {shown(name)} is {shown(entry['dtype'])}; save it as F32, F16 or BF16")
    shape = tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if end - start != math.prod(shape) * element_size(element):
        raise WeightsError(f"{file}: {shown(name)} has other bytes than its shape needs; fetch it again")
    opened.seek(data + start)
    raw = opened.read(end - start)
    return widen(np.frombuffer(raw, stored_type(element, "<")).reshape(shape), element)
