"""Measures bundles on runtimes of this machine, in turns: one picture, many, a fresh process, and how quiet it was."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import CARD, Bundle, sha256
from eyespot.core.cost import cost
from eyespot.core.machine import Conditions, Machine
from eyespot.core.roof import Roofline
from eyespot.core.timing import Caution, Measurement, Picture, Samples
from eyespot.errors import BundleError, UsageError
from eyespot.image.decode import open_picture
from eyespot.measure.cautions import BUSY, Asked, judge
from eyespot.measure.fresh import cold_program, fresh, kept, measurable
from eyespot.measure.machine import between, look, probe
from eyespot.measure.turns import Plan, Work, plan, take_turns, warm_up
from eyespot.run.many import classify_many
from eyespot.run.open import cores
from eyespot.run.predict import Model
from eyespot.run.verify import verify


@dataclass(frozen=True, slots=True)
class Way:
    """A bundle on a runtime."""

    bundle: Bundle
    runtime: str = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured, for each way.

    seconds: for one picture at a time, half on the network alone and half from JPEG to label. turns: in which the ways
    take that time side by side. warmup: runs before that. cold_starts: fresh processes, 0 for none. throughput: seconds
    of many pictures at a time, 0 for none. threads: inside one call (None: every core, up to eight). roof: whether each
    layer on ONNX Runtime is held against the machine's peak, which takes three seconds the first time.
    """

    seconds: float = 4.0
    turns: int = 20
    warmup: int = 5
    cold_starts: int = 5
    throughput: float = 2.0
    threads: int | None = None
    roof: bool = True

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seconds", self.seconds, 0.01),
            ("turns", self.turns, 1),
            ("warmup", self.warmup, 0),
            ("cold_starts", self.cold_starts, 0),
            ("throughput", self.throughput, 0),
            ("threads", 1 if self.threads is None else self.threads, 1),
        ):
            if not least <= value <= 1e6:
                raise UsageError(f"{name} is {value:g}; {least:g} or more was needed")

    def inside(self) -> int:
        """The threads inside one call."""
        return self.threads or min(cores(), 8)


_THROUGHPUT_TURNS = 6  # the fewest that give an interval


class _One(NamedTuple):
    """What was timed of one picture at a time, and under which conditions."""

    network: list[Samples]
    latency: list[Samples]
    conditions: Conditions


def measure(
    ways: Sequence[Way],
    *,
    effort: Effort = Effort(),
    picture: bytes | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> list[Measurement]:
    """One measurement for each way, from turns taken side by side.

    picture: the bytes of a JPEG (or any picture); None takes the photograph inside the first bundle, for all of them.
    ``step`` is told what was done last. Raises BundleError for a bundle that does not verify, PictureError for bytes
    that are no picture, RuntimeFailure when a runtime or a fresh process fails.
    """
    if not ways:
        raise UsageError("there is nothing to measure; name one bundle or more")
    for way in ways:
        refuse_unverified(way)
        step(f"{way.bundle.card.name} verified")
    jpeg = ways[0].bundle.goldens().jpeg if picture is None else picture
    shown = _picture(jpeg)
    machine = probe()
    one = _one_at_a_time(ways, jpeg, effort, step)
    rates = _many_at_a_time(ways, jpeg, effort, step) if effort.throughput else [None] * len(ways)
    asked = Asked(effort.seconds, effort.warmup, effort.inside(), len(ways))
    found = []
    for at, way in enumerate(ways):
        cold = _cold(way, jpeg, effort, step)
        roof, doubts = _roof(way, one.network[at], effort, step)
        quantities = [("network alone", one.network[at]), ("JPEG to label", one.latency[at])]
        found.append(
            record(
                way,
                machine,
                one.conditions,
                [*judge(quantities, one.conditions, machine, asked), *doubts],
                threads=effort.inside(),
                network=one.network[at],
                latency=one.latency[at],
                throughput=rates[at],
                workers=cores() if rates[at] else 0,
                cold=cold[0],
                peak_memory_bytes=cold[1],
                picture=shown,
                roof=roof,
            )
        )
    return found


def refuse_unverified(way: Way) -> None:
    """BundleError when the bundle does not give, on that runtime, what it gave where it was made."""
    for check in verify(way.bundle, runtime=way.runtime):
        if not check.passed:
            raise BundleError(
                f"{way.bundle.card.name} does not verify on {way.runtime} ({check.name}: {check.found}); it would be "
                "fast and wrong: see `eyespot verify`, and import the weights again"
            )


def record(
    way: Way,
    machine: Machine,
    conditions: Conditions,
    cautions: Sequence[Caution],
    *,
    threads: int,
    network: Samples,
    latency: Samples | None = None,
    throughput: Samples | None = None,
    workers: int = 0,
    cold: Samples | None = None,
    peak_memory_bytes: int | None = None,
    picture: Picture | None = None,
    roof: Roofline | None = None,
    place: str = "here",
) -> Measurement:
    """The measurement with all that is known of the bundle without measuring."""
    card = way.bundle.card
    costs = cost(card.graph)
    return Measurement(
        bundle=card.name,
        digest=sha256(way.bundle.path / CARD),
        runtime=way.runtime,
        runtime_version=runtime_version(way.runtime),
        threads=threads,
        precision=card.precision,
        place=place,
        machine=machine,
        conditions=conditions,
        parameters=costs.parameters,
        macs=costs.macs,
        size_bytes=way.bundle.size(),
        model_bytes=way.bundle.model.stat().st_size,
        network=network,
        latency=latency,
        throughput=throughput,
        workers=workers,
        cold=cold,
        peak_memory_bytes=peak_memory_bytes,
        picture=picture,
        roofline=roof,
        cautions=tuple(cautions),
    )


def _roof(
    way: Way, network: Samples, effort: Effort, step: Callable[[str], None]
) -> tuple[Roofline | None, list[Caution]]:
    """The roofline, and a doubt about the peak where others were busy while it was measured."""
    if not effort.roof or way.runtime != "onnxruntime":
        return None, []
    from eyespot.measure.peak import peak
    from eyespot.measure.roofline import roofline

    most, others = peak(effort.inside())
    step("peak")
    found = roofline(way.bundle, most, network_ms=network.median)
    step("layers")
    if others is None or others <= BUSY:
        return found, []
    seen = f"the machine's peak was measured while other programs took {others:.0%} of its cores"
    return found, [Caution("peak", seen, "it is measured again the next time, and the better one is kept")]


def runtime_version(runtime: str) -> str:
    """The version of what computes: the runtime's distribution, or numpy for the reference."""
    return importlib.metadata.version("numpy" if runtime == "reference" else runtime)


def _picture(data: bytes) -> Picture:
    return Picture(len(data), *open_picture(data).size)


def _one_at_a_time(ways: Sequence[Way], jpeg: bytes, effort: Effort, step: Callable[[str], None]) -> _One:
    with ExitStack() as stack:
        works: list[Work] = []
        for way in ways:
            model = stack.enter_context(Model(way.bundle, runtime=way.runtime, threads=effort.inside()))
            works += [_network(model, model.prepare(jpeg)[None]), _whole(model, jpeg)]
        expected = warm_up(works, runs=effort.warmup)
        step("warm")
        planned = plan(expected, seconds=effort.seconds / 2, turns=effort.turns)
        before = look()
        turns = take_turns(works, planned, step=lambda: step("turns"))
        conditions = between(before, look())
    samples = [Samples.of(each) for each in turns]
    return _One(samples[::2], samples[1::2], conditions)


def _network(model: Model, batch: NDArray[np.uint8]) -> Work:
    return lambda: model.session.run(batch)


def _whole(model: Model, jpeg: bytes) -> Work:
    return lambda: model(jpeg).label


def _many_at_a_time(
    ways: Sequence[Way], jpeg: bytes, effort: Effort, step: Callable[[str], None]
) -> list[Samples | None]:
    """Pictures a second of each way, one sample a turn: one thread for each of as many pictures as there are cores."""
    with ExitStack() as stack:
        works, counts = [], []
        for way in ways:
            model = stack.enter_context(Model(way.bundle, runtime=way.runtime, threads=1))
            once = warm_up([_whole(model, jpeg)], runs=2)[0]
            counts.append(max(cores() * 2, round(effort.throughput / _THROUGHPUT_TURNS / once * cores())))
            works.append(_folder(model, jpeg, counts[-1]))
        turns = take_turns(works, Plan(_THROUGHPUT_TURNS, (1,) * len(ways)), step=lambda: step("throughput"))
    return [
        Samples.of([[count / (milliseconds / 1e3) for milliseconds in turn] for turn in each])
        for count, each in zip(counts, turns, strict=True)
    ]


def _folder(model: Model, jpeg: bytes, count: int) -> Work:
    return lambda: sum(1 for _ in classify_many(model, [jpeg] * count))


def _cold(way: Way, jpeg: bytes, effort: Effort, step: Callable[[str], None]) -> tuple[Samples | None, int | None]:
    if not effort.cold_starts or not measurable():
        return None, None
    with kept(jpeg) as folder:
        program = cold_program(
            way.bundle.path, runtime=way.runtime, threads=effort.inside(), picture=Path(folder) / "picture.jpg"
        )
        found = fresh(program, times=effort.cold_starts, step=lambda: step("cold starts"))
    return Samples.of([[each] for each in found.milliseconds]), found.peak_bytes
