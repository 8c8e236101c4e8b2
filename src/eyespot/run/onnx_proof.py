"""Whether a graph that was read from an ONNX file computes what the file does: both run on ONNX Runtime, on noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from eyespot.core.graph import INPUT
from eyespot.errors import RuntimeFailure, WeightsError
from eyespot.lower.onnx import to_onnx
from eyespot.run.ort import session_options
from eyespot.weights.onnx.graph import OnnxNetwork
from eyespot.weights.onnx.layout import laid_out

BUDGET = 1e-4  # of an output's range: two orders of the same float32 arithmetic
_IMAGES = 3


def prove_same(data: bytes, network: OnnxNetwork) -> None:
    """Runs a file and the graph that was read from it on the same seeded noise.

    Args:
        data: The bytes of the ONNX file.
        network: What ``to_graph`` made of it.

    Raises:
        WeightsError: An output differs by more than 1e-4 of its range.
        RuntimeFailure: ONNX Runtime cannot run the file.
    """
    graph = network.graph
    theirs, ours = _session(data), _session(to_onnx(graph, network.weights))
    names = [output.name for output in ours.get_outputs()]
    random = np.random.default_rng(0)
    for _ in range(_IMAGES):
        noise = random.random((1, *graph.input), np.float32)
        given = (noise.transpose(0, 2, 3, 1) if network.channels_last else noise).astype(np.float32)
        if network.dtype == "uint8":
            given = (255 * given).astype(np.uint8)
            noise = (
                given.astype(np.float32).transpose(0, 3, 1, 2) if network.channels_last else given.astype(np.float32)
            )
        wanted = _run(theirs, network.input, np.ascontiguousarray(given), list(network.outputs))
        maps = dict(zip(graph.outputs, _run(ours, INPUT, np.ascontiguousarray(noise), names), strict=True))
        for (name, value), want in zip(network.outputs.items(), wanted, strict=True):
            got = laid_out(value, maps)
            if got.shape != want.shape or not np.abs(got - want).max() <= BUDGET * max(float(np.ptp(want)), 1e-30):
                apart = "another shape" if got.shape != want.shape else f"{np.abs(got - want).max():.3g}"
                raise WeightsError(
                    f"expected a graph that computes what the ONNX file does, got a difference in {name[:60]!r} "
                    f"({apart}); this file cannot be imported"
                )


def _session(model: bytes) -> Any:
    try:
        return onnxruntime.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base below Exception
        raise RuntimeFailure(f"ONNX Runtime refuses the file: {' '.join(str(error).split())[:300]}") from None


def _run(session: Any, name: str, given: Any, outputs: list[str]) -> list[Any]:
    try:
        made: list[Any] = session.run(outputs, {name: given})
    except Exception as error:
        raise RuntimeFailure(f"ONNX Runtime failed on the file: {' '.join(str(error).split())[:300]}") from None
    return made
