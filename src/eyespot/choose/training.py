"""What choosing asks of whoever trains (the torch tower, ``learn.tournament``), without importing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eyespot.accuracy.dataset import Example
from eyespot.choose.candidate import Candidate


@dataclass(frozen=True)
class Entry:
    """What is trained: a network at a size, from weights or from nothing. Precisions share one training.

    network_ms: of one picture, as measured at its fastest precision.
    """

    candidate: Candidate
    network_ms: float

    @property
    def name(self) -> str:
        """For a person, and for folders."""
        return self.candidate.title.rpartition(", ")[0]


@dataclass(frozen=True)
class Trained:
    """What came of an entry. top1: a share, on pictures that were not learned from; bundle: float32; how: in words.

    stopped: its training was cut off by the time.
    """

    entry: Entry
    top1: float
    interval: tuple[float, float] | None
    bundle: Path
    how: str
    stopped: bool = False


class Trainer(Protocol):
    """Trains on one collection of labelled pictures."""

    @property
    def digest(self) -> str:
        """Changes with the pictures."""

    @property
    def classes(self) -> int: ...

    @property
    def side(self) -> int:
        """The typical shorter side of the pictures, 0 when unknown."""

    def compete(self, entries: Sequence[Entry], until: float) -> list[Trained]:
        """Trains the entries, most promising first, by successive halving until ``time.monotonic()`` is ``until``; the
        most accurate first. What an earlier call trained is not trained again."""

    @property
    def notes(self) -> list[str]:
        """What a person should know of the last competition: entries that could not be trained, and why."""

    def held_out(self) -> list[Example]:
        """The labelled pictures that no entry learned from."""
