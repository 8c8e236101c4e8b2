"""Plans one block of memory for a program's tensors: which of them may lie on one another, and where each begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from eyespot.core.graph import INPUT
from eyespot.lower.c.integer_program import IntegerProgram, Layer, Lookup, Product, Step, Sum

_ALIGNED = 4  # bytes; kernels that read whole words are faster so
LANES = 32  # a layer's column is filled up to a multiple of the longest vector that kernels.c knows, in int16
_COLUMNS = 2  # that a layer works on at one time


class Life(NamedTuple):
    """How long some bytes are needed: from step ``first``, which writes them, to ``last``, which reads them last."""

    size: int
    first: int
    last: int

    def meets(self, other: Life) -> bool:
        """Whether both are needed at some time."""
        return self.first <= other.last and other.first <= self.last


class Arena(NamedTuple):
    """size: bytes of the block. offsets: where each tensor begins. live: the most bytes that are needed at one time.

    columns: where a layer of that name works, besides.
    """

    size: int
    offsets: Mapping[str, int]
    live: int
    columns: Mapping[str, int]


def plan(program: IntegerProgram) -> Arena:
    """Places every tensor but the answer. Elementwise steps write over what they alone still read.

    First fit, the largest first, then the earliest first; the smaller of the two counts. No order is best for every
    network; ``live`` says how much is left to win.
    """
    homes, lives = _lives(program)
    placed = min((_first_fit(lives, order) for order in _ORDERS), key=lambda offsets: _size(lives, offsets))
    steps = range(-1, len(program.steps))
    live = max(sum(life.size for life in lives.values() if life.first <= at <= life.last) for at in steps)
    offsets = {name: placed[home] for name, home in homes.items()}
    columns = {step.name: placed[_columns_of(step)] for step in program.steps if _columns_of(step) in placed}
    return Arena(_size(lives, placed), offsets, live, columns)


def _columns_of(step: Step) -> str:
    """What a layer's columns are called among the tensors."""
    return f"{step.name}:columns"


def _columns(step: Step) -> int:
    """Bytes of the columns that a step works on: windows in int16."""
    if not isinstance(step, Layer) or (step.depthwise and step.ends is not None):
        return 0
    inputs = int(step.weight[0].size)
    return _COLUMNS * 2 * LANES * -(-inputs // LANES)


def _lives(program: IntegerProgram) -> tuple[dict[str, str], dict[str, Life]]:
    """(for each tensor, the one whose bytes it shares; the lives of those bytes)."""
    last = {name: at for at, step in enumerate(program.steps) for name in step.inputs}
    size = {name: math.prod(shape) for name, shape in program.shapes.items() if name != program.output}
    homes = {INPUT: INPUT}
    lives = {INPUT: Life(_aligned(size[INPUT]), -1, last[INPUT])}
    for at, step in enumerate(program.steps):
        if columns := _columns(step):
            lives[_columns_of(step)] = Life(columns, at, at)
        if step.name == program.output:
            continue
        end = last.get(step.name, at)
        over = next((name for name in step.inputs if _may_write_over(step, name, size) and last[name] == at), None)
        homes[step.name] = step.name if over is None else homes[over]
        home = homes[step.name]
        lives[home] = Life(_aligned(size[step.name]), at, end) if over is None else lives[home]._replace(last=end)
    return homes, lives


def _may_write_over(step: Step, name: str, size: Mapping[str, int]) -> bool:
    return isinstance(step, Lookup | Sum | Product) and size[name] == size[step.name]


_ORDERS: tuple[Callable[[Life], tuple[int, int]], ...] = (
    lambda life: (-life.size, life.first),
    lambda life: (life.first, -life.size),
)


def _first_fit(lives: Mapping[str, Life], order: Callable[[Life], tuple[int, int]]) -> dict[str, int]:
    offsets: dict[str, int] = {}
    for name in sorted(lives, key=lambda name: order(lives[name])):
        life, offset = lives[name], 0
        for other in sorted((n for n in offsets if lives[n].meets(life)), key=lambda n: offsets[n]):
            if offset + life.size <= offsets[other]:
                break
            offset = max(offset, offsets[other] + lives[other].size)
        offsets[name] = offset
    return offsets


def _size(lives: Mapping[str, Life], offsets: Mapping[str, int]) -> int:
    return max(offset + lives[name].size for name, offset in offsets.items())


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
