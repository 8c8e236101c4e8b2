"""A session on the numpy reference: slow, and right by definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.build import normalise
from eyespot.bundle.store import Bundle
from eyespot.lower import reference
from eyespot.run.session import ClosingSession, TensorSpec


class NumpySession(ClosingSession):
    """The graph and weights of a bundle, executed node by node."""

    def __init__(self, bundle: Bundle) -> None:
        self._graph = bundle.card.graph
        self._weights = bundle.weights()
        self._preprocess = bundle.card.preprocess
        height, width = self._preprocess.size
        self.inputs = (TensorSpec("pixels", "uint8", (None, height, width, 3)),)
        self.outputs = (TensorSpec("logits", "float32", (None, *self._graph.shape(self._graph.outputs[0]))),)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        values = reference.run(self._graph, self._weights, normalise(batch, self._preprocess))
        return values[self._graph.outputs[0]]
