"""Reads the weights of a Keras .h5 or .weights.h5 file, by names such as ``conv1/kernel``.

HDF5 is parsed by a C library that a damaged file can hang or crash. So another process opens the file
(``keras_h5_child``), and this one waits for it, for a time that suits the size.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eyespot.core.child import python_child
from eyespot.errors import MissingExtra, UnsafeFile, WeightsError
from eyespot.weights.arrays import Array, shown
from eyespot.weights.keras_config import DAMAGED, layer_names, parse

SECONDS = 60.0  # to start Python and read; two seconds on a busy machine
SECONDS_PER_BYTE = 1e-7  # 10 MB/s: a slow network drive


class KerasWeights(NamedTuple):
    """Weights by name, and the model's own description where the file has one."""

    tensors: dict[str, Array]
    config: Mapping[str, Any] | None


def read_keras_h5(path: Path, names: Mapping[str, str] | None = None) -> KerasWeights:
    """The weights in Keras' own layouts (kernels height × width × in × out), in the order of the layers.

    names: of the layers by their place in Keras 3's layout, where a description of the model says them.
    UnsafeFile for links to other files; WeightsError for what is damaged or no Keras file; MissingExtra without h5py.
    """
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtra(f"{path.name} is a Keras .h5 file, and reading it", "keras")
    try:
        child = subprocess.run(
            python_child(f"{__name__}_child", str(path.absolute())),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
            timeout=SECONDS + SECONDS_PER_BYTE * path.stat().st_size,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise WeightsError(f"{path.name} is damaged: reading it does not end; fetch it again") from None
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error}") from None
    head, _, raw = child.stdout.partition(b"\n")
    if child.returncode or not head:
        raise WeightsError(f"{path.name} is damaged: it crashes the HDF5 library; fetch it again")
    answer = json.loads(head)
    if "error" in answer:
        raise (UnsafeFile if answer["unsafe"] else WeightsError)(answer["error"])
    tensors = _tensors(answer["tensors"], raw)
    if answer["names"] is not None:
        tensors = _named(path.name, tensors, answer["names"], names)
    config = None
    if answer["config"] is not None:
        try:
            config = parse(answer["config"])
            if answer["training"] is not None:
                config = {"compile_config": parse(answer["training"]), **config}
            tensors = _by_layer(tensors, layer_names(config))
        except DAMAGED as error:
            raise WeightsError(
                f"{path.name} is damaged: its model_config is no description of a model ({shown(str(error))})"
            ) from None
    return KerasWeights(tensors, config)


def _by_layer(tensors: Mapping[str, Array], described: Mapping[str, str]) -> dict[str, Array]:
    """``sequential_2/dense_1/kernel`` as ``dense_1/kernel``: without the models that a described layer is in."""
    layers = set(described.values())
    out: dict[str, Array] = {}
    for name, tensor in tensors.items():
        layer, _, short = name.rpartition("/")
        parts = layer.split("/")
        inner = next((inner for k in range(len(parts)) if (inner := "/".join(parts[k:])) in layers), layer)
        out[f"{inner}/{short}" if f"{inner}/{short}" not in out else name] = tensor
    return out


def _named(
    file: str, tensors: Mapping[str, Array], stored: Mapping[str, str], described: Mapping[str, str] | None
) -> dict[str, Array]:
    """``layers/conv2d_3/kernel`` as ``block_1_expand/kernel``, by the description if there is one, else by the file."""
    out: dict[str, Array] = {}
    for key, tensor in tensors.items():
        place, short = key.rsplit("/", 1)
        name = (stored if described is None else described).get(place)
        if name is None:
            missing = "its description has no such layer" if described is not None else "older Keras left it out"
            raise WeightsError(f"{file} does not say the name of {shown(place)}: {missing}; save the model as .keras")
        if place in stored and stored[place] != name:
            raise WeightsError(
                f"{file} calls {shown(place)} {shown(name)} and {shown(stored[place])}; save the model afresh"
            )
        if f"{name}/{short}" in out:
            raise WeightsError(f"{file} holds {shown(name)}/{short} twice")
        out[f"{name}/{short}"] = tensor
    return out


def _tensors(described: list[Any], raw: bytes) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    position = 0
    for name, kind, shape in described:
        count = math.prod(shape)
        tensors[name] = np.frombuffer(raw, kind, count, position).reshape(shape).copy()
        position += tensors[name].nbytes
    return tensors
