"""For tests of lowering: a network of every op; ONNX bytes run by ONNX Runtime and by the onnx package's evaluator."""

from __future__ import annotations

import numpy as np

from eyespot.core.sketch import Sketch


def onnx_runtime(model: bytes, x) -> dict[str, np.ndarray]:
    """Outputs by name for the model's only input."""
    import onnxruntime

    from eyespot.run.ort import session_options

    session = onnxruntime.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True))


def onnx_evaluator(model: bytes, x) -> dict[str, np.ndarray]:
    """The same from the definition of ONNX: slow, written by others, sharing no code with any runtime."""
    from onnx import load_from_string
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(load_from_string(model))
    return dict(zip(evaluator.output_names, evaluator.run(None, {evaluator.input_names[0]: x}), strict=True))


def every_op():
    """What few networks draw: enlarged maps, transposed convolutions, slices, and each activation."""
    s = Sketch((3, 32, 32))
    x = s.conv("stem", s.input, 8, kernel=3, stride=2, bias=True)
    parts = []
    for function in ("leaky_relu", "silu", "sigmoid", "hard_sigmoid", "gelu", "mish", "tanh", "relu6"):
        parts.append(s.act(f"{function}", x, function))
    x = s.sum("sum", *parts)
    x = s.scale("scaled", x, 0.3)
    x = s.concat("joined", s.slice("low", x, 0, 3), s.slice("high", x, 3, 8), x)
    x = s.resize("larger", x, 2, "bilinear")
    x = s.resize("largest", x, 2, "nearest")
    x = s.conv_transpose("up", x, 6, kernel=2, stride=2)
    x = s.avg_pool("mean", x, kernel=3, stride=2, padding="symmetric")
    x = s.norm("norm", s.max_pool("most", x, kernel=3, stride=2, padding="symmetric"))
    x = s.flatten("flatten", s.global_pool("pool", x))
    return s.graph(s.softmax("shares", s.linear("classifier", x, 10)))
