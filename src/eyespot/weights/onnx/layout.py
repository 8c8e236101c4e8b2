"""What an ONNX file does to a map beyond our operations: reshaping and transposing, kept as a value until it is undone.

Exporters write layouts that no computation needs: channels last, cells in rows, the four corners of each 2×2 block as
channels (YOLOX's Focus). They are followed as values, drawn where they mean one of our operations (a flatten, a channel
shuffle, a convolution with stride), and otherwise belong to what is done with the network's outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core.sketch import Map

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A map as it is. shape: with a batch axis of 1."""

    map: Map

    @property
    def shape(self) -> Shape:
        """(1, channels, height, width), or (1, features)."""
        return 1, *self.map.shape


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same numbers in another shape."""

    inside: Value
    shape: Shape


@dataclass(frozen=True, slots=True)
class Transposed:
    """Axes in another order."""

    inside: Value
    axes: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """The shape after it."""
        return tuple(self.inside.shape[axis] for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Joined:
    """Values joined along an axis that is no axis of channels."""

    inside: tuple[Value, ...]
    axis: int

    @property
    def shape(self) -> Shape:
        """The shape after it."""
        shape = list(self.inside[0].shape)
        shape[self.axis] = sum(one.shape[self.axis] for one in self.inside)
        return tuple(shape)


@dataclass(frozen=True, slots=True)
class Cells:
    """Every ``step``-th row and column of a map, from each of ``starts`` (row, column) on, joined as channels."""

    inside: Map
    step: int
    starts: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> Shape:
        """The shape after it."""
        channels, height, width = self.inside.shape
        return 1, channels * len(self.starts), math.ceil(height / self.step), math.ceil(width / self.step)


Value = Leaf | Reshaped | Transposed | Joined | Cells


def transposed(value: Value, axes: tuple[int, ...]) -> Value:
    """Its axes in another order; nothing where that undoes what was done."""
    if isinstance(value, Transposed):
        axes, value = tuple(value.axes[axis] for axis in axes), value.inside
    return value if axes == tuple(range(len(axes))) else Transposed(value, axes)


def reshaped(value: Value, shape: Shape) -> Value:
    """Its numbers in another shape; nothing where that undoes what was done."""
    if isinstance(value, Reshaped):
        value = value.inside
    return value if value.shape == shape else Reshaped(value, shape)


def shuffle_groups(value: Value, shape: Shape) -> tuple[Map, int] | None:
    """The map and groups of a channel shuffle: a reshape to ``shape`` behind a transpose of a table of channels."""
    if not (isinstance(value, Transposed) and value.axes[:3] == (0, 2, 1) and isinstance(value.inside, Reshaped)):
        return None
    table = value.inside
    if not isinstance(table.inside, Leaf) or table.inside.shape != shape or len(table.shape) != len(shape) + 1:
        return None
    rest = tuple(range(3, len(table.shape)))
    return (table.inside.map, table.shape[1]) if value.axes[3:] == rest and table.shape[3:] == shape[2:] else None


def leaves(value: Value) -> Iterator[Map]:
    """The maps that it is made of, in order."""
    if isinstance(value, Leaf):
        yield value.map
    elif isinstance(value, Cells):
        yield value.inside
    else:
        for one in value.inside if isinstance(value, Joined) else (value.inside,):
            yield from leaves(one)


def mapped(value: Value, change: Callable[[Map], Map]) -> Value:
    """The same layout of maps that ``change`` made, element by element, of its own."""
    if isinstance(value, Leaf):
        return Leaf(change(value.map))
    if isinstance(value, Cells):
        return replace(value, inside=change(value.inside))
    if isinstance(value, Joined):
        return replace(value, inside=tuple(mapped(one, change) for one in value.inside))
    return replace(value, inside=mapped(value.inside, change))


def laid_out(value: Value, maps: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The numbers, of maps with a batch axis of 1 by their names."""
    if isinstance(value, Leaf):
        return maps[value.map.name]
    if isinstance(value, Reshaped):
        return laid_out(value.inside, maps).reshape(value.shape)
    if isinstance(value, Transposed):
        return laid_out(value.inside, maps).transpose(value.axes)
    if isinstance(value, Joined):
        return np.concatenate([laid_out(one, maps) for one in value.inside], value.axis)
    step, whole = value.step, maps[value.inside.name]
    return np.concatenate([whole[:, :, row::step, column::step] for row, column in value.starts], 1)
