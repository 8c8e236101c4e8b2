"""Roofline: how near each layer comes to what the machine can compute and move, and which of the two holds it back.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eyespot.core.machine import known


@dataclass(frozen=True, slots=True)
class Peak:
    """What a machine reached when nothing else was asked of it, with so many threads.

    gmacs: the most multiply-accumulates a second, in 10⁹, by the type of their numbers ('float32', 'int8'); one MAC is
    two floating-point operations. gbytes: bytes read plus bytes written a second while copying, in 10⁹, as pairs of
    (bytes of the working set, rate), smallest set first.
    """

    threads: int
    gmacs: Mapping[str, float]
    gbytes: tuple[tuple[int, float], ...]

    def bandwidth(self, working_set: int) -> float:
        """10⁹ bytes a second for a working set of so many bytes: the rate of the next larger one that was measured."""
        for size, rate in self.gbytes:
            if working_set <= size:
                return rate
        return self.gbytes[-1][1]

    def to_json(self) -> dict[str, Any]:
        """Every field."""
        rates = [[size, round(rate, 3)] for size, rate in self.gbytes]
        gmacs = {name: round(rate, 3) for name, rate in self.gmacs.items()}
        return {"threads": self.threads, "gmacs": gmacs, "gbytes": rates}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Peak:
        """The peak that ``to_json`` wrote. UsageError for anything else."""
        known(cls, data, "a peak")
        return cls(
            data["threads"], dict(data["gmacs"]), tuple((int(size), float(rate)) for size, rate in data["gbytes"])
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of the runtime, which may hold several layers of the graph that it fused.

    ms: median of its own time in one picture. share: of all steps' time, 0 to 1. bytes: read and written at the least.
    bound: 'compute' or 'memory', whichever would take longer at the machine's peak, or 'overhead' where both together
    account for less than a tenth of the time it took. reach: the time at the peak divided by the time it took.
    """

    name: str
    op: str
    ms: float
    share: float
    macs: int
    bytes: int
    bound: str
    reach: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """A network under its roof. reach: MACs a second of the whole network, divided by the machine's peak."""

    peak: Peak
    precision: str
    reach: float
    layers: tuple[Layer, ...]

    def shares(self) -> dict[str, float]:
        """What share of the time each kind of bound holds, the largest first."""
        found: dict[str, float] = {}
        for layer in self.layers:
            found[layer.bound] = found.get(layer.bound, 0.0) + layer.share
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def to_json(self) -> dict[str, Any]:
        """Every field, with what share of the time is bound by what."""
        return {
            "reach": round(self.reach, 4),
            "precision": self.precision,
            "bound": {name: round(share, 4) for name, share in self.shares().items()},
            "peak": self.peak.to_json(),
            "layers": [
                {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(layer).items()}
                for layer in self.layers
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Roofline:
        """The roofline that ``to_json`` wrote; a stored share of the bounds is derived anew."""
        layers = tuple(Layer(**layer) for layer in data["layers"])
        return cls(Peak.from_json(data["peak"]), data["precision"], data["reach"], layers)
