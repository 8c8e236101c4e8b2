"""Runs ONNX bytes in tests: in ONNX Runtime, on one thread, and in the evaluator of the onnx package."""

from __future__ import annotations

import numpy as np


def onnx_runtime(model: bytes, x) -> dict[str, np.ndarray]:
    """Outputs by name for the model's only input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True))


def onnx_evaluator(model: bytes, x) -> dict[str, np.ndarray]:
    """The same from the definition of ONNX: slow, written by others, sharing no code with any runtime."""
    from onnx import load_from_string
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(load_from_string(model))
    return dict(zip(evaluator.output_names, evaluator.run(None, {evaluator.input_names[0]: x}), strict=True))
