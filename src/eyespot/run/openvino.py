"""A session on OpenVINO, and its own converter from our ONNX file to its two files."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from eyespot.errors import RuntimeFailure
from eyespot.run.session import ClosingSession, TensorSpec

MODEL, WEIGHTS = "model.xml", "model.bin"


def to_ir(onnx: bytes) -> dict[str, bytes]:
    """OpenVINO's files of an ONNX file: its graph as XML, its tensors as they are (not made float16).

    Metadata go along, under ``framework`` in the runtime info.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / MODEL
        try:
            openvino.save_model(openvino.Core().read_model(onnx), place, compress_to_fp16=False)
        except Exception as error:  # OpenVINO's exceptions are RuntimeErrors and others
            raise RuntimeFailure(f"{_version()} cannot convert the network: {_line(error)}") from None
        return {name: (place.parent / name).read_bytes() for name in (MODEL, WEIGHTS)}


class OpenVinoSession(ClosingSession):
    """The file ``model``, ONNX or an .xml with its .bin beside it, on the CPU, with ``threads`` inside one call.

    It computes in float32 what is float: where a processor has bfloat16, OpenVINO would choose that by itself.
    """

    def __init__(self, model: Path, *, threads: int) -> None:
        try:
            network: Any = openvino.Core().read_model(model)
            self._request: Any = _compiled(network, threads).create_infer_request()
        except Exception as error:
            raise RuntimeFailure(f"{_version()} refuses the model: {_line(error)}") from None
        self._lock = threading.Lock()  # a request holds its own tensors
        _, height, width, channels = network.input(0).partial_shape
        self.inputs = (TensorSpec("pixels", "uint8", (None, *(n.get_length() for n in (height, width, channels)))),)
        self.outputs = (TensorSpec("logits", "float32", (None, network.output(0).partial_shape[1].get_length())),)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        with self._lock:
            if self._request is None:
                raise RuntimeFailure("this session is closed; open another one")
            try:
                logits: NDArray[np.float32] = self._request.infer({0: batch})[0].copy()
            except Exception as error:
                wanted = self.inputs[0]
                raise RuntimeFailure(
                    f"{_version()} failed on {batch.dtype} {batch.shape}; it needs {wanted.dtype} {wanted.shape}: "
                    f"{_line(error)}"
                ) from None
            return logits

    def close(self) -> None:
        """Gives the memory back."""
        with self._lock:
            self._request = None


def values_of(model: Path, names: Sequence[str], batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    """The values of those ``names`` (of nodes of ours) that the file computes in float32, for pixels."""
    network: Any = openvino.Core().read_model(model)
    there = {name for op in network.get_ordered_ops() for output in op.outputs() for name in output.get_names()}
    outputs = set(network.output(0).get_names())
    wanted = {}
    for name in names:  # rounded to its grid, where it has one
        value = next((value for value in (f"{name}:dq", name) if value in there - outputs), None)
        if value is not None:
            wanted[name] = value
    try:
        network.add_outputs(list(wanted.values()))
        found = _compiled(network, 1)(batch)
    except Exception as error:
        raise RuntimeFailure(f"{_version()} shows no tensors: {_line(error)}") from None
    return {name: found[value] for name, value in wanted.items()}


def _compiled(network: Any, threads: int) -> Any:
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # pinned to a core that others use, it waits for them (0.16 → 12 ms)
    }
    return openvino.Core().compile_model(network, "CPU", options)


def _version() -> str:
    return f"OpenVINO {openvino.__version__.partition('-')[0]}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
