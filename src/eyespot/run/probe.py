"""Probe: a network that is no bundle yet, run on ONNX Runtime from its bytes, any of its tensors read out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from eyespot.core.pixels import PIXELS, Preprocess
from eyespot.errors import RuntimeFailure
from eyespot.lower.int8.plan import Ready
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.int8.to_onnx import quantized_to_onnx
from eyespot.lower.numpy_ops import Array
from eyespot.lower.onnx import to_onnx
from eyespot.run.ort import session_options


class Probe:
    """An ONNX model in memory that takes "pixels", with ``threads`` inside one call."""

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        try:
            self._session: Any = onnxruntime.InferenceSession(
                model, session_options(threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no common base below Exception
            text = " ".join(str(error).split())[:300]
            raise RuntimeFailure(f"ONNX Runtime {onnxruntime.__version__} refuses the model: {text}") from None
        self.names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[Array, ...]:
        """The outputs, in the order of ``names``, for prepared pictures (n, height, width, 3)."""
        return tuple(self._session.run(None, {PIXELS: pixels}))


def probe_float(ready: Ready, names: Collection[str], *, threads: int = 1) -> Probe:
    """The network in float32 with these nodes as its outputs, in their order."""
    graph = replace(ready.graph, outputs=tuple(names), taps={})
    return Probe(to_onnx(graph, ready.weights, preprocess=ready.preprocess), threads=threads)


def probe_quantized(
    network: Quantized, preprocess: Preprocess, names: Collection[str] = (), *, threads: int = 1
) -> Probe:
    """The quantized network with these nodes as its outputs; without any, its own."""
    return Probe(quantized_to_onnx(network, preprocess=preprocess, outputs=tuple(names)), threads=threads)
