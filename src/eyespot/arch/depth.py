"""Depth multipliers: how many blocks of a table's rows a deeper or shallower network has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol, TypeVar


class Block(Protocol):
    """A row of a table that has one row for each block. tap: the stride that ends here."""

    @property
    def channels(self) -> int:
        """What the block makes."""

    @property
    def stride(self) -> int:
        """Of the block."""

    @property
    def tap(self) -> int | None:
        """The stride whose last map the block makes."""


Row = TypeVar("Row", bound=Block)


def repeats(blocks: int, depth: float) -> int:
    """Blocks times depth, rounded up as EfficientNet does; at least one."""
    return max(1, math.ceil(round(blocks * depth, 6)))  # 10 · 1.1 is 11.000000000000002


def deepened(rows: Sequence[Row], depth: float) -> Iterator[tuple[Row, int, int | None]]:
    """(row, stride, tap) of each block of a network whose stages are ``depth`` times as deep.

    A stage is a run of rows with the same channels. A deeper one repeats its last row, with stride 1; a shallower one
    leaves its last rows out. The tap stays at its end.
    """
    for _, run in groupby(rows, key=lambda row: row.channels):
        stage = list(run)
        count = repeats(len(stage), depth)
        for i in range(count):
            row = stage[min(i, len(stage) - 1)]
            yield row, row.stride if i < len(stage) else 1, stage[-1].tap if i == count - 1 else None
