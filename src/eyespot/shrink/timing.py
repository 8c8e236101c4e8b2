"""What a network takes beside the one it was made of: both in turns, so that a busy machine is unfair to neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core.cores import cores
from eyespot.core.timing import Ratio, Samples, ratio
from eyespot.measure.turns import plan, take_turns, warm_up
from eyespot.run.probe import Probe

_SECONDS, _TURNS = 1.5, 15  # for each of the two networks
_MOST_THREADS = 8  # as served


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds of one picture through the network alone, medians; ratio: after / before, of the same turns.

    threads: inside one call.
    """

    before: float
    after: float
    ratio: Ratio
    threads: int

    @property
    def slower(self) -> bool:
        """Whether the second takes longer beyond doubt: all of the ratio's interval lies above one."""
        return (self.ratio.interval[0] if self.ratio.interval else self.ratio.value) > 1

    @property
    def faster(self) -> bool:
        """Whether it takes less time beyond doubt."""
        return (self.ratio.interval[1] if self.ratio.interval else self.ratio.value) < 1

    def to_json(self) -> dict[str, Any]:
        """The figures."""
        interval = None if self.ratio.interval is None else [round(v, 4) for v in self.ratio.interval]
        return {
            "latency_ms": {"before": round(self.before, 4), "after": round(self.after, 4)},
            "latency_ratio": round(self.ratio.value, 4),
            "latency_ratio_interval": interval,
            "threads": self.threads,
        }


def time_both(before: bytes, after: bytes, picture: NDArray[np.uint8]) -> Timed:
    """One prepared picture, (1, height, width, 3), through two ONNX files, with as many threads as it is served with.

    Where that leaves open which is faster, one thread decides: threads that wait for one another take whatever time the
    other programs of a busy machine leave them.
    """
    found = _timed(before, after, picture, min(cores(), _MOST_THREADS))
    if found.threads > 1 and not found.slower and not found.faster:
        return _timed(before, after, picture, 1)
    return found


def _timed(before: bytes, after: bytes, picture: NDArray[np.uint8], threads: int) -> Timed:
    probes = [Probe(model, threads=threads) for model in (before, after)]
    works = [lambda probe=probe: probe(picture) for probe in probes]
    turns = take_turns(works, plan(warm_up(works, runs=3), seconds=_SECONDS, turns=_TURNS))
    first, second = (Samples.of(one) for one in turns)
    return Timed(first.median, second.median, ratio(second, first), threads)
