"""Makes a bundle out of a network and its weights: lowers to ONNX, computes the goldens, writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Bundle, Goldens, check_free, write
from eyespot.bundle.training_images import TrainingImages
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.pixels import Preprocess
from eyespot.errors import BundleError


def build(
    path: str | Path,
    card: Card,
    *,
    weights: Mapping[str, NDArray[np.float32]],
    labels: Labels,
    training_images: TrainingImages | None = None,
    replace: bool = False,
) -> Bundle:
    """Writes the bundle of ``card`` at ``path``; the card's files and its labels' header are filled in here.

    Raises WeightsError when the weights do not fit the graph, BundleError when the labels do not fit its output.
    """
    from eyespot.lower.onnx import to_onnx
    from eyespot.lower.tensors import check

    graph = card.graph.inference()
    outputs = graph.shape(graph.outputs[0])
    if outputs != (labels.outputs,):
        raise BundleError(
            f"{card.name}: the network gives {outputs[0]} numbers, but there are {labels.outputs} labels"
            f"{' (the background class counted in)' if labels.background else ''}; pass labels that fit"
        )
    if graph.input[1:] != card.preprocess.size:
        raise BundleError(f"{card.name}: the network takes {graph.input[1:]}, its pictures are {card.preprocess.size}")
    card = dataclasses.replace(card, labels_source=labels.source, background=labels.background)
    check_free(Path(path), replace=replace)
    check(card.graph, weights)
    model = to_onnx(card.graph, weights, preprocess=card.preprocess, metadata=onnx_metadata(card))
    goldens = make_goldens(card, weights)
    return write(
        path, card,
        weights=weights, labels=labels, model=model, goldens=goldens, training_images=training_images, replace=replace,
    )  # fmt: skip


def onnx_metadata(card: Card) -> dict[str, str]:
    """What a bundle's ONNX file says of itself."""
    return {"name": card.name, "licence": card.licence, "graph": card.graph.digest}


def model_of(bundle: Bundle) -> bytes:
    """The ONNX file that a bundle's card and weights give."""
    from eyespot.lower.int8.to_onnx import quantized_to_onnx
    from eyespot.lower.onnx import to_onnx

    card = bundle.card
    if card.precision == "float32":
        return to_onnx(card.graph, bundle.weights(), preprocess=card.preprocess, metadata=onnx_metadata(card))
    return quantized_to_onnx(bundle.quantized(), preprocess=card.preprocess, metadata=onnx_metadata(card))


def make_goldens(card: Card, weights: Mapping[str, NDArray[np.float32]]) -> Goldens:
    """A photograph and a picture of noise, prepared, and what the numpy reference answers to them."""
    from eyespot.image.prepare import decode_and_prepare
    from eyespot.lower.reference import run

    jpeg = (resources.files("eyespot.bundle") / "golden.jpg").read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (*card.preprocess.size, 3), np.uint8)
    pixels = np.stack([decode_and_prepare(jpeg, card.preprocess).pixels, noise])
    logits = run(card.graph, weights, normalise(pixels, card.preprocess))[card.graph.outputs[0]]
    return Goldens(jpeg, pixels, np.ascontiguousarray(logits, np.float32))


def normalise(pixels: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.float32]:
    """uint8 RGB (n, height, width, 3) → the float32 (n, 3, height, width) that the graph itself takes."""
    if preprocess.channels == "bgr":
        pixels = pixels[..., ::-1]
    multiplier, offset = (np.asarray(v, np.float32) for v in preprocess.affine())
    return np.ascontiguousarray((pixels * multiplier + offset).transpose(0, 3, 1, 2))
