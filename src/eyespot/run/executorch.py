"""A session on ExecuTorch's Python runtime, for the files that ``eyespot export --to executorch`` writes.

That runtime speaks torch's tensors and brings torch along: the one module below the torch tower that names it.
"""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import MissingExtra, RuntimeFailure
from eyespot.run.session import ClosingSession, TensorSpec

_DTYPES = {0: "uint8", 6: "float32"}  # ExecuTorch's ScalarType


class ExecutorchSession(ClosingSession):
    """The .pte file ``model``, on the CPU through XNNPACK; pictures are run one by one, and callers wait.

    threads: of every session of this process, for ExecuTorch has one pool of threads; the last one opened decides.
    """

    def __init__(self, model: Path, *, threads: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch and ExecuTorch say of each other
                from executorch.extension.pybindings import portable_lib
                from executorch.runtime import Runtime
        except ImportError:
            raise MissingExtra("ExecuTorch", "executorch") from None
        try:
            portable_lib._unsafe_reset_threadpool(threads)
            program = Runtime.get().load_program(model)
            self._method: Any = program.load_method("forward")
            described = self._method.metadata
            self.inputs = (_spec("pixels", described.input_tensor_meta(0)),)
            self.outputs = (_spec("logits", described.output_tensor_meta(0)),)
        except RuntimeError as error:
            raise RuntimeFailure(f"ExecuTorch refuses the model: {_line(error)}") from None
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        from torch import from_numpy

        wanted = self.inputs[0]
        if batch.dtype != np.uint8 or batch.shape[1:] != wanted.shape[1:]:
            raise RuntimeFailure(f"ExecuTorch got {batch.dtype} {batch.shape}; it needs {wanted.dtype} {wanted.shape}")
        batch = np.require(batch, requirements=["C", "W"])  # torch warns of arrays that it may not write to
        logits = []
        with self._lock:
            if self._method is None:
                raise RuntimeFailure("this session is closed; open another one")
            for at in range(len(batch)):
                try:
                    (answer,) = self._method.execute([from_numpy(batch[at : at + 1])])
                except RuntimeError as error:
                    raise RuntimeFailure(f"ExecuTorch failed on a picture: {_line(error)}") from None
                logits.append(answer.numpy().copy())
        return np.concatenate(logits)

    def close(self) -> None:
        """Gives the memory back."""
        self._method = None


def _spec(name: str, described: Any) -> TensorSpec:
    kind = int(described.dtype())
    return TensorSpec(name, _DTYPES.get(kind, str(kind)), tuple(described.sizes()))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
