"""The program that opens a Keras .h5 file for ``keras_h5``, in a process of its own: the C library may hang or crash.

Layout (keras/src/legacy/saving/legacy_h5_format.py): the root, or its group ``model_weights``, lists ``layer_names``;
the group of each layer lists its ``weight_names`` in order. Lists too long for one attribute are ``layer_names0``, ….
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import Array, Budget, shown, widen

_KINDS = {"f2": "float16", "f4": "float32", "f8": "float64"}


def main(path: str, out: BinaryIO) -> None:
    """Writes one line of JSON, {"unsafe": bool, "error": text} or {"size": …, "tensors": …}, then the raw tensors."""
    try:
        tensors, size = read(Path(path))
    except WeightsError as error:
        out.write(json.dumps({"unsafe": isinstance(error, UnsafeFile), "error": str(error)}).encode() + b"\n")
        return
    described = [[name, tensor.dtype.name, tensor.shape] for name, tensor in tensors.items()]
    out.write(json.dumps({"size": size, "tensors": described}).encode() + b"\n")
    for tensor in tensors.values():
        out.write(tensor.tobytes())


def read(path: Path) -> tuple[dict[str, Array], tuple[int, int] | None]:
    """Weights by name, and the input size if the file says it. UnsafeFile, WeightsError."""
    import h5py

    try:
        with h5py.File(path, "r") as opened:
            return _read(path, opened, h5py), _input_size(opened)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
        reason = shown(str(error)) or type(error).__name__
        raise WeightsError(f"{path.name} is damaged or no Keras file: {reason}; fetch it again") from None


def _read(path: Path, opened: Any, h5py: Any) -> dict[str, Array]:
    file = path.name
    budget = Budget(file, path.stat().st_size)
    root = _member(file, opened, "model_weights", h5py) if "model_weights" in opened else opened
    if "layer_names" not in root.attrs and "layer_names0" not in root.attrs:
        hint = "Keras 3's .weights.h5 has no names of layers; " if "layers" in opened else ""
        raise WeightsError(f"{file} holds no Keras layers: {hint}save the whole model with model.save('model.h5')")
    tensors: dict[str, Array] = {}
    for layer in _texts(file, root, "layer_names"):
        group = _member(file, root, layer, h5py)
        weights = _texts(file, group, "weight_names")
        # A layer has one kernel, one bias, …; a network inside the network repeats these, and needs the whole path.
        last = [_plain(weight).rsplit("/", 1)[-1] for weight in weights]
        whole = len(set(last)) != len(last)
        for weight, short in zip(weights, last, strict=True):
            name = _plain(weight) if whole else f"{layer}/{short}"
            if name in tensors:
                raise WeightsError(f"{file} holds {shown(name)} twice")
            tensors[name] = _array(file, name, _member(file, group, weight, h5py), budget, h5py)
    return tensors


def _input_size(opened: Any) -> tuple[int, int] | None:
    """Height and width of the input layer: (batch, height, width, channels) in the model's own description."""
    try:
        layers = json.loads(opened.attrs["model_config"])["config"]["layers"]
        config = next(layer["config"] for layer in layers if layer["class_name"] == "InputLayer")
        _, height, width, _ = config.get("batch_input_shape") or config["batch_shape"]
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration, RecursionError):
        return None  # weights alone, or a model that takes pictures of any size
    whole = all(type(n) is int and 0 < n < 1 << 16 for n in (height, width))
    return (height, width) if whole else None


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


def _member(file: str, group: Any, name: str, h5py: Any) -> Any:
    """What a path leads to, over links within this file only."""
    for part in name.strip("/").split("/"):
        if not isinstance(group, h5py.Group) or part in ("", ".", ".."):
            raise WeightsError(f"{file} is damaged: {shown(name)} leads nowhere")
        link = group.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise UnsafeFile(f"{file}: {shown(name)} is a link to elsewhere, not a tensor; save the model afresh")
        group = group[part]
    return group


def _array(file: str, name: str, stored: Any, budget: Budget, h5py: Any) -> Array:
    if not isinstance(stored, h5py.Dataset) or stored.shape is None:
        raise WeightsError(f"{file} is damaged: {shown(name)} is no array")
    if stored.external or stored.is_virtual:
        raise UnsafeFile(f"{file}: {shown(name)} takes its values from another file; save the model afresh")
    kind = _KINDS.get(stored.dtype.str[1:], "int64" if stored.dtype.kind in "iu" else None)
    if kind is None:
        raise WeightsError(f"{file}: {shown(name)} is {shown(str(stored.dtype))}; save floating point")
    budget.take(shown(name), stored.shape, kind)
    return widen(np.asarray(stored[()]), kind)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.buffer)
