"""``eyespot quantize``: from a bundle and labelled pictures to a smaller bundle, and what it lost and won."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.dataset import Example
from eyespot.accuracy.interval import Interval, wilson
from eyespot.accuracy.overlap import TRAINED, known_images
from eyespot.accuracy.paired import Paired, paired
from eyespot.bundle.build import normalise
from eyespot.bundle.build_quantized import PRECISIONS, build_quantized
from eyespot.bundle.store import Bundle, Goldens, check_free
from eyespot.core.card import Metric
from eyespot.errors import PictureError, UsageError
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.int8.fit import store
from eyespot.lower.int8.plan import Ready, make_ready
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.int8.to_onnx import quantized_to_onnx
from eyespot.run.answers import check_logits
from eyespot.run.pictures import read_bytes
from eyespot.run.probe import Probe
from eyespot.shrink.ladder import (
    LEAST_CALIBRATION,
    LEAST_EVALUATION,
    Ladder,
    LayerNoise,
    Limits,
    Shown,
    Step,
    Tune,
    climb,
    layer_noise,
    logits_of,
)
from eyespot.shrink.slow_layers import leave_slow
from eyespot.shrink.timing import Timed, time_both

_LIMITS = Limits()
_COMPARED_ON = 2  # images on which the answers are compared with the integers' meaning before they are written
_NOISE_ON = 8  # pictures on which the layers' noise is measured


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    precision: 'int8'; 'int8-weights', 'float16' and 'bfloat16' only store so and compute in float32. calibrate,
    evaluate: pictures of each kind, the second at the most. slower: write an int8 bundle that is slower here than
    the float one. integers: leave no layer in float, neither for accuracy nor for speed, as processors without
    floating point need.
    """

    precision: str = "int8"
    limits: Limits = _LIMITS
    calibrate: int = 100
    evaluate: int = 1000
    slower: bool = False
    integers: bool = False


@dataclass(frozen=True, eq=False)
class Shrunk:
    """What came of it. bundle: None when it was not written, and ``why`` says why.

    timed: before and after. sizes: (before, after) bytes of the ONNX files. unreadable: pictures that did not count.
    untuned: why the fine-tune was not tried where it might have helped. trained_on: how many of the pictures that were
    measured on the bundle was trained on; None where it does not say. others: what was found on the rest of them alone,
    where there are both.
    """

    model: str
    precision: str
    calibration: int
    found: Paired
    steps: tuple[Step, ...]
    noise: tuple[LayerNoise, ...]
    floats: tuple[str, ...]
    timed: Timed
    sizes: tuple[int, int]
    unreadable: tuple[str, ...]
    bundle: Bundle | None
    why: str = ""
    untuned: str = ""
    trained_on: int | None = None
    others: Paired | None = None

    @property
    def top1_intervals(self) -> tuple[Interval, Interval]:
        """The 95 % intervals of top-1 before and after, each for itself."""
        count = self.found.pictures
        before, after = (wilson(round(share * count), count) for share in (self.found.before, self.found.after))
        return before, after

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "model": self.model,
            "precision": self.precision,
            "bundle": str(self.bundle.path) if self.bundle else None,
            "why_not": self.why or None,
            "untuned": self.untuned or None,
            "calibration": self.calibration,
            **self.found.to_json(),
            "trained_on": self.trained_on,
            "others": self.others.to_json() if self.others else None,
            "top1_intervals": [[round(v, 6) for v in interval] for interval in self.top1_intervals],
            "steps": [
                {
                    "step": step.name,
                    "divergence": round(step.divergence, 6),
                    "kept": step.kept,
                    "held": step.held,
                    **(step.found.to_json() if step.found else {}),
                }
                for step in self.steps
            ],
            "layers": [{"layer": n.name, "db": round(n.decibels, 2), "precision": n.precision} for n in self.noise],
            "float_layers": list(self.floats),
            **self.timed.to_json(),
            "model_bytes": {"before": self.sizes[0], "after": self.sizes[1]},
            "unreadable": list(self.unreadable),
        }


class _Result(NamedTuple):
    network: Quantized
    ready: Ready
    found: Paired
    held: bool
    steps: tuple[Step, ...]
    noise: tuple[LayerNoise, ...]


def quantize(
    bundle: Bundle,
    data: Sequence[Example],
    out: Path,
    *,
    wish: Wish = Wish(),
    replace: bool = False,
    tune: Tune | None = None,
    untuned: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Shrunk:
    """Makes a smaller bundle of a float32 one at ``out`` if its loss holds and it is no slower; says what was found.

    tune: the ladder's last step (``learn.quantize_aware.fine_tune``); None leaves it out, and ``untuned`` says why.
    ``say`` is told what is being done. UsageError for a bundle that is quantized already, too few pictures, or a place
    that is taken.
    """
    if bundle.card.precision != "float32":
        parent = bundle.card.parent or "the bundle that it was made of"
        raise UsageError(f"{bundle.card.name} is {bundle.card.precision} already; quantize {parent}")
    if wish.precision not in PRECISIONS:
        raise UsageError(f"precision {wish.precision!r} is not one of {', '.join(PRECISIONS)}")
    check_free(out, replace=replace)
    calibration, evaluation, unreadable, trained = _pictures(bundle, data, wish, say)
    if wish.precision == "int8":
        result = _integers(bundle, calibration, evaluation, wish, tune, say)
    else:
        result = _stored(bundle, evaluation, wish)
    model = quantized_to_onnx(result.network, preprocess=result.ready.preprocess)
    say("timing")
    timed = time_both(bundle.model.read_bytes(), model, calibration[:1])
    others = None if trained is None else _on_others(bundle, model, evaluation, trained)
    why = _why_not(result, timed, wish) or _differs(result, model, calibration[:_COMPARED_ON])
    written = None
    if not why:
        written = build_quantized(
            out, bundle, result.network, result.ready.preprocess,
            precision=wish.precision, metrics=[_metric(others or result.found)], replace=replace,
        )  # fmt: skip
    return Shrunk(
        bundle.card.name,
        wish.precision,
        len(calibration),
        result.found,
        result.steps,
        result.noise,
        tuple(result.network.float_layers()) if wish.precision == "int8" else (),
        timed,
        (bundle.model.stat().st_size, len(model)),
        unreadable,
        written,
        why,
        untuned if wish.precision == "int8" and tune is None and not result.held else "",
        None if trained is None else int(trained.sum()),
        others,
    )


def _metric(found: Paired) -> Metric:
    """What the card says of the new network."""
    low, high = wilson(round(found.after * found.pictures), found.pictures)
    interval = (round(100 * low, 2), round(100 * high, 2))
    return Metric("top1", round(100 * found.after, 3), f"{found.pictures} pictures", "eyespot quantize", interval)


def _on_others(bundle: Bundle, model: bytes, evaluation: Shown, trained: NDArray[np.bool_]) -> Paired | None:
    """Both networks on the pictures that the bundle was not trained on; None where these are all, or none."""
    if trained.all() or not trained.any():
        return None
    pixels, targets = evaluation.pixels[~trained], evaluation.targets[~trained]
    before, after = (logits_of(Probe(data), pixels).argmax(1) for data in (bundle.model.read_bytes(), model))
    return paired(before, after, targets)


def _differs(result: _Result, model: bytes, pixels: NDArray[np.uint8]) -> str:
    """How ONNX Runtime's answers here are not what the integers mean, in words: such a network is not written."""
    network, preprocess = result.network, result.ready.preprocess
    if not network.int8_layers():
        return ""
    meant = run_quantized(network, normalise(pixels, preprocess))[network.graph.outputs[0]]
    check = check_logits(logits_of(Probe(model), pixels), Goldens(b"", pixels, meant), precision="int8")
    return "" if check.passed else f"on this processor and ONNX Runtime it is not what its integers mean: {check.found}"


def _why_not(result: _Result, timed: Timed, wish: Wish) -> str:
    found = result.found
    if not result.held:
        return (
            f"no step held: the best loses {100 * found.drop:.2f} points and agrees in {100 * found.agreement:.1f} %, "
            f"{100 * wish.limits.drop:g} points and {100 * wish.limits.agreement:g} % were asked for"
        )
    if wish.precision == "int8" and timed.slower and not wish.slower:
        return f"it takes {timed.ratio.value:.2f} of the float network's time on this machine, so it stays in float"
    return ""


def _integers(
    bundle: Bundle,
    calibration: np.ndarray[Any, Any],
    evaluation: Shown,
    wish: Wish,
    tune: Tune | None,
    say: Callable[[str], None],
) -> _Result:
    ladder: Ladder = climb(
        bundle, calibration, evaluation, limits=wish.limits, tune=tune, integers=wish.integers, say=say
    )
    if not wish.integers:
        ladder = leave_slow(bundle, ladder, calibration, evaluation, limits=wish.limits, say=say)
    noise = tuple(layer_noise(ladder, calibration[:_NOISE_ON]))
    return _Result(ladder.network, ladder.ready, ladder.found, ladder.held, ladder.steps, noise)


def _stored(bundle: Bundle, evaluation: Shown, wish: Wish) -> _Result:
    """Weights in fewer bits, everything computed in float32."""
    ready = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess, grey=False)
    network = store(ready, wish.precision.removesuffix("-weights"))
    before = logits_of(Probe(bundle.model.read_bytes()), evaluation.pixels)
    after = logits_of(Probe(quantized_to_onnx(network, preprocess=ready.preprocess)), evaluation.pixels)
    found = paired(before.argmax(1), after.argmax(1), evaluation.targets)
    return _Result(network, ready, found, wish.limits.hold(found), (), ())


def _in_order(bundle: Bundle, data: Sequence[Example], calibrate: int) -> list[tuple[Example, bool | None]]:
    """The pictures as they are taken, calibration first, each with whether it was trained on (None: nobody knows).

    Training images come first, to choose ranges on, then the others; more training images follow where there are too
    few others to measure the loss on.
    """
    order = list(data)
    random.Random(0).shuffle(order)  # noqa: S311 - which pictures, not secrets
    known = known_images(bundle, order)
    if known is None:
        return [(example, None) for example in order]
    pairs: list[tuple[Example, bool | None]] = list(zip(order, (known == TRAINED).tolist(), strict=True))
    trained, others = ([pair for pair in pairs if pair[1] is wanted] for wanted in (True, False))
    return trained[:calibrate] + others + (trained[calibrate:] if len(others) < LEAST_EVALUATION else [])


def _pictures(
    bundle: Bundle, data: Sequence[Example], wish: Wish, say: Callable[[str], None]
) -> tuple[np.ndarray[Any, Any], Shown, tuple[str, ...], NDArray[np.bool_] | None]:
    """(calibration pictures, those for evaluation, what could not be read, which of those for evaluation the bundle was
    trained on): apart, and the same ones every time."""
    order = _in_order(bundle, data, wish.calibrate)[: wish.calibrate + wish.evaluate]
    say(f"{len(order):,} pictures")
    pixels, targets, unreadable, trained = [], [], [], []
    for example, is_trained in order:
        try:
            picture = decode_and_prepare(read_bytes(example.picture()), bundle.card.preprocess).pixels
        except PictureError as error:
            unreadable.append(str(error))
            continue
        pixels.append(picture)
        targets.append(example.target + int(bundle.labels.background))
        trained.append(is_trained)
    calibrate = min(wish.calibrate, len(pixels) - LEAST_EVALUATION)
    if calibrate < min(LEAST_CALIBRATION, wish.calibrate):
        needed = LEAST_CALIBRATION + LEAST_EVALUATION
        raise UsageError(
            f"{len(pixels)} labelled pictures came, at least {needed} are needed ({LEAST_CALIBRATION} to choose ranges "
            f"on and {LEAST_EVALUATION} others to measure the loss on); 500 make a loss of a point visible"
        )
    stacked = np.stack(pixels)
    evaluation = Shown(stacked[calibrate:], np.array(targets[calibrate:], np.int64))
    known = None if None in trained else np.array(trained[calibrate:], np.bool_)
    return stacked[:calibrate], evaluation, tuple(unreadable), known
