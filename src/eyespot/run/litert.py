"""A session on LiteRT's interpreter, for the files that ``eyespot export --to litert`` writes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import MissingExtra, RuntimeFailure
from eyespot.run.session import ClosingSession, TensorSpec


class LitertSession(ClosingSession):
    """The file ``model``, by its path or its bytes, on the CPU through XNNPACK, with ``threads`` inside one call.

    An interpreter holds one picture's maps: pictures are run one by one, and callers wait for each other.
    """

    def __init__(self, model: Path | bytes, *, threads: int) -> None:
        self._interpreter: Any = _interpreter(model, threads)
        self._lock = threading.Lock()
        self._input, self._output = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        self.inputs = (_spec(self._input),)
        self.outputs = (_spec(self._output),)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        wanted = self.inputs[0]
        if batch.dtype != np.uint8 or batch.shape[1:] != wanted.shape[1:]:
            raise RuntimeFailure(f"LiteRT got {batch.dtype} {batch.shape}; it needs {wanted.dtype} {wanted.shape}")
        logits = np.empty((len(batch), *self._output["shape"][1:]), np.float32)
        with self._lock:
            if self._interpreter is None:
                raise RuntimeFailure("this session is closed; open another one")
            for at in range(len(batch)):
                self._invoke(batch[at : at + 1])
                logits[at] = self._interpreter.get_tensor(self._output["index"])[0]
        return logits

    def close(self) -> None:
        """Gives the memory back."""
        self._interpreter = None

    def _invoke(self, picture: NDArray[np.uint8]) -> None:
        try:
            self._interpreter.set_tensor(self._input["index"], picture)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise RuntimeFailure(f"LiteRT failed on a picture: {_line(error)}") from None


def values_of(model: bytes, names: Sequence[str], batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The values of those ``names`` (of nodes of ours) that a LiteRT file of ours computes, channels first."""
    from eyespot.lower.litert.file import with_outputs

    interpreter = _interpreter(with_outputs(model, names), 1)
    found: dict[str, list[NDArray[np.float32]]] = {}
    details = [detail for detail in interpreter.get_output_details() if detail["name"] in set(names)]
    for at in range(len(batch)):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch[at : at + 1])
        interpreter.invoke()
        for detail in details:
            value = interpreter.get_tensor(detail["index"])
            if value.dtype != np.float32:
                scale, zero = detail["quantization"]
                value = (value.astype(np.float32) - np.float32(zero)) * np.float32(scale)
            value = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
            found.setdefault(detail["name"], []).append(value)
    return {name: np.concatenate(values) for name, values in found.items()}


def _interpreter(model: Path | bytes, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingExtra("LiteRT", "litert") from None
    try:
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        interpreter = Interpreter(**source, num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise RuntimeFailure(f"LiteRT refuses the model: {_line(error)}") from None
    return interpreter


def _spec(detail: Any) -> TensorSpec:
    return TensorSpec(detail["name"], np.dtype(detail["dtype"]).name, tuple(int(n) for n in detail["shape"]))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
