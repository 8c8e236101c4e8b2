"""A session on the numpy reference: slow, and right by definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.build import normalise
from eyespot.bundle.store import Bundle
from eyespot.lower import reference
from eyespot.lower.int8.run import run_quantized
from eyespot.run.session import ClosingSession, TensorSpec


class NumpySession(ClosingSession):
    """The graph and weights of a bundle, executed node by node; a quantized one in its integers."""

    def __init__(self, bundle: Bundle) -> None:
        self._graph = bundle.card.graph
        self._quantized = bundle.quantized() if bundle.card.precision != "float32" else None
        self._weights = bundle.weights() if self._quantized is None else {}
        self._preprocess = bundle.card.preprocess
        height, width = self._preprocess.size
        self.inputs = (TensorSpec("pixels", "uint8", (None, height, width, 3)),)
        self.outputs = (TensorSpec("logits", "float32", (None, *self._graph.shape(self._graph.outputs[0]))),)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        x = normalise(batch, self._preprocess)
        if self._quantized is not None:
            return run_quantized(self._quantized, x)[self._graph.outputs[0]]
        return reference.run(self._graph, self._weights, x)[self._graph.outputs[0]]
