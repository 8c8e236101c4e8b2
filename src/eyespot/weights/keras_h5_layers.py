"""Keras 3's layout of an .h5 file (keras/src/saving/saving_lib.py), and what both layouts share.

``layers/conv2d_3/vars/0`` is the first tensor of the fourth Conv2D. In newer files ``vars`` carries the layer's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import Array, Budget, shown, widen

_KINDS = {"f2": "float16", "f4": "float32", "f8": "float64"}
_ROOTS = ("layers", "_layer_checkpoint_dependencies")  # the second from Keras 2.12 and 2.13
_MAX_DEPTH = 8

# The tensors of a layer in their order, by its class; the shorter rows are those of layers without bias or scale.
_TENSORS = {
    "conv2d": (("kernel",), ("kernel", "bias")),
    "depthwise_conv2d": (("kernel",), ("kernel", "bias")),
    "separable_conv2d": (("depthwise_kernel", "pointwise_kernel"), ("depthwise_kernel", "pointwise_kernel", "bias")),
    "dense": (("kernel",), ("kernel", "bias")),
    "batch_normalization": (
        ("beta", "moving_mean", "moving_variance"),  # scale=False, as in Inception; Keras' networks keep their centre
        ("gamma", "beta", "moving_mean", "moving_variance"),
    ),
    "normalization": (("mean", "variance", "count"),),
}


def layers_root(opened: Any) -> str | None:
    """The group of Keras 3's layers; None in another layout."""
    old = "model_weights" in opened or "layer_names" in opened.attrs or "layer_names0" in opened.attrs
    return None if old else next((root for root in _ROOTS if root in opened), None)


def read_layers(
    file: str, opened: Any, root: str, budget: Budget, h5py: Any
) -> tuple[dict[str, Array], None, dict[str, str]]:
    """Tensors by place and kind (``layers/conv2d_3/kernel``), no size, and the names of those places that have one."""
    tensors: dict[str, Array] = {}
    names: dict[str, str] = {}
    for place, stored in _layers(file, member(file, opened, root, h5py), "layers", h5py, 0):
        keys = list(stored)
        if not keys:
            continue
        name = stored.attrs.get("name")
        if isinstance(name, str) and 0 < len(name) <= 200:
            names[place] = name
        if set(keys) != {str(i) for i in range(len(keys))}:
            raise WeightsError(f"{file} is damaged: {shown(place)} does not number its tensors; fetch it again")
        kind = re.sub(r"_\d+$", "", place.rsplit("/", 1)[-1])
        rows = _TENSORS.get(kind, ())
        shorts = next((row for row in rows if len(row) == len(keys)), tuple(str(i) for i in range(len(keys))))
        for i, short in enumerate(shorts):
            tensors[f"{place}/{short}"] = array(
                file, f"{place}/{short}", member(file, stored, str(i), h5py), budget, h5py
            )
    return tensors, None, names


def _layers(file: str, group: Any, at: str, h5py: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Places and their ``vars``, those of models within models too; the seeds of dropout are not weights."""
    if depth > _MAX_DEPTH or not isinstance(group, h5py.Group):
        raise WeightsError(f"{file} is damaged: {shown(at)} is no group of layers; fetch it again")
    for name in group:
        layer = member(file, group, name, h5py)
        if not isinstance(layer, h5py.Group):
            raise WeightsError(f"{file} is damaged: {shown(at)}/{shown(name)} is no layer; fetch it again")
        if "vars" in layer:
            stored = member(file, layer, "vars", h5py)
            if not isinstance(stored, h5py.Group):
                raise WeightsError(f"{file} is damaged: {shown(at)}/{shown(name)} has no tensors; fetch it again")
            yield f"{at}/{name}", stored
        if "layers" in layer:
            yield from _layers(file, member(file, layer, "layers", h5py), f"{at}/{name}/layers", h5py, depth + 1)


def member(file: str, group: Any, name: str, h5py: Any) -> Any:
    """What a path leads to, over links within this file only."""
    for part in name.strip("/").split("/"):
        if not isinstance(group, h5py.Group) or part in ("", ".", ".."):
            raise WeightsError(f"{file} is damaged: {shown(name)} leads nowhere")
        link = group.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise UnsafeFile(f"{file}: {shown(name)} is a link to elsewhere, not a tensor; save the model afresh")
        group = group[part]
    return group


def array(file: str, name: str, stored: Any, budget: Budget, h5py: Any) -> Array:
    """A stored array of floats or integers, its values in this file. UnsafeFile, WeightsError."""
    if not isinstance(stored, h5py.Dataset) or stored.shape is None:
        raise WeightsError(f"{file} is damaged: {shown(name)} is no array")
    if stored.external or stored.is_virtual:
        raise UnsafeFile(f"{file}: {shown(name)} takes its values from another file; save the model afresh")
    kind = _KINDS.get(stored.dtype.str[1:], "int64" if stored.dtype.kind in "iu" else None)
    if kind is None:
        raise WeightsError(f"{file}: {shown(name)} is {shown(str(stored.dtype))}; save floating point")
    budget.take(shown(name), stored.shape, kind)
    return widen(np.asarray(stored[()]), kind)
