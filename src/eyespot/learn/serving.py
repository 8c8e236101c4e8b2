"""What the exported network says of pictures, through ONNX Runtime, one at a time: validation is serving."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.core.graph import Graph
from eyespot.core.pixels import Preprocess
from eyespot.learn.pictures import Pixels, Store, in_order
from eyespot.learn.start import backbone
from eyespot.lower.onnx import to_onnx
from eyespot.lower.tensors import Weights
from eyespot.run.ort import OrtSession


@contextmanager
def session(graph: Graph, weights: Weights, preprocess: Preprocess) -> Iterator[OrtSession]:
    """The network as a bundle would hold it, opened with one thread per call, as ``eyespot evaluate`` opens it."""
    with tempfile.TemporaryDirectory(prefix="eyespot.") as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(to_onnx(graph, weights, preprocess=preprocess))
        with OrtSession(model, threads=1) as opened:
            yield opened


@contextmanager
def backbone_session(graph: Graph, weights: Weights, preprocess: Preprocess) -> Iterator[OrtSession]:
    """The network up to what its classifier reads: pixels in, features (n, d) out."""
    cut = backbone(graph)
    with session(cut, {name: weights[name] for name in cut.parameters}, preprocess) as opened:
        yield opened


def logits(
    graph: Graph,
    weights: Weights,
    preprocess: Preprocess,
    pictures: Store | Sequence[Pixels],
    *,
    workers: int,
    step: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """(n, classes) of prepared pictures."""
    answers = []
    with session(graph, weights, preprocess) as opened:
        for answer in in_order(lambda i: opened.run(pictures[i][None])[0], range(len(pictures)), workers):
            answers.append(answer)
            step()
    return np.stack(answers)
