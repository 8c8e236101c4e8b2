"""What a network in 8 bits is where products are added in 16 bits: ``python -m saturation`` prints what happens here.

Kernels for x86 without VNNI multiply uint8 by int8 with one instruction (PMADDUBSW) that adds two products and cuts the
sum at 16 bits. This module holds its meaning in numpy, and a network of each kind of layer, run in ONNX Runtime both
ways.
"""

from __future__ import annotations

import json

import numpy as np

LOW, HIGH = np.iinfo(np.int16).min, np.iinfo(np.int16).max


def exact(x, weight):
    """Sums of products, (rows, outputs), of uint8 (rows, k) and int8 (k, outputs)."""
    return x.astype(np.int64) @ weight.astype(np.int64)


def saturated(x, weight):
    """The same by PMADDUBSW: neighbours along k are added in 16 bits, which saturate, and pairs in 32."""
    products = x.astype(np.int64)[:, :, None] * weight.astype(np.int64)[None]
    return np.clip(products[:, 0::2] + products[:, 1::2], LOW, HIGH).sum(1)


def unsigned(x, weight):
    """The same with weights as uint8 around 128: pairs fit in 32 bits, and what 128 adds is taken off exactly."""
    moved = (weight.astype(np.int16) + 128).astype(np.uint8)
    return x.astype(np.int64) @ moved.astype(np.int64) - 128 * x.astype(np.int64).sum(1, keepdims=True)


def every_layer():
    """A first layer of three channels, depthwise, grouped and dense convolutions, and a linear layer, with a sum."""
    from eyespot.core.sketch import Sketch

    s = Sketch((3, 32, 32))
    x = s.act("stem.act", s.conv("stem", s.input, 16, kernel=3, stride=2, bias=True), "relu")
    y = s.act("deep.act", s.depthwise("deep", x, kernel=3), "relu6")
    y = s.conv("point", y, 16, kernel=1)
    x = s.sum("sum", x, y)
    x = s.act("grouped.act", s.conv("grouped", x, 32, kernel=3, groups=4), "relu")
    x = s.act("odd.act", s.conv("odd", x, 13, kernel=1), "relu")
    x = s.act("dense.act", s.conv("dense", x, 24, kernel=5), "relu")
    return s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 10))


def quantized_network():
    """That network in 8 bits and what its pixels mean."""
    from eyespot.core.pixels import torchvision_preprocess
    from eyespot.lower.int8.fit import Fitter, Recipe
    from eyespot.lower.int8.plan import make_ready
    from eyespot.lower.tensors import random_weights
    from quantizing import evidence, pictures

    graph = every_layer()
    ready = make_ready(graph, random_weights(graph, 3), torchvision_preprocess(32, 32))
    return Fitter(ready, evidence(ready, pictures(4, 32))).fit(Recipe()), ready.preprocess


def levels_apart(network, preprocess, options):
    """For each tensor with a grid, the largest difference in levels from the numpy meaning, on two pictures."""
    import onnxruntime

    from eyespot.bundle.build import normalise
    from eyespot.core.graph import INPUT
    from eyespot.lower.int8.run import run_quantized
    from eyespot.lower.int8.to_onnx import quantized_to_onnx
    from quantizing import pictures

    pixels = pictures(2, 32, seed=5)
    names = [name for name in network.grids if name != INPUT]
    ours = run_quantized(network, normalise(pixels, preprocess), keep=names)
    model = quantized_to_onnx(network, preprocess=preprocess, outputs=tuple(names))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    theirs = dict(zip(names, session.run(None, {"pixels": pixels}), strict=True))
    return {name: round(float(np.abs(ours[name] - theirs[name]).max() / network.grids[name].scale)) for name in names}


def main():
    import onnxruntime

    from eyespot.run.ort import saturates, session_options

    network, preprocess = quantized_network()
    plain = onnxruntime.SessionOptions()
    found = {
        "saturates": saturates(),
        "plain": levels_apart(network, preprocess, plain),
        "eyespot": levels_apart(network, preprocess, session_options(1)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
