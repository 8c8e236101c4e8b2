"""Reads Keras 3's .keras archive: ``config.json`` names the layers, ``model.weights.h5`` holds their tensors.

No class that the description names is imported; of the archive's files nothing but these two is read.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from pathlib import Path

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import ALLOWANCE, UNFOLD, shown
from eyespot.weights.keras_config import DAMAGED, MAX_BYTES, layer_names, parse
from eyespot.weights.keras_h5 import KerasWeights, read_keras_h5

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_PIECE = 1 << 20


def is_keras_zip(path: Path) -> bool:
    """Whether a zip archive is a Keras model."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {_CONFIG, _WEIGHTS} <= set(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def read_keras_zip(path: Path) -> KerasWeights:
    """Weights by name and the model's description. UnsafeFile for an archive that unfolds too far; WeightsError."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            config = parse(_read(path, archive, _CONFIG, MAX_BYTES))
            names = layer_names(config)
            inner = Path(folder) / path.name
            size = path.stat().st_size
            with inner.open("wb") as out:
                out.write(_read(path, archive, _WEIGHTS, UNFOLD * size + ALLOWANCE))
            return KerasWeights(read_keras_h5(inner, names).tensors, config)
    except (OSError, EOFError, zlib.error, NotImplementedError, RuntimeError, zipfile.BadZipFile, *DAMAGED) as error:
        raise WeightsError(f"{path.name} is damaged or no Keras model: {shown(str(error))}; fetch it again") from None


def _read(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if archive.namelist().count(name) != 1:
        raise WeightsError(f"{path.name} holds {name} more than once; save the model afresh")
    parts: list[bytes] = []
    length = 0
    with archive.open(name) as stored:
        while piece := stored.read(_PIECE):
            length += len(piece)
            if length > limit:  # counted while unpacking: what an archive says of its sizes may be false
                raise UnsafeFile(f"{path.name}: {name} unfolds to more than {limit} bytes; save the model afresh")
            parts.append(piece)
    return b"".join(parts)
