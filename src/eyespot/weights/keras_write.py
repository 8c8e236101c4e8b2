"""Writes Keras' files of weights, for ``model.load_weights``: Keras 3's .weights.h5, and .h5, which all versions read.

Both depend on the order of ``model.layers``: .h5 lists the layers in it, .weights.h5 counts each class along it.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from eyespot.core.graph import INPUT, Graph
from eyespot.core.ops import BatchNorm, Conv2d, Op
from eyespot.errors import MissingExtra
from eyespot.weights.arrays import Array
from eyespot.weights.keras_config import place
from eyespot.weights.scheme import Scheme


class Layer(NamedTuple):
    """A layer with its class and its tensors in Keras' order, by their short names."""

    name: str
    class_name: str
    tensors: Mapping[str, Array]


def keras_layers(tensors: Mapping[str, Array], graph: Graph, scheme: Scheme) -> list[Layer]:
    """The renamed tensors of a graph as layers, in the order of ``model.layers``."""
    modules = scheme.modules(graph)
    layers: dict[str, Layer] = {}
    for node in _in_order(graph):
        if node not in modules:
            continue
        name = modules[node]
        class_name = "Conv2D" if node in scheme.as_convolutions else _class(graph.by_name[node].op)
        joined = name.removesuffix("_depthwise").removesuffix("_pointwise")
        if f"{joined}/depthwise_kernel" in tensors:  # two layers here are one there
            name, class_name = joined, "SeparableConv2D"
        names = (short for short in _SHORTS if f"{name}/{short}" in tensors)
        layers.setdefault(name, Layer(name, class_name, {short: tensors[f"{name}/{short}"] for short in names}))
    return list(layers.values())


_SHORTS = (
    "kernel", "depthwise_kernel", "pointwise_kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance",
)  # fmt: skip


def _class(op: Op) -> str:
    if isinstance(op, BatchNorm):
        return "BatchNormalization"
    if isinstance(op, Conv2d):
        return "DepthwiseConv2D" if 1 < op.groups == op.channels else "Conv2D"
    return "Dense"


def _in_order(graph: Graph) -> list[str]:
    """Nodes as Keras sorts its layers (keras/src/ops/function.py, map_graph).

    By the longest way to the output, longest first; where that is equal, in the order in which a walk back from the
    output, along each first input first, meets them.
    """
    depth: dict[str, int] = {}
    for node in reversed(graph.nodes):
        here = depth.setdefault(node.name, 0)
        for name in node.inputs:
            depth[name] = max(depth.get(name, 0), here + 1)
    met: dict[str, int] = {}
    waiting = list(graph.outputs[:1])
    while waiting:
        name = waiting.pop()
        if name != INPUT and name not in met:
            met[name] = len(met)
            waiting.extend(reversed(graph.by_name[name].inputs))
    return sorted(met, key=lambda name: (-depth[name], met[name]))


def keras_bytes(layers: Sequence[Layer], *, legacy: bool) -> bytes:
    """The bytes of a .weights.h5 file, or with ``legacy`` of a .h5 file. MissingExtra without h5py."""
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtra("writing a Keras .h5 file", "keras")
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        if legacy:
            file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
            file.attrs["keras_version"], file.attrs["backend"] = b"2.15.0", b"tensorflow"
            for layer in layers:
                group = file.require_group(layer.name)
                group.attrs["weight_names"] = [f"{layer.name}/{short}:0".encode() for short in layer.tensors]
                for short, tensor in layer.tensors.items():
                    group.create_dataset(f"{layer.name}/{short}:0", data=np.array(tensor, order="C"))
        else:
            used: dict[str, int] = {}
            for layer in layers:
                group = file.create_group(f"layers/{place(layer.class_name, used)}/vars")
                group.attrs["name"] = layer.name
                for i, tensor in enumerate(layer.tensors.values()):
                    group.create_dataset(str(i), data=np.array(tensor, order="C"))
    return out.getvalue()
