"""Leaves in float what is slower in 8 bits on this machine, once the loss holds: found by profile, kept by time.

Some kernels are better in float32: of a first layer with three channels, of a depthwise convolution. A profile of both
networks names them; what neighbours is tried together, since each border between float and integers costs a rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.paired import paired
from eyespot.bundle.store import Bundle
from eyespot.core.graph import Graph
from eyespot.errors import RuntimeFailure
from eyespot.lower.int8.fit import layer_before
from eyespot.lower.int8.to_onnx import quantized_to_onnx
from eyespot.measure.roofline import kernels
from eyespot.run.probe import Probe, probe_quantized
from eyespot.shrink.ladder import Ladder, Limits, Shown, Step, divergence, logits_of
from eyespot.shrink.timing import time_both

_TRIED = 3  # groups of layers, those that seem to save most first
_WORTH = 0.98  # of the time before: less is not worth a layer that other machines would compute in integers
_LEAST = 0.01  # share of the network's time that a group must seem to save


def leave_slow(
    bundle: Bundle,
    ladder: Ladder,
    calibration: NDArray[np.uint8],
    evaluation: Shown,
    *,
    limits: Limits,
    say: Callable[[str], None] = lambda _: None,
) -> Ladder:
    """The ladder with one step more for each group of layers that is left in float and makes the network faster.

    As it was where it did not hold, was fine-tuned for its integers, or gains nothing beyond doubt.
    """
    fitter = ladder.fitter
    if fitter is None or not ladder.held:
        return ladder
    say("layers that are slower in 8 bits")
    pixels = ladder.ready.preprocess
    before, one = bundle.model.read_bytes(), calibration[:1]
    model = quantized_to_onnx(ladder.network, preprocess=pixels)
    for unit in _slower(before, model, ladder.ready.graph, one)[:_TRIED]:
        say(f"in float for speed: {', '.join(unit)}")
        recipe = replace(ladder.recipe, floats=ladder.recipe.floats | set(unit))
        network = fitter.fit(recipe)
        faster = quantized_to_onnx(network, preprocess=pixels)
        timed = time_both(model, faster, one)
        if not timed.faster or timed.ratio.value > _WORTH:
            continue
        probe = probe_quantized(network, pixels)
        was, now = (logits_of(each, evaluation.pixels).argmax(1) for each in (Probe(before), probe))
        found = paired(was, now, evaluation.targets)
        if not limits.hold(found):
            continue
        few = calibration[: len(calibration) // 4 + 1]
        apart = divergence(logits_of(Probe(before), few), logits_of(probe, few))
        name = f"in float for speed: {', '.join(unit)} (time × {timed.ratio.value:.2f})"
        steps = (*ladder.steps, Step(name, apart, True, found, True))
        ladder = replace(ladder, steps=steps, network=network, recipe=recipe, found=found)
        model = faster
    return ladder


def _slower(before: bytes, after: bytes, graph: Graph, picture: NDArray[np.uint8]) -> list[tuple[str, ...]]:
    """Groups of neighbouring layers that take longer in the second model than in the first, the worst first."""
    try:
        times = [_by_layer(model, graph, picture) for model in (before, after)]
    except RuntimeFailure:  # no profile, no hint
        return []
    lost = {name: times[1][name] - time for name, time in times[0].items() if name in times[1]}
    groups: list[list[str]] = []
    for name in (node.name for node in graph.nodes if lost.get(node.name, 0.0) > 0):
        group = next((group for group in groups if layer_before(graph, name) in group), None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    worth = _LEAST * sum(times[1].values())
    saved = {tuple(group): sum(lost[name] for name in group) for group in groups}
    return sorted((group for group in saved if saved[group] > worth), key=lambda group: -saved[group])


def _by_layer(model: bytes, graph: Graph, picture: NDArray[np.uint8]) -> Mapping[str, float]:
    """Milliseconds of each convolution and linear layer, what is fused into it counted in."""
    found: dict[str, float] = {}
    for kernel in kernels(model, graph, picture, threads=1):
        if kernel.layer is not None and kernel.macs:
            found[kernel.layer] = found.get(kernel.layer, 0.0) + kernel.ms
    return found
