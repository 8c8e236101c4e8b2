"""The program that opens a Keras .h5 file for ``keras_h5``, in a process of its own: the C library may hang or crash.

Keras 2's layout (keras/src/legacy/saving/legacy_h5_format.py): the root, or its group ``model_weights``, lists
``layer_names``; the group of each layer lists its ``weight_names`` in order. Lists too long for one attribute are
``layer_names0``, …. Keras 3's: see ``keras_h5_layers``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import UNFOLD, Array, Budget, shown
from eyespot.weights.keras_config import MAX_BYTES
from eyespot.weights.keras_h5_layers import array, layers_root, member, read_layers

_ROOM = 1 << 30  # bytes of memory for the library itself


def main(path: str, out: BinaryIO) -> None:
    """Writes one line of JSON: {"unsafe": bool, "error": text}, or all but the tensors' values, which follow it."""
    bound_memory(_ROOM + 4 * UNFOLD * Path(path).stat().st_size)
    try:
        tensors, config, names, training = read(Path(path))
    except WeightsError as error:
        out.write(json.dumps({"unsafe": isinstance(error, UnsafeFile), "error": str(error)}).encode() + b"\n")
        return
    described = [[name, tensor.dtype.name, tensor.shape] for name, tensor in tensors.items()]
    out.write(
        json.dumps({"config": config, "training": training, "names": names, "tensors": described}).encode() + b"\n"
    )
    for tensor in tensors.values():
        out.write(tensor.tobytes())


def bound_memory(room: int) -> None:
    """Lets this process take ``room`` bytes more than it has, where the system can be asked to.

    A damaged file of 4 kB made the HDF5 library ask for 4 GB, before anything of it could be checked.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + room
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    except (ImportError, OSError, ValueError):  # no such limits here
        return


class Contents(NamedTuple):
    """Weights by name, or in Keras 3's layout by place; the model's description and the places' names, if any."""

    tensors: dict[str, Array]
    config: str | None
    names: dict[str, str] | None = None
    training: str | None = None  # with which loss it was compiled, as JSON


def read(path: Path) -> Contents:
    """What the file holds. UnsafeFile, WeightsError."""
    import h5py

    try:
        with h5py.File(path, "r") as opened:
            budget = Budget(path.name, path.stat().st_size)
            if root := layers_root(opened):
                return Contents(*read_layers(path.name, opened, root, budget, h5py))
            config, training = (_text(path.name, opened, name) for name in ("model_config", "training_config"))
            return Contents(_read(path.name, opened, budget, h5py), config, training=training)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
        reason = shown(str(error)) or type(error).__name__
        raise WeightsError(f"{path.name} is damaged or no Keras file: {reason}; fetch it again") from None


def _read(file: str, opened: Any, budget: Budget, h5py: Any) -> dict[str, Array]:
    root = member(file, opened, "model_weights", h5py) if "model_weights" in opened else opened
    if "layer_names" not in root.attrs and "layer_names0" not in root.attrs:
        raise WeightsError(f"{file} holds no Keras layers; save the whole model with model.save('model.keras')")
    tensors: dict[str, Array] = {}
    for layer in _texts(file, root, "layer_names"):
        group = member(file, root, layer, h5py)
        weights = _texts(file, group, "weight_names")
        # A layer has one kernel, one bias, …; a network inside the network repeats these, and needs the whole path.
        last = [_plain(weight).rsplit("/", 1)[-1] for weight in weights]
        whole = len(set(last)) != len(last)
        for weight, short in zip(weights, last, strict=True):
            name = _plain(weight) if whole else f"{layer}/{short}"
            if name in tensors:
                raise WeightsError(f"{file} holds {shown(name)} twice")
            tensors[name] = array(file, name, member(file, group, weight, h5py), budget, h5py)
    return tensors


def _text(file: str, opened: Any, name: str) -> str | None:
    """A part of the model's own description; None beside weights alone."""
    text = opened.attrs.get(name)
    if text is None:
        return None
    text = text.decode() if isinstance(text, bytes) else str(text)
    if len(text) > MAX_BYTES:
        raise WeightsError(f"{file} has a {name} of {len(text)} characters, at most {MAX_BYTES} are read")
    return text


def _plain(weight: str) -> str:
    return weight.removesuffix(":0")


def _texts(file: str, group: Any, name: str) -> list[str]:
    parts = [group.attrs[name]] if name in group.attrs else list(_numbered(group, name))
    texts = [item.decode() if isinstance(item, bytes) else item for part in parts for item in np.ravel(part)]
    if not all(isinstance(text, str) for text in texts):
        raise WeightsError(f"{file} is damaged: its {name} are not names")
    return [str(text) for text in texts]


def _numbered(group: Any, name: str) -> Iterator[Any]:
    count = 0
    while f"{name}{count}" in group.attrs:
        yield group.attrs[f"{name}{count}"]
        count += 1


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.buffer)
