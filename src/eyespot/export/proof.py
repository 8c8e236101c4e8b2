"""Runs the written bytes beside their source: how far the answers lie apart, and in which layer they part."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.paired import Paired, paired
from eyespot.bundle.build import normalise
from eyespot.bundle.store import Bundle
from eyespot.errors import ExportError
from eyespot.export.formats import INT8, Budget, Format, Pixels
from eyespot.lower import reference
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.numpy_ops import Array
from eyespot.lower.reparam import reparam
from eyespot.measure.turns import plan, take_turns, warm_up
from eyespot.run.first_use import refuse_overflow
from eyespot.run.open import open_session
from eyespot.run.session import Session

_TURNS = 10
_ENOUGH = 20  # pictures, for a share of labels to mean something
_MEANT = 8  # pictures that a quantized source answers in numpy


class Shown(NamedTuple):
    """Prepared pictures, (n, height, width, 3), and the output that is right for each, (n,), where they are labelled.

    unreadable: what could not be decoded, in a line each.
    """

    pixels: Pixels
    targets: NDArray[np.int64] | None = None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Proof:
    """What came of running the written file. error: the largest of the logits, as a share of the source's range.

    agreement: the share of equal labels. pictures: how many were run, the bundle's two goldens among them. accuracy:
    for labelled pictures, the goldens left out. milliseconds: (source on ONNX Runtime, exported) for one picture,
    medians of turns taken side by side; ratio: the median of the turns' ratios; None when nothing was timed. why: what
    misses the budget, if so.
    """

    budget: Budget
    pictures: int
    error: float
    agreement: float
    accuracy: Paired | None
    milliseconds: tuple[float, float] | None
    ratio: float | None
    threads: int
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """The figures, to six digits."""
        latency = None
        if self.milliseconds is not None:
            latency = {"source": round(self.milliseconds[0], 4), "exported": round(self.milliseconds[1], 4)}
        return {
            "pictures": self.pictures,
            "logits_error": float(f"{self.error:.6g}"),
            "agreement": round(self.agreement, 6),
            "accuracy": self.accuracy.to_json() if self.accuracy else None,
            "latency_ms": latency,
            "latency_ratio": None if self.ratio is None else round(self.ratio, 4),
            "threads": self.threads,
            "budget": self.budget._asdict(),
        }


def prove(
    bundle: Bundle,
    format: Format,
    model: Path,
    shown: Shown | None,
    budget: Budget,
    *,
    threads: int = 1,
    seconds: float = 1.0,
    say: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Runs the file ``model`` on the goldens and on ``shown``. RuntimeFailure when its runtime refuses it.

    seconds: for timing each of the two; 0: neither is timed. A file that misses its budget is not timed; ``why`` names
    the first layer where the two part, when the runtime shows its tensors.
    """
    assert format.open is not None  # noqa: S101 - the caller asks for what runs here
    refuse_overflow(bundle, runtime=format.name)
    goldens = bundle.goldens()
    pixels = goldens.pixels if shown is None else np.concatenate([goldens.pixels, shown.pixels])
    with ExitStack() as stack:
        source = stack.enter_context(open_session(bundle, threads=threads))
        exported = stack.enter_context(format.open(model, threads))
        before = np.concatenate([goldens.logits, *_source_answers(bundle, source, pixels[len(goldens.pixels) :], say)])
        after = _answers(exported, pixels, say)
        spread = float(np.ptp(before)) or 1.0
        errors = np.nan_to_num(np.abs(after - before), nan=np.inf).max(1) / spread
        labels = before.argmax(1), after.argmax(1)
        agreement = float((labels[0] == labels[1]).mean())
        accuracy = None
        if shown is not None and shown.targets is not None:
            first = len(goldens.pixels)
            accuracy = paired(labels[0][first:], labels[1][first:], shown.targets)
        why = _why_not(budget, errors, agreement, accuracy)
        times, ratio = (None, None) if why or not seconds else _time(source, exported, pixels[:1], seconds)
    if why:
        worst = int(errors.argmax())
        why += f"; {first_parting(bundle, format, model, pixels[worst : worst + 1], budget.middle or budget.logits)}"
    return Proof(budget, len(pixels), float(errors.max()), agreement, accuracy, times, ratio, threads, why)


def _why_not(budget: Budget, errors: Array, agreement: float, accuracy: Paired | None) -> str:
    """What misses the budget, in words. errors: of each picture's logits, as shares of their range."""
    if not errors.max() <= budget.logits:
        return f"logits differ by {errors.max():.1e} of their range (allowed {budget.logits:.0e})"
    middle = _middle(errors)
    if budget.middle is not None and not middle <= budget.middle:
        return f"logits differ by {middle:.1e} of their range in every other picture (allowed {budget.middle:.0e})"
    if len(errors) >= _ENOUGH and agreement < budget.agreement:
        return f"{100 * agreement:.1f} % of the labels agree ({100 * budget.agreement:g} % were needed)"
    if accuracy is not None and accuracy.drop > budget.drop and accuracy.drop_interval[0] > 0:
        return f"top-1 falls by {100 * accuracy.drop:.2f} points (allowed {100 * budget.drop:g})"
    return ""


def _middle(errors: Array) -> float:
    """The median; of two the smaller."""
    return float(np.sort(errors)[(len(errors) - 1) // 2])


def _source_answers(bundle: Bundle, session: Session, pixels: Pixels, say: Callable[[str], None]) -> list[Array]:
    """The source's logits: a float network's on ONNX Runtime, a quantized one's by what its integers mean in numpy.

    That takes a second a picture, so after a few pictures ONNX Runtime answers, if it has answered those as numpy does.
    """
    if bundle.card.precision == "float32" or not len(pixels):
        return [_answers(session, pixels, say)] if len(pixels) else []
    network, meant = bundle.quantized(), []
    for at in range(min(len(pixels), _MEANT)):
        x = normalise(pixels[at : at + 1], bundle.card.preprocess)
        meant.append(run_quantized(network, x)[network.graph.outputs[0]])
        say(f"source, picture {at + 1}")
    if len(pixels) <= _MEANT:
        return meant
    known = np.concatenate(meant)
    answers = _answers(session, pixels, say)
    errors = np.abs(answers[:_MEANT] - known).max(1) / (float(np.ptp(known)) or 1.0)
    if why := _why_not(INT8, errors, 1.0, None):
        raise ExportError(
            f"{bundle.card.name} itself is not, on ONNX Runtime on this processor, what its integers mean: {why}; pass "
            f"{_MEANT} pictures at the most, or export it on another machine"
        )
    return [known, answers[_MEANT:]]


def _answers(session: Session, pixels: Pixels, say: Callable[[str], None]) -> Array:
    """One picture at a time, as it is served: (n, outputs)."""
    found = []
    for at in range(len(pixels)):
        found.append(session.run(pixels[at : at + 1]))
        say(f"picture {at + 1}")
    return np.concatenate(found)


def _time(source: Session, exported: Session, picture: Pixels, seconds: float) -> tuple[tuple[float, float], float]:
    """((milliseconds of the source, of the exported), exported / source) of one picture, in turns."""
    works = [lambda: source.run(picture), lambda: exported.run(picture)]
    turns = take_turns(works, plan(warm_up(works, runs=3), seconds=seconds, turns=_TURNS))
    one, two = ([statistics.median(turn) for turn in each] for each in turns)
    return (statistics.median(one), statistics.median(two)), statistics.median(
        b / a for a, b in zip(one, two, strict=True)
    )


def first_parting(bundle: Bundle, format: Format, model: Path, picture: Pixels, allowed: float) -> str:
    """The first layer, in order of execution, whose values part from the source's by more than ``allowed``, in words.

    allowed: a share of the layer's range. picture: (1, height, width, 3).
    """
    if format.inside is None:
        return f"{format.title} shows no tensors but the outputs, so the layer where they part is not known"
    x = normalise(picture, bundle.card.preprocess)
    if bundle.card.precision == "float32":
        graph, weights = reparam(bundle.card.graph, bundle.weights())
        ours = reference.run(graph, weights, x, keep=tuple(graph.by_name))
    else:
        network = bundle.quantized()
        graph, readers = network.graph, network.graph.readers()
        inside = {node.name for node in graph.nodes if network.is_int8(node.name)}  # a sum that its rectifier rounds
        inside = {name for name in inside if network.target(graph.by_name[name], readers) not in (name, None)}
        ours = run_quantized(network, x, keep=[name for name in graph.by_name if name not in inside])
    theirs = format.inside(model, tuple(ours), picture)
    seen = 0
    for node in graph.nodes:
        if node.name not in theirs or node.name in graph.outputs:
            continue
        seen += 1
        want = ours[node.name]
        got = theirs[node.name].reshape(want.shape)
        error = float(np.abs(got - want).max()) / (float(np.ptp(want)) or 1.0)
        if not error <= allowed:
            return f"they part first in {node.name} ({node.op.kind}), by {error:.1e} of its range"
    return f"they agree in the {seen} of {len(graph.nodes)} layers that could be looked at and part behind those"
