"""Writes tensors as torch.save would: a state dict in torch's zip format, for ``torch.load(weights_only=True)``.

The pickle is put together from the few operations that a dictionary of tensors needs (pickletools names them).
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from eyespot.weights.arrays import Array

_STORAGES = {"float32": b"FloatStorage", "int64": b"LongStorage"}
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"  # the class, called with nothing
_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same tensors


def torch_bytes(tensors: Mapping[str, Array]) -> bytes:
    """The bytes of a .pth file; tensors of float32 and int64."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", _pickle(tensors))
        _add(archive, "byteorder", b"little")
        for key, tensor in enumerate(tensors.values()):
            _add(archive, f"data/{key}", np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
        _add(archive, "version", b"3\n")
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(f"archive/{name}", _DATE), data)


def _pickle(tensors: Mapping[str, Array]) -> bytes:
    items = b"".join(_text(name) + _tensor(key, tensor) for key, (name, tensor) in enumerate(tensors.items()))
    # Protocol 2; all items set at once. Of the versions that torch notes beside a state dict, torchvision's MNASNet
    # loads nothing without its own, 2; the root of every other network has none that it would read.
    version = b"}" + _text("version") + _number(2) + b"s"
    metadata = b"}" + _text("_metadata") + _ORDERED_DICT + _text("") + version + b"ss"
    return b"\x80\x02" + _ORDERED_DICT + b"(" + items + b"u" + metadata + b"b."


def _tensor(key: int, tensor: Array) -> bytes:
    """_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks); Q looks the storage up."""
    kind = b"ctorch\n" + _STORAGES[tensor.dtype.name] + b"\n"
    storage = b"(" + _text("storage") + kind + _text(str(key)) + _text("cpu") + _number(tensor.size) + b"tQ"
    strides = [int(np.prod(tensor.shape[axis + 1 :], dtype=np.int64)) for axis in range(tensor.ndim)]
    described = storage + _number(0) + _numbers(tensor.shape) + _numbers(strides) + b"\x89" + _ORDERED_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + described + b"tR"


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _numbers(values: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
