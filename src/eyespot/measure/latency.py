"""Measures bundles on runtimes of this machine, in turns: one picture, many, a fresh process, and how quiet it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.core.cores import cores
from eyespot.core.machine import Conditions
from eyespot.core.timing import Measurement, Picture, Samples
from eyespot.errors import BundleError, UsageError
from eyespot.image.decode import open_picture
from eyespot.measure.cautions import Asked, judge
from eyespot.measure.fresh import cold_program, fresh, kept, measurable
from eyespot.measure.machine import between, look, probe
from eyespot.measure.record import USUAL, Effort, Way, record, roof_of
from eyespot.measure.turns import Plan, Work, plan, take_turns, warm_up
from eyespot.run.many import classify_many
from eyespot.run.predict import Model
from eyespot.run.verify import verify

_THROUGHPUT_TURNS = 6  # the fewest that give an interval


class _One(NamedTuple):
    """What was timed of one picture at a time, and under which conditions."""

    network: list[Samples]
    latency: list[Samples]
    conditions: Conditions


def measure(
    ways: Sequence[Way],
    *,
    effort: Effort = USUAL,
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
        roof, doubts = roof_of(way, one.network[at], effort, step)
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
