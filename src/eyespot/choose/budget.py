"""Budget: what a device can afford, and Figures: what a candidate took there; which limits those exceed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from eyespot.core.timing import Measurement
from eyespot.errors import UsageError

HEADROOM = 0.95  # of a latency that is asked for: two measurements of one network differ by 5 % (docs/measure.md)
WORDS: Mapping[str, str] = {
    "latency_p95_ms": "latency p95",
    "latency_ms": "latency median",
    "size_bytes": "size",
    "memory_bytes": "memory",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so much; None: as much as it takes.

    latency_p95_ms, latency_ms: of one picture, from its JPEG's bytes to its label; 95 % of the runs, or half of them,
    are faster. size_bytes: of the file that the runtime reads. memory_bytes: the most that a fresh process held which
    loaded the network and named one picture, Python and all.
    """

    latency_p95_ms: float | None = None
    latency_ms: float | None = None
    size_bytes: float | None = None
    memory_bytes: float | None = None

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        limits = [value for value in given.values() if value is not None]
        if not limits:
            raise UsageError("a budget was needed; give --latency-p95 8ms, --latency 5ms, --size 5MB or --memory 120MB")
        for name, value in given.items():
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"the budget's {WORDS[name]} is {value:g}; a number above 0 was needed")

    @property
    def longest_ms(self) -> float:
        """The tighter of the two latencies with its headroom; infinite when none was given."""
        given = [value for value in (self.latency_p95_ms, self.latency_ms) if value is not None]
        return min(given, default=math.inf) * HEADROOM

    def spent(self, figures: Figures) -> dict[str, float]:
        """By the name of each limit: the share of it that was measured. 1 is all; latencies count with headroom."""
        measured = {
            "latency_p95_ms": figures.p95_ms / HEADROOM,
            "latency_ms": figures.median_ms / HEADROOM,
            "size_bytes": float(figures.model_bytes),
            "memory_bytes": float(figures.memory_bytes or 0),
        }
        limits = {name: getattr(self, name) for name in measured}
        return {name: measured[name] / limit for name, limit in limits.items() if limit is not None}

    def exceeded(self, figures: Figures) -> dict[str, float]:
        """Those of ``spent`` that are more than all."""
        return {name: share for name, share in self.spent(figures).items() if share > 1}

    def to_json(self) -> dict[str, float]:
        """The limits that were given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a network took. timed: what the latencies are of, 'JPEG to label' or 'network alone'.

    memory_bytes: None when it was not measured. others: the share of the cores' time that other programs took
    meanwhile, None where the system does not say.
    """

    p95_ms: float
    median_ms: float
    network_ms: float
    model_bytes: int
    memory_bytes: int | None
    runs: int
    others: float | None
    timed: str

    @classmethod
    def of(cls, one: Measurement) -> Figures:
        """The figures of a measurement."""
        whole = one.whole
        return cls(
            p95_ms=whole.p95,
            median_ms=whole.median,
            network_ms=one.network.median,
            model_bytes=one.model_bytes,
            memory_bytes=one.peak_memory_bytes,
            runs=len(whole.values),
            others=one.conditions.others,
            timed="JPEG to label" if one.latency is not None else "network alone",
        )

    def to_json(self) -> dict[str, Any]:
        """Every field."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figures:
        """The figures that ``to_json`` wrote. UsageError for anything else."""
        try:
            figures = cls(**data)
            if not 0 < figures.median_ms <= figures.p95_ms < math.inf or not figures.model_bytes > 0:
                raise ValueError("a time or a size is none")
        except (TypeError, ValueError) as error:
            raise UsageError(f"these are no stored figures ({error}); measure again") from None
        return figures


def amount(name: str, value: float) -> str:
    """A limit's value in words: '8 ms', '5 MB'."""
    number, unit = (value, "ms") if name.endswith("_ms") else (value / 1e6, "MB")
    return f"{number:.0f} {unit}" if number >= 1000 else f"{number:.3g} {unit}"
