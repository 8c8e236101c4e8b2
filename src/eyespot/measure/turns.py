"""Times several things in turns: a busy moment of the machine hits all of them, so that their ratios hold."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

Work = Callable[[], object]

MOST_RUNS = 2000  # in one turn; more tell nothing new and fill the record
_SETTLED = 0.3  # seconds of warming up, at the least


class Plan(NamedTuple):
    """How often each thing runs in each of ``turns`` turns."""

    turns: int
    runs: tuple[int, ...]


def warm_up(works: Sequence[Work], *, runs: int) -> list[float]:
    """Runs each thing ``runs`` times and for 0.3 s at the least; seconds that one run takes then."""
    expected = []
    for work in works:
        times: list[float] = []
        start = time.perf_counter()
        while len(times) < max(runs, 1) or (time.perf_counter() - start < _SETTLED and len(times) < MOST_RUNS):
            times.append(_timed(work))
        expected.append(statistics.median(times[len(times) // 2 :]))
    return expected


def plan(expected: Sequence[float], *, seconds: float, turns: int) -> Plan:
    """Turns whose runs take about ``seconds`` for each thing; at least one run a turn, and six turns if any are asked.

    Where one run is so slow that ``turns`` of them take longer than ``seconds``, the turns become fewer, down to six:
    with fewer there is no interval.
    """
    slowest = max(expected)
    turns = max(min(turns, int(seconds / max(slowest, 1e-9))), min(turns, 6))
    return Plan(turns, tuple(max(1, min(MOST_RUNS, round(seconds / turns / max(each, 1e-9)))) for each in expected))


def take_turns(
    works: Sequence[Work], planned: Plan, *, step: Callable[[], None] = lambda: None
) -> list[list[list[float]]]:
    """Milliseconds of every run: ``[thing][turn][run]``.

    Odd turns go through the things backwards, so that a machine that grows slower is unfair to none. Each turn of each
    thing starts with one run that is not kept: it fetches from memory what the thing before has driven from the caches.
    The garbage collector waits meanwhile. ``step`` is called after each turn of each thing.
    """
    found: list[list[list[float]]] = [[] for _ in works]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(planned.turns):
            order = range(len(works)) if turn % 2 == 0 else reversed(range(len(works)))
            for at in order:
                work = works[at]
                work()
                found[at].append([1e3 * _timed(work) for _ in range(planned.runs[at])])
                step()
            gc.collect(0)
    finally:
        if collecting:
            gc.enable()
    return found


def _timed(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
