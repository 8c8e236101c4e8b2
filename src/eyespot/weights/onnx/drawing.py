"""What is drawn of an ONNX file so far: a sketch, its tensors, and what each name of the file stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eyespot.core.ops import ActivationName
from eyespot.core.sketch import Map, Sketch
from eyespot.errors import WeightsError
from eyespot.weights.onnx import layout
from eyespot.weights.onnx.model import OnnxModel, OnnxNode, Tensor

Value = layout.Value | Tensor
UNKNOWN = "?"  # ends the name of a node that stands for something that no operation of ours does alone


class Drawing:
    """A sketch with tensors. ``given`` are an operator's inputs: constants, or maps in some layout."""

    def __init__(self, model: OnnxModel, sketch: Sketch) -> None:
        self.sketch = sketch
        self.opset = model.opset
        self.tensors: dict[str, NDArray[np.float32]] = {}
        self.values: dict[str, Value] = {**model.tensors, "": np.empty(0, np.float32)}
        self.makers = {output: node for node in model.nodes for output in node.outputs}
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in model.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self._names = 0

    def value(self, name: str) -> Value:
        """What a name stands for."""
        if name not in self.values:
            raise WeightsError(f"expected operators in order of execution, got one that reads {name[:60]!r} too soon")
        return self.values[name]

    def constant(self, name: str) -> Tensor | None:
        """A name's constant; None for anything else."""
        value = self.values.get(name)
        return value if isinstance(value, np.ndarray) and value.size else None

    def give(self, node: Map, **tensors: ArrayLike | None) -> None:
        """The tensors of a node that was drawn, by their short names; None for one that it does not have."""
        for short, tensor in tensors.items():
            if tensor is not None:
                self.tensors[f"{node.name}.{short}"] = np.ascontiguousarray(tensor, np.float32)

    def free(self, name: str) -> str:
        """A name that is not taken in this scope."""
        self._names += 1
        return f"{name}{self._names}"

    def act(self, value: Value, function: ActivationName, *, slope: float = 0.01, name: str = "act") -> layout.Value:
        """An activation of every map that a value is made of."""
        return layout.mapped(tail(value), lambda x: self.sketch.act(self.free(name), x, function, slope=slope))

    def map(self, value: Value) -> Map:
        """A feature map: as it is, or a vector that was reshaped to one pixel."""
        x = tail(value)
        if isinstance(x, layout.Leaf) and len(x.map.shape) == 3:
            return x.map
        raise ValueError(f"a feature map (1, channels, height, width) was needed, its input is {_described(x)}")

    def vector(self, value: Value) -> Map:
        """A vector: as it is, or a map with all its numbers in a row."""
        x = tail(value)
        if isinstance(x, layout.Leaf) and len(x.map.shape) == 1:
            return x.map
        if (
            isinstance(x, layout.Reshaped)
            and isinstance(x.inside, layout.Leaf)
            and x.shape[0] == 1
            and len(x.shape) == 2
        ):
            return self.sketch.flatten(self.free("flatten"), x.inside.map)
        raise ValueError(f"a vector (1, features) was needed, its input is {_described(x)}")

    def either(self, value: Value) -> Map:
        """A feature map or a vector, whichever it is."""
        return self.vector(value) if len(tail(value).shape) == 2 else self.map(value)


def tail(value: Value) -> layout.Value:
    """A value that is no constant."""
    if isinstance(value, np.ndarray):
        raise ValueError("a constant stands where a map was needed")
    return value


def floats(given: Sequence[Value], place: int) -> NDArray[np.float32]:
    """A constant of floating point numbers."""
    value = given[place]
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise ValueError(f"its input {place} is no constant of floating point numbers")
    return value.astype(np.float32)


def optional(given: Sequence[Value], place: int) -> NDArray[np.float32] | None:
    """The same where there is one."""
    value = given[place] if len(given) > place else None
    is_there = value is not None and not (isinstance(value, np.ndarray) and not value.size)
    return floats(given, place) if is_there else None


def number(given: Sequence[Value], place: int, default: float) -> float:
    """A constant number where there is one, else what is said to be it."""
    if len(given) <= place:
        return default
    value: Any = given[place]
    if not isinstance(value, np.ndarray):
        raise ValueError(f"its input {place} is no constant")
    return float(value.ravel()[0]) if value.size else default


def _described(value: layout.Value) -> str:
    return f"{type(value).__name__.lower()} {value.shape}"
