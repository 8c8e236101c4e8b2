"""A candidate as a bundle with random weights: it takes the time and the memory of the trained one and says nothing."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.build import onnx_metadata
from eyespot.bundle.store import Bundle, Goldens, write
from eyespot.choose.candidate import Candidate
from eyespot.core import ops
from eyespot.core.card import Card
from eyespot.core.graph import Graph
from eyespot.core.labels import Labels
from eyespot.core.pixels import Preprocess
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.to_onnx import quantized_to_onnx
from eyespot.lower.numpy_ops import Array
from eyespot.lower.onnx import to_onnx
from eyespot.run.open import open_model
from eyespot.shrink.evidence import gather


class _Lowered(NamedTuple):
    """A network made ready: what writes its ONNX file, given its metadata, and what a bundle stores of it."""

    to_onnx: Callable[..., bytes]
    tensors: Mapping[str, NDArray[Any]]
    graph: Graph
    preprocess: Preprocess


@contextmanager
def trial(candidate: Candidate, graph: Graph) -> Iterator[Bundle]:
    """A bundle of the candidate, whose graph was drawn, in a folder that goes away. GraphError, WeightsError.

    Its goldens are its own runtime's answers, not the reference's: with weights that mean nothing there is nothing to
    verify, and the reference would take longer than all measuring. What is chosen in the end is verified.
    """
    with tempfile.TemporaryDirectory(prefix="eyespot-choose-") as folder:
        lowered = _lower(candidate, graph)
        size = lowered.preprocess.size
        jpeg = (resources.files("eyespot.bundle") / "golden.jpg").read_bytes()
        pixels = np.stack([decode_and_prepare(jpeg, lowered.preprocess).pixels, _noise(size)])
        card = Card(
            f"{candidate.architecture}.trial",
            candidate.architecture,
            candidate.arguments,
            lowered.graph,
            lowered.preprocess,
            precision=candidate.precision,
            description="random weights, to measure time and memory with",
        )
        written = lowered.to_onnx(metadata=onnx_metadata(card))
        model = Path(folder) / "model.onnx"
        model.write_bytes(written)
        with open_model(model, runtime=candidate.runtime, threads=1) as session:
            logits = session.run(pixels)
        labels, goldens = Labels.numbered(logits.shape[1]), Goldens(jpeg, pixels, logits)
        place = Path(folder) / "trial"
        yield write(place, card, weights=lowered.tensors, labels=labels, model=written, goldens=goldens)


def _lower(candidate: Candidate, graph: Graph) -> _Lowered:
    weights = _weights(graph)
    if candidate.precision == "float32":
        written = partial(to_onnx, graph, weights, preprocess=candidate.preprocess)
        return _Lowered(written, weights, graph, candidate.preprocess)
    ready = make_ready(graph, weights, candidate.preprocess)
    evidence = gather(ready, _noise(candidate.preprocess.size)[None])
    network = Fitter(ready, evidence).fit(Recipe())
    written = partial(quantized_to_onnx, network, preprocess=ready.preprocess)
    return _Lowered(written, network.to_tensors(), network.graph, ready.preprocess)


def _weights(graph: Graph) -> dict[str, Array]:
    """He-like draws with batch norms that do nothing: no number fades so far that arithmetic would be slow."""
    rng = np.random.default_rng(0)
    drawn: dict[str, Array] = {}
    for node in graph.nodes:
        for parameter in graph.parameters_of(node):
            short = parameter.name[len(node.name) + 1 :]
            if len(parameter.shape) > 1:
                inside = math.prod(parameter.shape[1:])
                values = rng.standard_normal(parameter.shape, np.float32) * np.float32(math.sqrt(2 / inside))
            elif isinstance(node.op, ops.BatchNorm):
                values = np.full(parameter.shape, float(short in ("weight", "running_var")), np.float32)
            else:
                values = np.full(parameter.shape, 0.01, np.float32)
            drawn[parameter.name] = values
    return drawn


def _noise(size: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
