"""Machine and Conditions: what something was measured on, and how quiet it was; nothing that names a person or host."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from eyespot.errors import UsageError


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer as far as it decides how fast a network runs.

    instructions: those of its vector and matrix extensions that runtimes of networks use, as Linux calls them. cores:
    those that the process may use; cores_present: all. core_limit: how many cores' worth of time a container's quota
    gives (None: no quota). governor: Linux's rule for the processor's frequency, where it shows one. virtual: whether
    it is a virtual machine, None where that cannot be seen. memory_bytes: 0 where unknown.
    """

    processor: str
    architecture: str
    instructions: tuple[str, ...]
    cores: int
    cores_present: int
    core_limit: float | None
    memory_bytes: int
    governor: str | None
    virtual: bool | None
    system: str
    python: str

    @property
    def key(self) -> str:
        """What figures of this machine are cached under: equal for equal hardware, cores and system."""
        kept = {k: v for k, v in asdict(self).items() if k not in ("governor", "python", "memory_bytes")}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Every field."""
        return {**asdict(self), "instructions": list(self.instructions)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Machine:
        """The machine that ``to_json`` wrote. UsageError for anything else."""
        known(cls, data, "a machine")
        return cls(**{**data, "instructions": tuple(data["instructions"])})


@dataclass(frozen=True, slots=True)
class Conditions:
    """How quiet the machine was while something was measured.

    load_before, load_after: the load average of one minute (None where the system has none). others: the share, 0 to 1,
    of the allowed cores' time that other programs took meanwhile; stolen: the share that the hypervisor took;
    throttled_seconds: how long a container's quota held the process up; megahertz: the processor's frequency before and
    after; neighbours: the share of their time that the cores outside those allowed were busy, which share caches and
    heat with them. None: this system does not say, or there are none.
    """

    load_before: float | None = None
    load_after: float | None = None
    others: float | None = None
    stolen: float | None = None
    throttled_seconds: float | None = None
    megahertz: tuple[float, float] | None = None
    neighbours: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Every field, rounded to what means something."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            k: [round(n) for n in v] if isinstance(v, tuple) else v if v is None else round(v, 4)
            for k, v in values.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Conditions:
        """The conditions that ``to_json`` wrote. UsageError for anything else."""
        known(cls, data, "conditions")
        megahertz = data["megahertz"]
        return cls(**{**data, "megahertz": None if megahertz is None else (megahertz[0], megahertz[1])})


def known(noun: type, data: object, what: str) -> None:
    """UsageError unless ``data`` is an object with exactly the noun's fields."""
    names = {f.name for f in fields(noun)}
    if not isinstance(data, Mapping):
        raise UsageError(f"this is no object but {type(data).__name__}; {what} was needed: measure again")
    odd = sorted(names ^ data.keys())
    if odd:
        raise UsageError(f"{what} with other fields ({', '.join(map(str, odd[:3]))}); measure again with this eyespot")
