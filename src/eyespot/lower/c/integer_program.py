"""IntegerProgram: a network as steps on whole numbers, for processors that have nothing else, as a value.

A tensor is uint8 levels (channels, height, width) on a grid; a vector is a map of one pixel. A scale is a *fixed point*
(multiplier, shift): a sum times it is ``(sum · multiplier + 2^(30 - shift)) >> (31 - shift)``, that is the product with
``multiplier · 2^(shift - 31)`` rounded to the nearest, halves up. The product and the shift are on 64 bits. It is what
CMSIS-NN computes where it is built with single rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.ops import Padding, Pair
from eyespot.errors import ExportError
from eyespot.lower.int8.quantized import Grid

Map = tuple[int, int, int]
Levels = NDArray[np.uint8]
_LEAST, _MOST = -31, 30  # shifts that a fixed point may have


class Fixed(NamedTuple):
    """A scale as a fixed point: ``multiplier · 2^(shift - 31)``, the multiplier below 2^31, the shift -31 to 30."""

    multiplier: int
    shift: int

    @classmethod
    def of(cls, scale: float) -> Fixed:
        """The nearest to a scale that is not negative. ExportError for one beyond 2^30."""
        mantissa, shift = math.frexp(scale)
        multiplier = round(mantissa * 2**31)
        if multiplier == 1 << 31:
            multiplier, shift = multiplier // 2, shift + 1
        if shift > _MOST:
            raise ExportError(
                f"a scale of {scale:g} between two layers fits no fixed point; quantize the network again"
            )
        if shift < _LEAST:
            multiplier, shift = round(multiplier / 2.0 ** (_LEAST - shift)), _LEAST
        return cls(multiplier, shift)


class Ends(NamedTuple):
    """Where results land: the level that stands for zero, and the lowest and highest that a rectifier leaves."""

    zero: int = 0
    low: int = 0
    high: int = 255


@dataclass(frozen=True, eq=False)
class Step:
    """Makes the tensor ``name`` of the tensors ``inputs``."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Layer(Step):
    """A convolution, or a linear layer as one of a single pixel.

    weight: int8 (out, in / groups, kh, kw). bias: int32 (out,). scales: per output channel. ends: None where the result
    is the network's answer, int32.
    """

    op: ops.Conv2d
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scales: tuple[Fixed, ...]
    zero: int
    ends: Ends | None

    @property
    def depthwise(self) -> bool:
        """Whether each output channel sees the one input channel of its number."""
        return self.weight.shape[1] == 1 and self.op.groups == self.op.channels > 1


@dataclass(frozen=True, eq=False)
class Lookup(Step):
    """Any function of single levels: (256,)."""

    table: Levels


@dataclass(frozen=True, eq=False)
class Sum(Step):
    """``(Σ (level - zero) · multiplier + 2^(shift - 1)) >> shift`` on 32 bits; one-pixel maps are stretched."""

    zeros: tuple[int, ...]
    multipliers: tuple[int, ...]
    shift: int
    ends: Ends


@dataclass(frozen=True, eq=False)
class Product(Step):
    """The product of two maps, of which the second may be a single pixel, times a scale."""

    zeros: tuple[int, int]
    scale: Fixed
    ends: Ends


@dataclass(frozen=True, eq=False)
class Highest(Step):
    """The highest level of each window, then a table if there is one."""

    kernel: Pair
    stride: Pair
    padding: Padding
    table: Levels | None


@dataclass(frozen=True, eq=False)
class Mean(Step):
    """The sum over each window times a scale: the only one, or that for as many pixels as lie inside the map."""

    kernel: Pair
    stride: Pair
    padding: Padding
    zero: int
    scales: tuple[Fixed, ...]
    ends: Ends


class Part(NamedTuple):
    """``channels`` of an input from ``start`` on go to ``at``, ``at + stride``, …, through a table if there is one."""

    input: str
    start: int
    channels: int
    at: int
    stride: int
    table: Levels | None


@dataclass(frozen=True, eq=False)
class Gather(Step):
    """Channels of the inputs in another order; a channel that no part fills holds ``fill``."""

    channels: int
    parts: tuple[Part, ...]
    fill: int


@dataclass(frozen=True, eq=False)
class Flat(Step):
    """A map of several pixels as a vector, channel by channel."""


@dataclass(frozen=True, eq=False)
class Total(Step):
    """The network's answer where it is the sum over each channel's ``level - zero``: int32 (channels,)."""

    zero: int


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """A whole network in integers: uint8 pixels (height, width, 3) in, int32 ``logits`` of one common step out.

    pixels: for each channel of the network, which of red, green and blue it reads and the level of each of the 256
    values. shapes: of every tensor; grids: of all but the answer. made: for each node of the graph that has levels or
    is the answer, the tensor that holds them. logit_step: what one step of the answer is worth. macs: for one picture.
    """

    name: str
    pixels: tuple[tuple[int, Levels], ...]
    shapes: dict[str, Map]
    grids: dict[str, Grid]
    steps: tuple[Step, ...]
    made: dict[str, str]
    output: str
    logit_step: float
    macs: int

    @property
    def classes(self) -> int:
        """How many numbers the network answers with."""
        return self.shapes[self.output][0]
