"""What calibration pictures show of a network: run in float32 on ONNX Runtime, picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.build import normalise
from eyespot.core.graph import INPUT
from eyespot.lower.int8.fit import Evidence, layer_inputs
from eyespot.lower.int8.plan import Ready, gridded
from eyespot.lower.int8.ranges import Seen
from eyespot.lower.int8.rounding import LARGEST, moments_of
from eyespot.lower.numpy_ops import Array
from eyespot.run.probe import probe_float

Pixels = NDArray[np.uint8]


def gather(ready: Ready, pixels: Pixels, *, step: Callable[[], None] = lambda: None) -> Evidence:
    """Ranges of every tensor that may get a grid and mean inputs of every layer. pixels: (n, height, width, 3)."""
    _, names = gridded(ready.graph)
    inputs = layer_inputs(ready.graph)
    evidence = Evidence({name: Seen() for name in names})
    totals: dict[str, NDArray[np.float64]] = {}
    watched = set(inputs.values())
    wanted = [name for name in ready.graph.by_name if name in evidence.seen or name in watched]
    for values in _each(ready, wanted, pixels, step):
        for name, value in values.items():
            if name in evidence.seen:
                evidence.seen[name].add(value)
            if name in watched:
                totals[name] = totals.get(name, np.float64(0)) + value.astype(np.float64)
    evidence.means = {layer: totals[name] / len(pixels) for layer, name in inputs.items()}
    return evidence


def add_moments(ready: Ready, evidence: Evidence, pixels: Pixels, *, step: Callable[[], None] = lambda: None) -> None:
    """How the values that each layer's filters see vary together: what rounding by answers needs."""
    rng = np.random.default_rng(1)
    inputs = {layer: name for layer, name in layer_inputs(ready.graph).items() if _filter(ready, layer) <= LARGEST}
    wanted = [name for name in ready.graph.by_name if name in set(inputs.values())]
    totals: dict[str, NDArray[np.float64]] = {}
    for values in _each(ready, wanted, pixels, step):
        for layer, name in inputs.items():
            if name in values:
                moments = moments_of(ready.graph.by_name[layer], values[name], rng)
                totals[layer] = totals[layer] + moments if layer in totals else moments
    evidence.moments = totals


def _filter(ready: Ready, layer: str) -> int:
    return int(ready.weights[f"{layer}.weight"][0].size)


def _each(ready: Ready, names: Sequence[str], pixels: Pixels, step: Callable[[], None]) -> Iterator[dict[str, Array]]:
    """For each picture, the tensors of these nodes and the network's input by name, without the batch axis."""
    probe = probe_float(ready, names)
    for at in range(len(pixels)):
        one = pixels[at : at + 1]
        yield {INPUT: normalise(one, ready.preprocess)[0]} | {
            name: value[0] for name, value in zip(names, probe(one), strict=True)
        }
        step()
