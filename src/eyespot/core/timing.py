"""Measurement: what a bundle took on a machine, every sample kept; medians and percentiles are derived from them.

A sample is never dropped: what looks wrong becomes a ``Caution``, which says what was seen and what to do.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eyespot.core.machine import Conditions, Machine
from eyespot.core.roof import Roofline
from eyespot.errors import UsageError

FORMAT = 1  # raised when an older eyespot could not read a newer measurement
_DIGITS = 6  # of a millisecond: nanoseconds


@dataclass(frozen=True, slots=True)
class Samples:
    """One quantity measured again and again: ``values`` in order, ``turns`` how many of them each turn gave.

    What is measured together takes turns, so that a busy moment of the machine hits all of it: the first turn of one
    belongs to the first turn of the other.
    """

    values: tuple[float, ...]
    turns: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.values or sum(self.turns) != len(self.values) or min(self.turns) < 1:
            raise UsageError(
                f"{len(self.values)} samples do not fill turns of {', '.join(map(str, self.turns[:5])) or 'none'}; "
                "every turn needs one sample or more: measure again"
            )
        if not all(math.isfinite(value) and value >= 0 for value in self.values):
            raise UsageError("a sample is negative or no number; measure again")

    @classmethod
    def of(cls, turns: Sequence[Sequence[float]]) -> Samples:
        """The samples of several turns."""
        return cls(tuple(value for turn in turns for value in turn), tuple(map(len, turns)))

    @property
    def median(self) -> float:
        """Half of the samples are below."""
        return statistics.median(self.values)

    @property
    def mad(self) -> float:
        """The median absolute deviation from the median: how far a usual sample lies away from it."""
        middle = self.median
        return statistics.median(abs(value - middle) for value in self.values)

    @property
    def p95(self) -> float:
        """95 % of the samples are below."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float:
        """99 % of the samples are below; of fewer than 100 it is nearly the largest."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """The value below which ``share`` (0 to 1) of the samples lie, on a straight line between neighbours."""
        ordered = sorted(self.values)
        at = share * (len(ordered) - 1)
        low = math.floor(at)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (at - low)

    def by_turn(self) -> list[tuple[float, ...]]:
        """The samples turn by turn."""
        turns, start = [], 0
        for count in self.turns:
            turns.append(self.values[start : start + count])
            start += count
        return turns

    def turn_medians(self) -> list[float]:
        """The median of each turn."""
        return [statistics.median(turn) for turn in self.by_turn()]

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the turns' median; None for fewer than six turns."""
        return median_interval(self.turn_medians())

    def to_json(self) -> dict[str, Any]:
        """The derived figures first, then every sample."""
        figures = {
            "median": self.median,
            "mad": self.mad,
            "p95": self.p95,
            "p99": self.p99,
            "min": min(self.values),
            "max": max(self.values),
        }
        return {
            **{name: round(value, _DIGITS) for name, value in figures.items()},
            "count": len(self.values),
            "turns": list(self.turns),
            "samples": [round(value, _DIGITS) for value in self.values],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Samples:
        """The samples that ``to_json`` wrote; what is derived is derived anew. UsageError for anything else."""
        try:
            return cls(tuple(float(v) for v in data["samples"]), tuple(int(n) for n in data["turns"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"these are no stored samples ({type(error).__name__}: {error}); measure again") from None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much one took as another, with its 95 % interval, from turns that they took side by side."""

    value: float
    interval: tuple[float, float] | None
    turns: int

    def to_json(self) -> dict[str, Any]:
        """Every field."""
        interval = None if self.interval is None else [round(v, _DIGITS) for v in self.interval]
        return {"ratio": round(self.value, _DIGITS), "interval": interval, "turns": self.turns}


def ratio(one: Samples, other: Samples) -> Ratio:
    """The median over the turns of (one's median / other's median); the interval is None for fewer than six turns."""
    mine, theirs = one.turn_medians(), other.turn_medians()
    if len(mine) != len(theirs):
        raise UsageError(f"{len(mine)} and {len(theirs)} turns cannot be paired; measure both in one run")
    pairs = [a / b if b else math.inf for a, b in zip(mine, theirs, strict=True)]
    return Ratio(statistics.median(pairs), median_interval(pairs), len(pairs))


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval of the median that holds whatever the distribution is; None for too few values.

    The k-th smallest and the k-th largest value, where k is the largest number for which a fair coin, thrown once per
    value, shows fewer than k heads (or tails) with a probability of at most 1 - confidence (the sign test).
    """
    count = len(values)
    left, below = 0, 0.0
    while left < count // 2:
        below += math.comb(count, left) * 0.5**count
        if 2 * below > 1 - confidence:
            break
        left += 1
    if not left:
        return None
    ordered = sorted(values)
    return ordered[left - 1], ordered[count - left]


@dataclass(frozen=True, slots=True)
class Caution:
    """A doubt about a measurement: what was seen, and what a person can do about it."""

    kind: str
    seen: str
    advice: str

    def __str__(self) -> str:
        return f"{self.seen}; {self.advice}"

    def to_json(self) -> dict[str, str]:
        """Every field."""
        return {"kind": self.kind, "seen": self.seen, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture that was classified: bytes as it came, and its size in pixels."""

    bytes: int
    height: int
    width: int


_SAMPLED = {"latency": "latency_ms", "network": "network_ms", "throughput": "throughput_per_s", "cold": "cold_start_ms"}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One bundle on one runtime and machine.

    digest: sha256 of its card, which holds those of its other files. threads: inside one call. place: 'here', 'ssh' or
    'adb'. latency: ms from a JPEG's bytes to its label, one at a time; network: ms of the network alone, one prepared
    picture; throughput: pictures a second, from bytes to labels, with ``workers`` pictures at a time; cold: ms from the
    start of a fresh process to its first label, its files in the page cache; peak_memory_bytes: that process's. None:
    not measured, or not measurable there. size_bytes: the whole bundle; model_bytes: the file that the runtime reads.
    """

    bundle: str
    digest: str
    runtime: str
    runtime_version: str
    threads: int
    precision: str
    place: str
    machine: Machine
    conditions: Conditions
    parameters: int
    macs: int
    size_bytes: int
    model_bytes: int
    network: Samples
    latency: Samples | None = None
    throughput: Samples | None = None
    workers: int = 0
    cold: Samples | None = None
    peak_memory_bytes: int | None = None
    picture: Picture | None = None
    roofline: Roofline | None = None
    cautions: tuple[Caution, ...] = field(default=())

    @property
    def whole(self) -> Samples:
        """From JPEG to label where that was measured, else the network alone."""
        return self.latency or self.network

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a quantity's key ends in its unit."""
        plain = ("bundle", "digest", "runtime", "runtime_version", "threads", "precision", "place")
        sampled = {key: getattr(self, name) for name, key in _SAMPLED.items()}
        figures = ("workers", "peak_memory_bytes", "size_bytes", "model_bytes", "parameters", "macs")
        picture = self.picture
        return {
            "format": FORMAT,
            **{name: getattr(self, name) for name in plain},
            **{key: None if samples is None else samples.to_json() for key, samples in sampled.items()},
            **{name: getattr(self, name) for name in figures},
            "picture": picture and {"bytes": picture.bytes, "height": picture.height, "width": picture.width},
            "roofline": None if self.roofline is None else self.roofline.to_json(),
            "cautions": [caution.to_json() for caution in self.cautions],
            "machine": self.machine.to_json(),
            "conditions": self.conditions.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """The measurement that ``to_json`` wrote. UsageError, in one line, for anything else."""
        try:
            values = dict(data)
            version = values.pop("format")
            if version != FORMAT:
                raise UsageError(f"this measurement has format {version}, this eyespot reads {FORMAT}; measure again")
            for name, key in _SAMPLED.items():
                samples = values.pop(key)
                values[name] = None if samples is None else Samples.from_json(samples)
            values["machine"] = Machine.from_json(values["machine"])
            values["conditions"] = Conditions.from_json(values["conditions"])
            values["cautions"] = tuple(Caution(**caution) for caution in values["cautions"])
            values["picture"] = values["picture"] and Picture(**values["picture"])
            values["roofline"] = values["roofline"] and Roofline.from_json(values["roofline"])
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"this is no stored measurement ({type(error).__name__}: {error}); measure again"
            ) from None
