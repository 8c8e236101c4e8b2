"""Any weights file as named arrays; what kind of file it is, its first bytes say, not its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.errors import WeightsError
from eyespot.weights.arrays import Array
from eyespot.weights.class_names import ClassNames
from eyespot.weights.keras_config import input_size
from eyespot.weights.keras_zip import is_keras_zip
from eyespot.weights.npz_file import is_npz, read_npz
from eyespot.weights.unwrap import unwrap

if TYPE_CHECKING:
    from eyespot.weights.keras_h5 import KerasWeights

_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")
_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF\r\n\x1a\n"
# Kinds of files that people try, and what to do instead.
_STRANGERS = (
    (b"TFL3", 4, "a TensorFlow Lite model, which holds integer weights and no names of layers"),
    (b"\x1f\x8b", 0, "a gzip archive; unpack it first"),
    (b"ustar", 257, "a tar archive; unpack it first"),
    (b"\x93NUMPY", 0, "a single numpy array"),
    (b"<!DOCTYPE", 0, "a web page: the download did not fetch the file itself"),
    (b"version https://git-lfs", 0, "a Git LFS pointer, not the file it points at: run git lfs pull"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a file by name, in file order, and how they were found.

    format: 'torch zip', 'torch legacy', 'safetensors', 'numpy', 'keras h5' or 'keras zip'. under: the keys of the
    dictionary that held them, joined by dots; beside: those of other networks in the file. prefix: what was cut off the
    front of every name ('module.'). architecture: what the script that saved them calls the network. size: the image
    (height, width) that the network was built for, which only Keras' whole models say; keras: their description.
    classes: names of the outputs beside the weights.
    """

    tensors: Mapping[str, Array]
    format: str
    under: str | None = None
    prefix: str = ""
    size: tuple[int, int] | None = None
    beside: tuple[str, ...] = ()
    architecture: str | None = None
    keras: Mapping[str, Any] | None = None
    classes: ClassNames | None = None

    def __str__(self) -> str:
        under = f" under {self.under!r}" if self.under else ""
        prefix = f", without the prefix {self.prefix!r}" if self.prefix else ""
        return f"{len(self.tensors)} tensors{under} ({self.format}){prefix}"


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Reads torch's two formats, safetensors (one file, or shards by their index), .npz, .h5, .weights.h5 and .keras.

    Each array owns its memory; half precision comes as float32.
    WeightsError (UnsafeFile for a file that asks for more than tensors may), in one line, for anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as opened:
            start = opened.read(512)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    if start.startswith(_HDF5):
        from eyespot.weights.keras_h5 import read_keras_h5

        return _keras(read_keras_h5(path), "keras h5")
    if start[8:9] == b"{":
        from eyespot.weights.safetensors_file import read_safetensors

        if shard := _SHARD.fullmatch(path.name):
            raise WeightsError(
                f"{path.name} is one of {int(shard[2])} shards; import {shard[1]}.safetensors.index.json"
            )
        return _unwrapped(read_safetensors(path), "safetensors")
    if path.name.endswith(".index.json"):
        from eyespot.weights.shards import read_shards

        return _unwrapped(read_shards(path), "shards")
    if start.startswith(_ZIP) and is_keras_zip(path):
        from eyespot.weights.keras_zip import read_keras_zip

        return _keras(read_keras_zip(path), "keras zip")
    if start.startswith(_ZIP) and is_npz(path):
        return _unwrapped(read_npz(path), "numpy")
    if start.startswith(_ZIP) or start[:1] == b"\x80":
        from eyespot.weights.torch_file import read_torch

        found = read_torch(path)
        return Checkpoint(
            found.tensors, found.format, found.under, found.prefix, None, found.beside, found.architecture,
            classes=found.classes,
        )  # fmt: skip
    for mark, at, what in _STRANGERS:
        if start[at : at + len(mark)] == mark:
            raise WeightsError(f"{path.name} is {what}")
    raise WeightsError(
        f"{path.name} is no file of weights that eyespot reads: .pth (torch.save), .safetensors, .npz, .h5 or .keras"
        if start
        else f"{path.name} is empty; fetch it again"
    )


def _keras(read: KerasWeights, format: str) -> Checkpoint:
    size = input_size(read.config) if read.config is not None else None
    return Checkpoint(read.tensors, format, size=size, keras=read.config)


def _unwrapped(stored: Mapping[str, Array], format: str) -> Checkpoint:
    scalars = frozenset(name for name, tensor in stored.items() if not tensor.ndim)
    tensors, prefix = unwrap(stored, scalars=scalars)
    return Checkpoint(tensors, format, prefix=prefix)


def read_tensors(path: Path | str) -> dict[str, Array]:
    """The tensors of a weights file by name, in file order: ``read_checkpoint`` without the story."""
    return dict(read_checkpoint(path).tensors)
