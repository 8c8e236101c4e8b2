"""Writes a bundle's weights with somebody else's names, for their own library to load strictly: nobody is locked in.

Their network must compute what the bundle's does: padding and strides are compared node by node, and what differs is
refused. Another epsilon of batch norm is taken into its scale. A folded network gets norms back that do nothing but
add: a scale of one, a mean of zero, a variance of one less epsilon, and the convolution's bias as theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.arch.catalogue import draw, variants
from eyespot.bundle.store import Bundle
from eyespot.core.card import Card
from eyespot.core.graph import Graph
from eyespot.core.ops import BatchNorm, Dropout, DropPath, Op, Scale
from eyespot.core.pixels import Preprocess
from eyespot.core.whole import whole
from eyespot.errors import UsageError, WeightsError
from eyespot.lower.fold import fold_graph
from eyespot.weights.names import SCHEMES
from eyespot.weights.renamed import renamed
from eyespot.weights.scheme import Scheme
from eyespot.weights.timm_models import TIMM_MODELS

Weights = Mapping[str, NDArray[np.float32]]

# Whose names there are to choose from: by the first word of their schemes.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "torchvision": ("torchvision",),
    "timm": ("timm", "timm_tf"),
    "keras": ("keras",),
    "transformers": ("transformers",),
    "mmpretrain": ("mmpretrain",),
    "pytorchcv": ("pytorchcv",),
}


# Networks whose layers Keras orders otherwise than ours (nested concatenations, sums the other way round), by the
# formats that depend on it: .h5 is loaded by name then, .weights.h5 cannot be.
_OTHER_ORDER = {"keras.inception_v3": (".weights.h5", ".h5"), "keras.xception": (".h5",)}


class Exported(NamedTuple):
    """The file that was written, its scheme of names, its number of tensors, and a line of Python that loads it."""

    path: Path
    scheme: str
    tensors: int
    load: str


def export_weights(bundle: Bundle, source: str, out: Path, *, replace_file: bool = False) -> Exported:
    """Writes the weights of ``bundle`` as ``source`` names them; the ending of ``out`` says the format.

    .safetensors and .pth for torch's libraries, .weights.h5 and .h5 for Keras. UsageError for an unknown source, other
    endings, or a file that is there; WeightsError when the source has no such network, or one that differs.
    """
    if source not in SOURCES:
        raise UsageError(f"no source of names is called {source!r}; there are {', '.join(SOURCES)}")
    endings = (".weights.h5", ".h5") if source == "keras" else (".safetensors", ".pth")
    if not out.name.endswith(endings):
        raise UsageError(f"{out.name} cannot be loaded by {source}; let it end in {' or '.join(endings)}")
    if out.exists() and not replace_file:
        raise UsageError(f"{out} exists; choose another place, or pass --replace")
    scheme, graph, weights = _fitted(bundle.card, bundle.weights(), source)
    tensors = renamed(weights, graph, scheme)
    if source == "keras":
        from eyespot.weights.keras_write import Layer, keras_bytes, keras_layers

        if out.name.endswith(".weights.h5") and ".weights.h5" in _OTHER_ORDER.get(scheme.name, ()):
            raise UsageError(f"{out.name} would list the layers in another order than Keras does; export to .h5")
        layers = keras_layers(tensors, graph, scheme)
        if scheme.name == "keras.efficientnet":
            layers.insert(0, Layer("normalization", "Normalization", _normalization(bundle.card.preprocess)))
        data = keras_bytes(layers, legacy=not out.name.endswith(".weights.h5"))
        count = sum(len(layer.tensors) for layer in layers)
    else:
        data, count = _torch_file(out, tensors), len(tensors)
    _write(out, data)
    return Exported(out, scheme.name, count, _load_line(bundle.card.architecture, scheme.name, out))


def _fitted(card: Card, weights: Weights, source: str) -> tuple[Scheme, Graph, Weights]:
    """The scheme whose network computes what the card's does, that network, and the weights for it."""
    refusals: list[str] = []
    for scheme in _schemes(card.architecture, source):
        graph = draw(card.architecture, {**card.arguments, **scheme.arguments(card.architecture)})
        if not graph.parameters.keys() <= weights.keys():
            graph = graph.inference()  # the bundle has no auxiliary heads, or is folded
        if _rows(card.graph.inference()) == _rows(graph.inference()):
            return scheme, graph, _with_epsilon(weights, card.graph, graph)
        if _rows(card.graph) == _rows(fold_graph(graph)) and not any(isinstance(n.op, Scale) for n in graph.nodes):
            return scheme, graph, _unfolded(weights, card.graph, graph)
        refusals.append(_difference(card.graph, graph, scheme.name))
    if not refusals:
        raise WeightsError(f"{source} has no names for {card.architecture} that eyespot knows; choose another source")
    raise WeightsError(f"{card.name} cannot be exported to {source}: {'; '.join(refusals)}")


def _schemes(architecture: str, source: str) -> Iterator[Scheme]:
    known = variants().get(architecture)
    if known is None:
        return
    shared = {scheme for ours, scheme in TIMM_MODELS.values() if ours == architecture} if source == "timm" else set()
    for scheme in SCHEMES.values():
        belongs = scheme.name.split(".")[0] in SOURCES[source] or scheme.name in shared
        if belongs and scheme.family == known.family and scheme.suits(architecture):
            yield scheme


def _rows(graph: Graph) -> list[tuple[str, Op, tuple[str, ...], tuple[int, ...]]]:
    """What a network computes, of what, but for the epsilons; dropout computes nothing."""
    rows = []
    behind: dict[str, str] = {}  # a dropout to what goes into it
    for n in graph.nodes:
        inputs = tuple(behind.get(name, name) for name in n.inputs)
        if isinstance(n.op, Dropout | DropPath):
            behind[n.name] = inputs[0]
        else:
            rows.append((n.name, BatchNorm() if isinstance(n.op, BatchNorm) else n.op, inputs, n.shape))
    return rows


def _difference(ours: Graph, theirs: Graph, scheme: str) -> str:
    there = dict(_zip(theirs))
    for name, op in _zip(ours):
        if name in there and there[name] != op:
            mine, other = op.attributes(), there[name].attributes()
            keys = [key for key in mine if mine[key] != other.get(key) and key != "bias"]
            if keys:
                return f"{name} has {keys[0]} {mine[keys[0]]}, in {scheme} it has {other.get(keys[0])}"
    if {node.name for node in ours.nodes} == {node.name for node in theirs.nodes}:
        return f"its layers, or their channels, come in another order in {scheme}"
    return f"its layers are not those of {scheme}"


def _zip(graph: Graph) -> Iterator[tuple[str, Op]]:
    return ((name, op) for name, op, _, _ in _rows(graph))


def _with_epsilon(weights: Weights, ours: Graph, theirs: Graph) -> Weights:
    """The same function under their epsilon: scale / sqrt(variance + ours) = scale' / sqrt(variance + theirs)."""
    out = dict(weights)
    for node in theirs.nodes:
        if isinstance(node.op, BatchNorm):
            mine = ours.by_name[node.name].op
            if isinstance(mine, BatchNorm) and mine.eps != node.op.eps:
                variance = weights[f"{node.name}.running_var"].astype(np.float64)
                ratio = np.sqrt((variance + node.op.eps) / (variance + mine.eps))
                out[f"{node.name}.weight"] = (weights[f"{node.name}.weight"] * ratio).astype(np.float32)
    return out


def _unfolded(weights: Weights, folded: Graph, theirs: Graph) -> Weights:
    """Norms that do nothing where folding took them out; the biases that it left become theirs."""
    out = dict(_with_epsilon(weights, folded, _kept(theirs, folded)))
    for node in theirs.nodes:
        if isinstance(node.op, BatchNorm) and node.name not in folded.by_name:
            layer = node.inputs[0]
            bias = out.pop(f"{layer}.bias")
            if f"{layer}.bias" in theirs.parameters:
                out[f"{layer}.bias"] = np.zeros_like(bias)
            out[f"{node.name}.weight"] = np.ones_like(bias)
            out[f"{node.name}.bias"] = bias
            out[f"{node.name}.running_mean"] = np.zeros_like(bias)
            out[f"{node.name}.running_var"] = np.full_like(bias, 1 - node.op.eps)
    return out


def _kept(theirs: Graph, folded: Graph) -> Graph:
    """The folded network with their epsilons where norms are left."""
    nodes = (replace(n, op=theirs.by_name[n.name].op) if isinstance(n.op, BatchNorm) else n for n in folded.nodes)
    return replace(folded, nodes=tuple(nodes))


def _normalization(preprocess: Preprocess) -> Mapping[str, NDArray[Any]]:
    """The first layer of Keras' EfficientNet, which gets pixel / 255: with it, raw pixels give the bundle's answers."""
    if preprocess.channels != "rgb":
        raise WeightsError("Keras' EfficientNet takes RGB, this bundle takes BGR; reorder its first convolution")
    unit = 255 * preprocess.scale
    mean, std = (np.array(values, np.float64) / unit for values in (preprocess.mean, preprocess.std))
    return {
        "mean": mean.astype(np.float32),
        "variance": np.square(std).astype(np.float32),
        "count": np.zeros((), np.int64),
    }


def _torch_file(out: Path, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    if out.name.endswith(".pth"):
        from eyespot.weights.torch_write import torch_bytes

        return torch_bytes(tensors)
    from safetensors.numpy import save

    return save(dict(tensors), metadata={"format": "pt"})


def _write(out: Path, data: bytes) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}") from None


def _load_line(architecture: str, scheme: str, out: Path) -> str:
    if scheme.startswith("keras"):
        by_name = ", by_name=True" if scheme in _OTHER_ORDER and not out.name.endswith(".weights.h5") else ""
        return f"model.load_weights({str(out)!r}{by_name})"
    read = f"torch.load({str(out)!r}, weights_only=True)"
    if out.name.endswith(".safetensors"):
        read = f"safetensors.torch.load_file({str(out)!r})"
    name = next((n for n, row in TIMM_MODELS.items() if row == (architecture, scheme)), None)
    model = f"timm.create_model({name!r}, num_classes=…)" if name and scheme.startswith("timm") else "model"
    return f"{model}.load_state_dict({read}, strict=True)"
