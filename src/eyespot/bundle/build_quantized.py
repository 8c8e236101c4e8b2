"""Makes a bundle of a quantized network: its ONNX file, its integers, and what the numpy meaning answers to goldens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from eyespot.bundle.build import normalise, onnx_metadata
from eyespot.bundle.store import Bundle, Goldens, write
from eyespot.core.card import Metric
from eyespot.core.pixels import Preprocess
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.int8.to_onnx import quantized_to_onnx

PRECISIONS = ("int8", "int8-weights", "float16", "bfloat16")


def build_quantized(
    path: str | Path,
    parent: Bundle,
    network: Quantized,
    preprocess: Preprocess,
    *,
    precision: str = "int8",
    metrics: Sequence[Metric] = (),
    replace: bool = False,
) -> Bundle:
    """Writes the bundle of ``network``, which was made of ``parent``, at ``path``.

    preprocess: how pictures become the network's input; it may differ from the parent's in its numbers, not in its
    geometry. metrics: the figures measured of this network; the parent's do not hold for it.
    """
    card = dataclasses.replace(
        parent.card,
        name=name_of(parent.card.name, precision),
        graph=network.graph,
        preprocess=preprocess,
        precision=precision,
        parent=parent.card.name,
        metrics=tuple(metrics),
        files={},
    )
    model = quantized_to_onnx(network, preprocess=preprocess, metadata=onnx_metadata(card))
    goldens = _goldens(network, preprocess)
    return write(
        path, card,
        weights=network.to_tensors(), labels=parent.labels, model=model, goldens=goldens,
        training_images=parent.training_images(), replace=replace,
    )  # fmt: skip


def name_of(parent: str, precision: str) -> str:
    """What the bundle made of ``parent`` is called."""
    return f"{parent}-{precision}"


def _goldens(network: Quantized, preprocess: Preprocess) -> Goldens:
    """The same photograph and noise that every bundle has, and this network's answers."""
    jpeg = (resources.files("eyespot.bundle") / "golden.jpg").read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (*preprocess.size, 3), np.uint8)
    pixels = np.stack([decode_and_prepare(jpeg, preprocess).pixels, noise])
    logits = run_quantized(network, normalise(pixels, preprocess))[network.graph.outputs[0]]
    return Goldens(jpeg, pixels, np.ascontiguousarray(logits, np.float32))
