"""How long a candidate will take, guessed from its MACs and from what was measured so far; and what it must take."""

from __future__ import annotations

import statistics
from collections import defaultdict

from eyespot.choose.budget import Figures
from eyespot.choose.candidate import Candidate
from eyespot.core.roof import Peak

_SLACK = 1.5  # by which a convolution may be faster than the machine's measured peak, which others may have disturbed
_REACH = 0.5  # of the peak, before any at a precision was measured: light networks reach 10 to 50 %, and none is missed
_UNKNOWN_PEAK = {"float32": 50.0, "int8": 100.0}  # 10⁹ MACs a second, where the machine's is not known


class Rates:
    """What a machine does with each kind of network. floor_ms: what decoding a picture takes at the least."""

    def __init__(self, peak: Peak | None, floor_ms: float) -> None:
        self._peak = peak
        self._floor_ms = floor_ms
        self._reach: dict[str, list[float]] = defaultdict(list)
        self._more: list[float] = []  # milliseconds by which p95 was above the median: others' doing, mostly
        self._before: list[float] = []  # milliseconds from bytes to the network

    def learn(self, candidate: Candidate, figures: Figures) -> None:
        """What was measured of one."""
        reach = candidate.cost.macs / max(figures.network_ms, 1e-6) / 1e6 / self._gmacs(candidate)
        self._reach[f"{candidate.family} {_way(candidate)}"].append(reach)
        self._reach[_way(candidate)].append(reach)
        self._more.append(figures.p95_ms - figures.median_ms)
        self._before.append(max(figures.median_ms - figures.network_ms, 0.0))

    def least_ms(self, candidate: Candidate) -> float:
        """What it takes at the least: decoding, and its MACs at more than the machine's peak; 0 where that is unknown.

        A lower bound from the Graph alone: what exceeds a budget by it need not be measured.
        """
        if self._peak is None:
            return self._floor_ms
        return self._floor_ms + candidate.cost.macs / (self._gmacs(candidate) * 1e6 * _SLACK)

    def guess_ms(self, candidate: Candidate, *, p95: bool) -> float:
        """What it will take, by its family's reach at its precision as measured so far; of a family that was not, by
        the best reach of all, so that none is passed over for another's slowness."""
        own = self._reach.get(f"{candidate.family} {_way(candidate)}")
        reach = statistics.median(own) if own else max(self._reach.get(_way(candidate), [_REACH]))
        before = statistics.median(self._before) if self._before else self._floor_ms
        alone = candidate.cost.macs / (self._gmacs(candidate) * 1e6 * max(reach, 1e-6))
        return before + alone + (statistics.median(self._more) if self._more and p95 else 0.0)

    def _gmacs(self, candidate: Candidate) -> float:
        known = self._peak.gmacs if self._peak is not None else _UNKNOWN_PEAK
        return known.get(candidate.precision, _UNKNOWN_PEAK[candidate.precision])


def _way(candidate: Candidate) -> str:
    """What decides, beside the family, how much of the peak is reached."""
    return f"{candidate.precision} {candidate.runtime}"
