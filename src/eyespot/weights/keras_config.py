"""What a Keras model's own description says: the names of its layers by their place in a Keras 3 file, and its size.

Places (keras/src/saving/saving_lib.py): ``layers/conv2d_3`` is the fourth Conv2D of ``model.layers``, whatever it is
called. Nothing of the description is built or run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_BYTES = 32 << 20
_MAX_DEPTH = 8
DAMAGED = (
    LookupError, ValueError, TypeError, AttributeError, ArithmeticError, StopIteration, RecursionError,
)  # fmt: skip


def place(class_name: str, used: dict[str, int]) -> str:
    """The next free place of a class: conv2d, conv2d_1, …"""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
    count = used[name] = used.get(name, -1) + 1
    return f"{name}_{count}" if count else name


def layer_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Place → name, for all layers. One of ``DAMAGED`` for what is no description of a model."""
    layers = config["config"]["layers"]
    if not isinstance(layers, list):
        raise TypeError("its layers are no list")
    return dict(_names(layers, "layers", 0))


def _names(layers: Any, at: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        raise ValueError("models within models without end")
    used: dict[str, int] = {}
    for layer in layers:
        here = f"{at}/{place(layer['class_name'], used)}"
        name = layer["config"].get("name")
        if isinstance(name, str):
            yield here, name
        if isinstance(layer["config"].get("layers"), list):
            yield from _names(layer["config"]["layers"], f"{here}/layers", depth + 1)


def parse(text: str | bytes) -> Mapping[str, Any]:
    """The description out of its JSON. One of ``DAMAGED`` when it is none."""
    config = json.loads(text)
    if not isinstance(config, dict):
        raise TypeError("no object")
    return config


def input_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the input layer; None for weights alone, or a model that takes pictures of any size."""
    try:
        layers = config["config"]["layers"]
        first = next((layer["config"] for layer in layers if layer["class_name"] == "InputLayer"), layers[0]["config"])
        shapes = (first.get("batch_input_shape"), first.get("batch_shape"), config["config"].get("build_input_shape"))
        _, height, width, _ = next(shape for shape in shapes if shape)
    except DAMAGED:
        return None
    whole = all(type(n) is int and 0 < n < 1 << 16 for n in (height, width))
    return (height, width) if whole else None
