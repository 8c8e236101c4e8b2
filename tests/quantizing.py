"""Quantizes small networks in tests, what calibration shows coming from the numpy reference."""

from __future__ import annotations

import numpy as np

from eyespot.arch.catalogue import draw
from eyespot.bundle.build import normalise
from eyespot.core.graph import INPUT
from eyespot.core.pixels import torchvision_preprocess
from eyespot.lower.int8.fit import Evidence, Fitter, Recipe, layer_inputs
from eyespot.lower.int8.plan import gridded, make_ready
from eyespot.lower.int8.ranges import Seen
from eyespot.lower.int8.rounding import moments_of
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights


def pictures(count, size, seed=0):
    """Prepared pictures with patches and noise, uint8 (count, size, size, 3)."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(size=(count, size // 8, size // 8, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(128 + 50 * patches + 20 * rng.normal(size=(count, size, size, 3)), 0, 255).astype(np.uint8)


def ready(architecture, size=32, **arguments):
    """A network of random weights, made ready."""
    graph = draw(architecture, {"size": size, "classes": 10, **arguments})
    return make_ready(graph, random_weights(graph, 1), torchvision_preprocess(size, size))


def evidence(network, pixels):
    """What these pictures show of it."""
    _, names = gridded(network.graph)
    inputs = layer_inputs(network.graph)
    kept = [name for name in network.graph.by_name if name in {*names, *inputs.values()}]
    x = normalise(pixels, network.preprocess)
    values = {INPUT: x} | run(network.graph, network.weights, x, keep=kept)
    found, rng = Evidence({name: Seen() for name in names}), np.random.default_rng(0)
    for at in range(len(pixels)):
        for name in names:
            found.seen[name].add(values[name][at])
    found.means = {layer: values[name].mean(0, dtype=np.float64) for layer, name in inputs.items()}
    for layer, name in inputs.items():
        found.moments[layer] = sum(moments_of(network.graph.by_name[layer], one, rng) for one in values[name])
    return found


def quantized(network, recipe=Recipe(), *, pixels=None):  # noqa: B008 - frozen
    """The network in 8 bits, calibrated on a few pictures."""
    size = network.graph.input[1]
    return Fitter(network, evidence(network, pictures(4, size) if pixels is None else pixels)).fit(recipe)
