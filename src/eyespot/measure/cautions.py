"""Doubts about a measurement, each with what was seen and what to do next, given what was asked for already."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eyespot.core.machine import Conditions, Machine
from eyespot.core.timing import Caution, Samples

BUSY = 0.05  # share of the cores' time that others may take unmentioned
CROWDED = 0.25  # share from which on ratios are no longer fair: a run of 5 ms is interrupted, one of 1 ms is not
STOLEN = 0.01
UNSTEADY = 0.05  # two runs of one measurement should differ by less than this in the median
FAR = 10.0  # robust standard deviations from the median; hyperfine's bound is alike
_NORMAL = 1.4826  # MAD → standard deviation, for normally distributed values
_SLOWING = ("powersave", "ondemand", "conservative", "schedutil")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person asked for, so that no advice repeats it. ways: how many bundles or runtimes are compared."""

    seconds: float = 4.0
    warmup: int = 5
    threads: int = 1
    ways: int = 1


def judge(
    quantities: Sequence[tuple[str, Samples]], conditions: Conditions, machine: Machine, asked: Asked
) -> list[Caution]:
    """The doubts about (name, samples in milliseconds) that were measured together, the gravest first."""
    found = list(_surroundings(conditions, machine, asked))
    for name, samples in quantities:
        found += _unsteady(name, samples, asked)
        found += _drift(name, samples, asked)
        found += _slow_start(name, samples, asked)
        found += _outliers(name, samples, asked)
    found += _few([samples for _, samples in quantities], asked)
    return found


def _surroundings(conditions: Conditions, machine: Machine, asked: Asked) -> Iterator[Caution]:
    if conditions.others is not None:
        if conditions.others > BUSY:
            seen = f"other programs took {conditions.others:.0%} of the {_cores(machine.cores)} that this may use"
            yield Caution("load", seen, _when_busy(asked, crowded=conditions.others > CROWDED))
    elif conditions.load_before is not None and conditions.load_before > 0.5:
        seen = f"the load average was {conditions.load_before:.1f} before this began"
        yield Caution("load", seen, _when_busy(asked, crowded=conditions.load_before > machine.cores))
    if conditions.neighbours is not None and conditions.neighbours > CROWDED:
        seen = f"the cores outside the {_cores(machine.cores)} of this were {conditions.neighbours:.0%} busy"
        yield Caution(
            "neighbours", seen, "they share caches, memory and heat with it: quieten them, or compare in one call"
        )
    if conditions.stolen is not None and conditions.stolen > STOLEN:
        seen = f"the hypervisor took {conditions.stolen:.1%} of the time for other guests"
        yield Caution("stolen", seen, "measure at another hour, or on a machine of your own")
    if conditions.throttled_seconds:
        limit = f" of {_cores(machine.core_limit)}" if machine.core_limit else ""
        seen = f"the container's quota{limit} held this up for {1e3 * conditions.throttled_seconds:.0f} ms"
        quota = math.floor(machine.core_limit) if machine.core_limit else 0
        fewer = f"pass --threads {max(quota, 1)}" if quota < asked.threads else "raise the quota"
        yield Caution("throttled", seen, f"{fewer}, or the slowest runs are the quota's and not the network's")
    if conditions.megahertz:
        before, after = conditions.megahertz
        if before and abs(after / before - 1) > UNSTEADY:
            seen = f"the processor went from {before:,.0f} to {after:,.0f} MHz"
            advice = "let it cool and hold its frequency: sudo cpupower frequency-set -g performance"
            if machine.governor == "performance":
                advice = "its governor is 'performance' already: let it cool, or measure more briefly with --seconds"
            yield Caution("frequency", seen, advice)
    if machine.governor in _SLOWING:
        seen = f"the governor '{machine.governor}' lowers the processor's frequency when it has little to do"
        yield Caution("governor", seen, "hold it: sudo cpupower frequency-set -g performance")
    if asked.threads > machine.cores:
        seen = f"{asked.threads} threads shared {_cores(machine.cores)}"
        yield Caution("threads", seen, f"pass --threads {machine.cores}, or allow more cores")


def _when_busy(asked: Asked, *, crowded: bool) -> str:
    if crowded:
        return "close them: even ratios then favour what is short enough to run between two interruptions"
    if asked.ways > 1:
        return "close them, or trust the ratios, which come from turns taken side by side, and not the milliseconds"
    return "close them and measure again, or compare bundles in one call, whose ratio then holds"


def _cores(count: float) -> str:
    return "1 core" if count == 1 else f"{count:g} cores"


def _unsteady(name: str, samples: Samples, asked: Asked) -> Iterator[Caution]:
    interval = samples.interval()
    if interval is None or not samples.median:
        return
    spread = (interval[1] - interval[0]) / samples.median
    if spread > UNSTEADY:
        seen = f"{name}: the turns' medians leave {interval[0]:.2f} to {interval[1]:.2f} ms open ({spread:.0%})"
        advice = f"a second run may differ by more than {UNSTEADY:.0%}; {_longer(asked)}"
        yield Caution("unsteady", seen, advice)


def _longer(asked: Asked) -> str:
    if asked.seconds < 30:
        return f"quieten the machine, or raise --seconds from {asked.seconds:g} to {4 * asked.seconds:g}"
    return "quieten the machine: a longer run would hardly help"


def _drift(name: str, samples: Samples, asked: Asked) -> Iterator[Caution]:
    """A trend through the turns that chance gives once in a hundred runs (Mann 1945), and that amounts to something."""
    medians = samples.turn_medians()
    count = len(medians)
    if count < 9:
        return
    third = count // 3
    first, last = statistics.median(medians[:third]), statistics.median(medians[-third:])
    rises = sum((b > a) - (b < a) for i, a in enumerate(medians) for b in medians[i + 1 :])
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    change = last / first - 1 if first else 0.0
    if abs(rises) > 2.576 * deviation and abs(change) > UNSTEADY:
        seen = f"{name}: the last turns took {abs(change):.0%} {'longer' if change > 0 else 'less'} than the first"
        advice = "the machine grew hot or busy: let it rest, or measure more briefly than "
        advice += f"--seconds {asked.seconds:g}"
        if change < 0:
            advice = "it was still warming up, or grew quiet: raise --warmup from "
            advice += f"{asked.warmup} to {20 * max(asked.warmup, 1)}"
        yield Caution("drift", seen, advice)


def _slow_start(name: str, samples: Samples, asked: Asked) -> Iterator[Caution]:
    medians = samples.turn_medians()
    if len(medians) < 6:
        return
    middle, most = statistics.median(medians[1:]), max(medians[1:])
    if medians[0] > 1.1 * middle and medians[0] > most:
        seen = f"{name}: the first turn took {medians[0] / middle:.1f} times as long as the others"
        yield Caution("slow start", seen, f"raise --warmup from {asked.warmup} to {10 * max(asked.warmup, 1)}")


def _outliers(name: str, samples: Samples, asked: Asked) -> Iterator[Caution]:
    middle = samples.median
    bound = middle + FAR * max(_NORMAL * samples.mad, 0.01 * middle)
    far = [value for value in samples.values if value > bound]
    if far:
        runs = "1 run" if len(far) == 1 else f"{len(far)} runs"
        seen = f"{name}: {runs} of {len(samples.values)} took more than {bound:.2f} ms, up to {max(far):.2f}"
        share = len(far) / len(samples.values)
        quiet = "something interrupted them: p95 and p99 are this machine's, the median is the network's"
        advice = quiet if share < 0.05 else f"this machine is not quiet; {_longer(asked)}"
        yield Caution("outliers", seen, advice)


def _few(quantities: Sequence[Samples], asked: Asked) -> Iterator[Caution]:
    count = min((len(samples.values) for samples in quantities), default=100)
    if count < 100:
        advice = f"raise --seconds from {asked.seconds:g} to {math.ceil(asked.seconds * 100 / count)} or more"
        yield Caution("few", f"p99 of {count} runs is nearly the slowest of them", advice)
