"""Reads numpy's .npz: a zip with one array per file, by name. Arrays of objects, which are pickles, are refused."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

from numpy.lib import format as npy

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import ELEMENT_TYPES, Array, Budget, shown, widen

_DAMAGED = (
    OSError, EOFError, ValueError, LookupError, TypeError, NotImplementedError, RuntimeError, MemoryError, SyntaxError,
    struct.error, tokenize.TokenError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def is_npz(path: Path) -> bool:
    """Whether a zip archive holds numpy's arrays and nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _DAMAGED:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays by name, half precision as float32. UnsafeFile for objects; WeightsError for what is damaged."""
    budget = Budget(path.name, path.stat().st_size)
    tensors: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                tensors[entry.filename.removesuffix(".npy")] = _read(path.name, archive, entry.filename, budget)
    except _DAMAGED as error:
        raise WeightsError(f"{path.name} is damaged or no .npz: {shown(str(error))}; save it again") from None
    return tensors


def _read(file: str, archive: zipfile.ZipFile, name: str, budget: Budget) -> Array:
    with archive.open(name) as stored:
        version = npy.read_magic(stored)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read_header(stored)
    if kind.hasobject:
        raise UnsafeFile(f"{file}: {shown(name)} holds Python objects, which run code; save arrays of floats")
    if kind.name not in ELEMENT_TYPES:
        raise WeightsError(f"{file}: {shown(name)} holds {shown(str(kind))}; save floating point")
    budget.take(shown(name), shape, kind.name)
    with archive.open(name) as stored:
        return widen(npy.read_array(stored, allow_pickle=False), kind.name)
