"""Shrinks a bundle to 8 bits within a stated loss: a ladder of steps, judged on pictures, to the first that holds.

Ranges and corrections are learned on calibration pictures; a step stays if it brings the answers on those nearer to the
float network's, and holds if on other pictures, kept for evaluation, the loss is small enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.paired import Paired, paired
from eyespot.bundle.store import Bundle
from eyespot.lower.int8.fit import Fitter, Recipe, equalize, layer_before
from eyespot.lower.int8.plan import Ready, make_ready
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.int8.ranges import METHODS, WHOLE
from eyespot.lower.numpy_ops import Array
from eyespot.run.probe import Probe, probe_float, probe_quantized
from eyespot.shrink.evidence import add_moments, gather

Pixels = NDArray[np.uint8]
LEAST_CALIBRATION, LEAST_EVALUATION = 16, 50  # pictures; with fewer, ranges and shares mean nothing
_LEARNED_FROM = 0.75  # of the calibration pictures; on the others a fine-tune must bring the answers nearer
_LOOKED_AT = 24  # calibration pictures on which one layer's part in the error is measured
_SHORTLIST = 12  # of the most sensitive layers
_MOST_FLOAT = 8  # of them are left in float at the most
_WORTH = 0.97  # what the divergence must fall to for that


class Shown(NamedTuple):
    """Prepared pictures, (n, height, width, 3), and the network's output that is right for each, (n,)."""

    pixels: Pixels
    targets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step must hold: top-1 may fall by ``drop`` (a share), and ``agreement`` of the answers stay as they were.

    The second is there because a small drop on few pictures can be luck, where wrong answers became right by accident.
    """

    drop: float = 0.005
    agreement: float = 0.9

    def hold(self, found: Paired) -> bool:
        """Whether a step is good enough."""
        return found.drop <= self.drop + 1e-9 and found.agreement >= self.agreement

    def short(self, found: Paired) -> tuple[float, float]:
        """By how much a step fails to hold: agreement first."""
        return max(self.agreement - found.agreement, 0.0), found.drop


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the ladder. divergence: of the answers on calibration pictures from the float network's, in nats
    (for a fine-tune, on those that it did not learn from).

    kept: it brought them nearer. found: on the pictures kept for evaluation, for a step that was kept.
    """

    name: str
    divergence: float
    kept: bool
    found: Paired | None
    held: bool


@dataclass(frozen=True, eq=False)
class Ladder:
    """What was tried, and the network of the first step that held, or of the best one.

    fitter: what makes it of ``recipe``; None of a network that was fine-tuned since.
    """

    steps: tuple[Step, ...]
    network: Quantized
    ready: Ready
    recipe: Recipe
    fitter: Fitter | None
    found: Paired
    held: bool


class Tune(Protocol):
    """What fine-tunes a quantized network on pictures so that it answers as ``ready`` does: the torch tower's part.

    step: to be called with the number of steps done.
    """

    def __call__(
        self, ready: Ready, network: Quantized, pictures: Pixels, *, step: Callable[[int], None]
    ) -> Quantized: ...


def logits_of(probe: Probe, pixels: Pixels) -> Array:
    """What a network answers, one picture at a time as it is served: (n, outputs)."""
    return np.concatenate([probe(pixels[at : at + 1])[0] for at in range(len(pixels))])


def divergence(before: Array, after: Array) -> float:
    """The mean Kullback-Leibler divergence of the probabilities after from those before, in nats."""
    p, q = _log_softmax(before), _log_softmax(after)
    return float((np.exp(p) * (p - q)).sum(1).mean())


def _log_softmax(logits: Array) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x = x - x.max(1, keepdims=True)
    result: NDArray[np.float64] = x - np.log(np.exp(x).sum(1, keepdims=True))
    return result


def climb(
    bundle: Bundle,
    calibration: Pixels,
    evaluation: Shown,
    *,
    limits: Limits = Limits(),
    tune: Tune | None = None,
    integers: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Ladder:
    """Quantizes a float bundle's network; ``say`` is told what is tried.

    tune: the last step; None leaves it out. integers: no layer is left in float.
    """
    climber = _Climber(bundle, calibration, evaluation, limits, tune, say)
    ways = (climber.correct, climber.equalize, climber.leave_float, climber.round, climber.each_range, climber.tune)
    return climber.climb([way for way in ways if not (integers and way == climber.leave_float)])


class _Climber:
    def __init__(
        self,
        bundle: Bundle,
        calibration: Pixels,
        evaluation: Shown,
        limits: Limits,
        tune: Tune | None,
        say: Callable[[str], None],
    ) -> None:
        self._calibration, self._evaluation = calibration, evaluation
        self._limits, self._tuner, self._say = limits, tune, say
        with_float = Probe(bundle.model.read_bytes())
        self._float = logits_of(with_float, evaluation.pixels)
        self._float_calibration = logits_of(with_float, calibration)
        ready = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
        self._say("ranges")
        self._fitter = Fitter(ready, gather(ready, calibration))
        self._steps: list[Step] = []
        self._best: Ladder | None = None

    def climb(self, ways: Sequence[Callable[[Recipe], Recipe]]) -> Ladder:
        """Ranges, then way after way until one holds."""
        recipe = self._ranges()
        for change in ways:
            if self._done():
                break
            recipe = change(recipe)
        assert self._best is not None  # noqa: S101 - the first step is always kept
        return replace(self._best, steps=tuple(self._steps))

    def _done(self) -> bool:
        return self._best is not None and self._best.held

    def _ranges(self) -> Recipe:
        recipes = [Recipe(method) for method in WHOLE]
        found = [self._divergence(self._fitter.fit(recipe)) for recipe in recipes]
        best = int(np.argmin(found))
        network = self._fitter.fit(recipes[best])
        self._record(f"{WHOLE[best]} ranges", network, self._fitter, recipes[best], found[best], kept=True)
        return recipes[best]

    def correct(self, recipe: Recipe) -> Recipe:
        return self._try("bias correction", self._fitter, replace(recipe, corrected=True), recipe)

    def equalize(self, recipe: Recipe) -> Recipe:
        ready, places = equalize(self._fitter.ready, self._fitter.evidence.seen)
        if not places:
            return recipe
        self._say("equalising")
        fitter = Fitter(ready, gather(ready, self._calibration))
        self._try(f"equalisation in {places} places", fitter, recipe, recipe)
        if self._steps[-1].kept:
            self._fitter = fitter
        return recipe

    def round(self, recipe: Recipe) -> Recipe:
        self._say("rounding")
        add_moments(self._fitter.ready, self._fitter.evidence, self._calibration)
        return self._try("rounding by answers", self._fitter, replace(recipe, rounded=True), recipe)

    def each_range(self, recipe: Recipe) -> Recipe:
        """Tensor by tensor, in order of execution, the way of choosing its range that brings the answers nearest."""
        self._say("ranges tensor by tensor")
        chosen = recipe
        least = self._nearness(recipe)
        for group in self._fitter.groups():
            for method in METHODS:
                if method == recipe.method:
                    continue
                tried = replace(chosen, methods=(*chosen.methods, *((name, method) for name in group)))
                found = self._nearness(tried)
                if found < least:
                    least, chosen = found, tried
        return self._try("ranges tensor by tensor", self._fitter, chosen, recipe)

    def tune(self, recipe: Recipe) -> Recipe:
        """Kept if answers to pictures that it did not learn from come nearer."""
        if self._tuner is None:
            return recipe
        ready, before = self._fitter.ready, self._fitter.fit(recipe)
        self._say("fine-tune")
        count = int(_LEARNED_FROM * len(self._calibration))

        def step(done: int) -> None:
            self._say(f"fine-tune, step {done}")

        after = self._tuner(ready, before, self._calibration[:count], step=step)
        answers = (logits_of(probe_quantized(n, ready.preprocess), self._calibration) for n in (before, after))
        was, now = (divergence(self._float_calibration[count:], each[count:]) for each in answers)
        self._record("quantisation-aware fine-tune", after, self._fitter, recipe, now, kept=now < was, tuned=True)
        return recipe

    def _nearness(self, recipe: Recipe) -> float:
        """The divergence on a few calibration pictures."""
        few, answers = self._calibration[:_LOOKED_AT], self._float_calibration[:_LOOKED_AT]
        network = self._fitter.fit(recipe)
        return divergence(answers, logits_of(probe_quantized(network, self._fitter.ready.preprocess), few))

    def leave_float(self, recipe: Recipe) -> Recipe:
        """Leaves in float what then brings the answers nearest, one by one, while each does by a good deal."""
        self._say("sensitive layers")
        units = self._sensitive(recipe)[:_SHORTLIST]
        least, kept = self._nearness(recipe), 0
        while units and kept < _MOST_FLOAT and not self._done():
            found = [self._nearness(replace(recipe, floats=recipe.floats | unit)) for unit in units]
            best = int(np.argmin(found))
            if found[best] > _WORTH * least:
                break
            least, unit = found[best], units.pop(best)
            kept += 1
            tried = replace(recipe, floats=recipe.floats | unit)
            recipe = self._try(f"in float: {', '.join(sorted(unit))}", self._fitter, tried, recipe)
        return recipe

    def _sensitive(self, recipe: Recipe) -> list[frozenset[str]]:
        """Layers, and pairs with the tensor between, by how much nearer the answers come when they are in float."""
        graph = self._fitter.ready.graph
        layers = self._fitter.fit(recipe).int8_layers()
        units = [frozenset([name]) for name in layers]
        units += [frozenset([name, before]) for name in layers if (before := layer_before(graph, name)) in layers]
        found = [(self._nearness(replace(recipe, floats=unit)), at) for at, unit in enumerate(units)]
        return [units[at] for _, at in sorted(found)]

    def _try(self, name: str, fitter: Fitter, recipe: Recipe, otherwise: Recipe) -> Recipe:
        """Keeps a change if it brings the answers nearer; returns the recipe to go on with."""
        before = min(step.divergence for step in self._steps if step.kept)
        network = fitter.fit(recipe)
        found = self._divergence(network, fitter.ready)
        kept = found < before
        self._record(name, network, fitter, recipe, found, kept=kept)
        return recipe if kept else otherwise

    def _divergence(self, network: Quantized, ready: Ready | None = None) -> float:
        probe = probe_quantized(network, (ready or self._fitter.ready).preprocess)
        return divergence(self._float_calibration, logits_of(probe, self._calibration))

    def _record(
        self,
        name: str,
        network: Quantized,
        fitter: Fitter,
        recipe: Recipe,
        found: float,
        *,
        kept: bool,
        tuned: bool = False,
    ) -> None:
        if not kept:
            self._steps.append(Step(name, found, False, None, False))
            return
        self._say(name)
        after = logits_of(probe_quantized(network, fitter.ready.preprocess), self._evaluation.pixels)
        result = paired(self._float.argmax(1), after.argmax(1), self._evaluation.targets)
        held = self._limits.hold(result)
        self._steps.append(Step(name, found, True, result, held))
        best = self._best
        if best is None or held or self._limits.short(result) <= self._limits.short(best.found):
            self._best = Ladder((), network, fitter.ready, recipe, None if tuned else fitter, result, held)


class LayerNoise(NamedTuple):
    """How clear a layer's answers are after quantizing: signal to noise in decibels; precision: of its weights."""

    name: str
    decibels: float
    precision: str


def layer_noise(ladder: Ladder, pixels: Pixels) -> list[LayerNoise]:
    """Every layer's answers (behind its rectifier) in the quantized network beside the float one's, on pictures."""
    network, readers = ladder.network, ladder.network.graph.readers()
    targets = {}
    for node in network.graph.nodes:
        if f"{node.name}.weight" in network.tensors and node.name not in network.graph.outputs:
            targets[node.name] = network.target(node, readers) or node.name
    wanted = list(dict.fromkeys(targets.values()))
    before, after = probe_float(ladder.ready, wanted), probe_quantized(network, ladder.ready.preprocess, wanted)
    signal, noise = np.zeros(len(wanted)), np.zeros(len(wanted))
    for at in range(len(pixels)):
        one = pixels[at : at + 1]
        for i, (x, y) in enumerate(zip(before(one), after(one), strict=True)):
            signal[i] += np.square(x, dtype=np.float64).sum()
            noise[i] += np.square(x.astype(np.float64) - y).sum()
    decibels = 10 * np.log10(np.maximum(signal, 1e-30) / np.maximum(noise, 1e-30))
    place = {name: i for i, name in enumerate(wanted)}
    return [
        LayerNoise(layer, float(decibels[place[name]]), "int8" if network.is_int8(layer) else "float32")
        for layer, name in targets.items()
    ]
