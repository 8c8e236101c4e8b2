"""A session on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from eyespot.errors import RuntimeFailure
from eyespot.lower.onnx_file import OnnxFile, with_outputs
from eyespot.run.session import ClosingSession, TensorSpec

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OrtSession(ClosingSession):
    """The ONNX file ``model``, by its path or its bytes, on the CPU, with ``threads`` inside one call.

    A bundle's path is handed over, not its bytes: ONNX Runtime would keep those beside its own copy for as long as it
    lives.
    """

    def __init__(self, model: Path | bytes, *, threads: int) -> None:
        options = session_options(threads)
        try:
            source = model if isinstance(model, bytes) else str(model)
            self._session: Any = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base below Exception
            raise RuntimeFailure(f"ONNX Runtime {onnxruntime.__version__} refuses the model: {_line(error)}") from None
        self.inputs = tuple(_spec(value) for value in self._session.get_inputs())
        self.outputs = tuple(_spec(value) for value in self._session.get_outputs())
        self._output = [self.outputs[0].name]

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        if self._session is None:
            raise RuntimeFailure("this session is closed; open another one")
        try:
            logits: NDArray[np.float32] = self._session.run(self._output, {self.inputs[0].name: batch})[0]
        except Exception as error:
            wanted = self.inputs[0]
            raise RuntimeFailure(
                f"ONNX Runtime failed on {batch.dtype} {batch.shape}; it needs {wanted.dtype} {wanted.shape}: "
                f"{_line(error)}"
            ) from None
        return logits

    def close(self) -> None:
        """Gives the memory back."""
        self._session = None


def session_options(threads: int) -> Any:
    """How every session of ours is opened, those that are profiled too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning for ever slow everybody down on a busy machine (45 → 30 ms a picture); those that
    # stop before the next picture is decoded start late (6.3 → 7.8 ms). A millisecond is enough for both.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "1000")
    options.log_severity_level = 3  # errors reach us as exceptions; warnings are for the people who lower graphs
    if saturates():
        # int8 weights become uint8 with a zero point of 128, whose kernels add in 32 bits: the same integers, exactly.
        # (EfficientNet-Lite0 without VNNI: 5.8 ms and wrong, 7.5 right, 9.2 in float32. With VNNI it would cost 2.2 →
        # 5.8 ms for nothing, and ONNX Runtime does not ask the processor by itself.)
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's kernels for uint8 by int8 add pairs of products in 16 bits here, and saturate.

    They do on x86 without VNNI: Intel before Cascade Lake and Ice Lake, AMD before Zen 4. The kernels themselves are
    asked, with the largest products there are, because whoever asks for instructions must know which kernel needs them.
    """
    file = OnnxFile("saturation")
    products = ["x", file.tensor("w", np.full((4, 1), 127, np.int8))]
    file.input("x", "uint8", (1, 4))
    file.node("MatMulInteger", products, "sum", name="sum")
    file.output("sum", "int32", (1, 1))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = file.to_bytes(producer="eyespot", version="", metadata={})
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (total,) = session.run(None, {"x": np.full((1, 4), 255, np.uint8)})
    return int(total.item()) != 4 * 255 * 127


def values_of(model: bytes, names: Sequence[str], batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The values of those ``names`` (of nodes of ours) that an ONNX file of ours computes in float32, for pixels."""
    wanted = {value: name for name in names for value in (f"{name}:dq", name)}  # rounded to its grid, where it has one
    session: Any = None
    extended, found = with_outputs(model, tuple(wanted))
    try:
        session = onnxruntime.InferenceSession(extended, session_options(1), providers=["CPUExecutionProvider"])
        arrays = session.run(found, {session.get_inputs()[0].name: batch})
    except Exception as error:
        raise RuntimeFailure(f"ONNX Runtime {onnxruntime.__version__} shows no tensors: {_line(error)}") from None
    return {wanted[value]: array for value, array in reversed(list(zip(found, arrays, strict=True)))}


def _spec(value: Any) -> TensorSpec:
    shape = tuple(n if isinstance(n, int) else None for n in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
