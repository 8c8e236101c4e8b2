"""Reads the tensors of a file of torch.save without torch, in both of its formats, and runs nothing that is in it.

zip (torch 1.6 and later): ``NAME/data.pkl`` describes the objects, ``NAME/data/KEY`` are the raw storages, stored
uncompressed; ``NAME/byteorder`` says 'little' or 'big'.
legacy: five pickles in a row (magic number, protocol version, facts about the system, the objects, the keys of the
storages in order), then for each key the number of elements (int64) and the raw elements, always little-endian.
Source: torch/serialization.py.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import Array, Budget, ByteOrder, element_size, shown, stored_type, widen
from eyespot.weights.class_names import ClassNames
from eyespot.weights.pickle_machine import Buffer, Machine
from eyespot.weights.state_dict import find_state_dict
from eyespot.weights.torch_names import NAMES, Storage, Storages, StoredTensor
from eyespot.weights.unwrap import unwrap

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x8a\x0a" + MAGIC_NUMBER.to_bytes(10, "little") + b"."
PROTOCOL_VERSION = 1001
MAX_PICKLE_BYTES = 64 << 20  # the description of the objects alone; MobileNetV2's is 47 kB


class TorchTensors(NamedTuple):
    """Tensors by name in file order; ``under`` is the key that held them, ``prefix`` what was cut off every name.

    beside: the keys of other networks in the file. architecture: what the training script calls the network.
    """

    tensors: dict[str, Array]
    format: str
    under: str | None
    prefix: str
    beside: tuple[str, ...] = ()
    architecture: str | None = None
    classes: ClassNames | None = None


def read_torch(path: Path) -> TorchTensors:
    """The network's tensors in a file of torch.save, ``.pth``, ``.pt``, ``.ckpt``, …. UnsafeFile for programs."""
    file = path.name
    try:
        with path.open("rb") as opened:
            # Unmapped when the last view goes: every array that leaves this function owns its memory.
            data = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}") from None
    if bytes(data[:4]) == b"PK\x03\x04":
        return _read_zip(path, data)
    return _read_legacy(file, data)


# --- zip ---


def _read_zip(path: Path, data: Buffer) -> TorchTensors:
    file = path.name
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError, RuntimeError) as error:
        raise WeightsError(f"{file} is a damaged zip: {shown(str(error))}; fetch it again") from None
    by_name = {entry.filename: entry for entry in entries}
    if len(by_name) != len(entries):
        raise WeightsError(f"{file} is a zip that holds a name twice; fetch it again")
    descriptions = [name for name in by_name if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(descriptions) != 1:
        kind = "a Keras 3 file; save the model as .h5" if "model.weights.h5" in by_name else "another kind of zip"
        raise WeightsError(f"{file} holds no data.pkl, so torch.save did not write it: it is {kind}")
    root = descriptions[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in by_name:
        raise UnsafeFile(f"{file} is a TorchScript program; save only its tensors: torch.save(m.state_dict(), …)")
    read = _entry_reader(file, data, by_name)
    text = read(descriptions[0])
    if len(text) > MAX_PICKLE_BYTES:
        raise WeightsError(f"{file}: data.pkl has {len(text)} bytes, at most {MAX_PICKLE_BYTES} describe a network")
    order = bytes(read(f"{root}byteorder")) if f"{root}byteorder" in by_name else b"little"
    if order not in (b"little", b"big"):
        raise WeightsError(f"{file}: byteorder is {shown(repr(order))}, not little or big")
    objects = Machine(text, 0, file, NAMES, Storages()).run()
    byte_order: ByteOrder = "<" if order == b"little" else ">"
    raw: dict[str, Buffer] = {}  # a storage is checked once, however many tensors share it

    def storage_bytes(storage: Storage) -> Buffer:
        if storage.key not in raw:
            raw[storage.key] = read(f"{root}data/{storage.key}")
        return raw[storage.key]

    return _gather(file, objects, "torch zip", _Unfolder(file, len(data), byte_order, storage_bytes))


def _entry_reader(file: str, data: Buffer, entries: Mapping[str, zipfile.ZipInfo]) -> Callable[[str], Buffer]:
    def read(name: str) -> Buffer:
        entry = entries.get(name)
        if entry is None:
            raise WeightsError(f"{file} misses {shown(name)}, which its data.pkl refers to; fetch it again")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1:
            raise WeightsError(f"{file}: {shown(name)} is compressed or encrypted; torch.save writes neither")
        start, size = entry.header_offset, entry.file_size
        header = bytes(data[start : start + 30])
        if start < 0 or len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise WeightsError(f"{file}: {shown(name)} does not lie where the zip says; fetch it again")
        start += 30 + sum(struct.unpack("<HH", header[26:30]))  # the name and the padding that aligns the storage
        if size != entry.compress_size or start + size > len(data):
            raise WeightsError(f"{file}: {shown(name)} claims {size} bytes, more than the file holds; fetch it again")
        raw = data[start : start + size]
        if zlib.crc32(raw) != entry.CRC:
            raise WeightsError(f"{file}: {shown(name)} is damaged (its checksum differs); fetch it again")
        return raw

    return read


# --- legacy ---


def _read_legacy(file: str, data: Buffer) -> TorchTensors:
    position = 0
    storages = Storages()

    def next_object(allowed: Mapping[str, object]) -> object:
        nonlocal position
        machine = Machine(data[: position + MAX_PICKLE_BYTES], position, file, allowed, storages)
        value = machine.run()
        position = machine.position
        return value

    if next_object({}) != MAGIC_NUMBER:
        raise WeightsError(f"{file} is no torch file: it does not begin with torch's magic number")
    if (version := next_object({})) != PROTOCOL_VERSION:
        raise WeightsError(f"{file} says its format is {_brief(version)}; torch wrote {PROTOCOL_VERSION} only")
    next_object({})  # byte order and sizes of types of the machine that wrote it; the data is little-endian regardless
    objects, keys = next_object(NAMES), next_object({})
    if not isinstance(keys, list):
        raise WeightsError(f"{file} is damaged: the list of its storages is missing; fetch it again")
    raw = _legacy_storages(file, data, position, keys, storages.by_key)
    return _gather(file, objects, "torch legacy", _Unfolder(file, len(data), "<", lambda storage: raw[storage.key]))


def _brief(value: object) -> str:
    """A number or a text as it is, and of anything else its type alone: a container may describe itself without end."""
    return shown(repr(value)) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"


def _legacy_storages(
    file: str, data: Buffer, position: int, keys: list[object], known: Mapping[str, Storage]
) -> dict[str, Buffer]:
    raw: dict[str, Buffer] = {}
    for key in keys:
        storage = known.get(key) if isinstance(key, str) else None
        if storage is None:
            raise WeightsError(f"{file} is damaged: it holds a storage that no tensor uses; fetch it again")
        count = struct.unpack("<q", data[position : position + 8])[0] if position + 8 <= len(data) else -1
        width = element_size(storage.element) if storage.element else 1
        start, position = position + 8, position + 8 + storage.total * width
        if count != storage.total or position > len(data):
            raise WeightsError(f"{file} ends early or is damaged at storage {shown(storage.key)}; fetch it again")
        raw[storage.key] = data[start:position]
    missing = known.keys() - raw.keys()
    if missing:
        raise WeightsError(f"{file} is damaged: {len(missing)} of its storages are missing; fetch it again")
    return raw


# --- tensors ---


class _Unfolder:
    """Turns described tensors into arrays, each storage view once."""

    def __init__(self, file: str, size: int, byte_order: ByteOrder, storage_bytes: Callable[[Storage], Buffer]) -> None:
        self._file = file
        self._budget = Budget(file, size)
        self._byte_order = byte_order
        self._bytes = storage_bytes
        self._done: dict[object, Array] = {}

    def __call__(self, name: str, tensor: StoredTensor) -> Array:
        storage = tensor.storage
        view = (storage.key, storage.start, tensor.offset, tensor.shape, tensor.stride, tensor.element)
        if view not in self._done:
            self._budget.take(name, tensor.shape, tensor.element)
            self._done[view] = self._unfold(tensor)
        return self._done[view]

    def _unfold(self, tensor: StoredTensor) -> Array:
        kind = stored_type(tensor.element, self._byte_order)
        if 0 in tensor.shape:
            return widen(np.empty(tensor.shape, kind), tensor.element)
        storage = tensor.storage
        raw = self._bytes(storage)
        width = kind.itemsize if storage.element else 1
        if len(raw) != storage.total * width:
            raise WeightsError(
                f"{self._file}: storage {shown(storage.key)} has {len(raw)} bytes, {storage.total * width} were "
                "described; fetch it again"
            )
        start = storage.start * width + tensor.offset * kind.itemsize
        strides = tuple(step * kind.itemsize for step in tensor.stride)
        # The machine checked offset, shape and stride against the storage; numpy checks them against the bytes again.
        return widen(np.ndarray(tensor.shape, kind, raw, start, strides), tensor.element)


def _gather(file: str, objects: object, kind: str, unfold: _Unfolder) -> TorchTensors:
    state = find_state_dict(file, objects)
    scalars = frozenset(name for name, tensor in state.tensors.items() if not tensor.shape)
    described, prefix = unwrap(state.tensors, scalars=scalars)
    tensors = {name: unfold(name, tensor) for name, tensor in described.items()}
    return TorchTensors(tensors, kind, state.under, prefix, state.beside, state.architecture, state.classes)
