"""A Keras model's description as one flat list of layers, models within models unfolded, of Keras 2 and 3.

Nothing of the description is built or run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eyespot.errors import WeightsError
from eyespot.weights.arrays import shown

INPUT = -1  # stands for the model's input among a layer's operands
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a layer, by its index in the list, as an operand of another."""

    layer: int


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """A layer, with what it is called on: outputs of others, and numbers and other constants as the file has them."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    operands: tuple[object, ...]

    @property
    def inputs(self) -> list[int]:
        """The layers whose outputs it takes."""
        return [operand.layer for operand in self.operands if isinstance(operand, Output)]

    def __str__(self) -> str:
        return f"the layer {shown(self.name)} ({shown(self.class_name)})"


def unfold(file: str, config: Mapping[str, Any]) -> tuple[list[KerasLayer], int]:
    """All layers but inputs in the order in which they are described, and the index of the one that gives the output.

    WeightsError for a model with several inputs or outputs and a layer used twice; one of ``DAMAGED`` for what is no
    description.
    """
    layers: list[KerasLayer] = []
    output = _unfold_model(file, config, Output(INPUT), layers, 0)
    return layers, output.layer


def _unfold_model(file: str, model: Mapping[str, Any], given: Output, layers: list[KerasLayer], depth: int) -> Output:
    if depth > _MAX_DEPTH:
        raise ValueError("models within models without end")
    config = model["config"]
    inside = config if isinstance(config, list) else config["layers"]  # Keras 2.2's Sequential is a list
    if "output_layers" not in config:
        for layer in inside:
            if layer["class_name"] != "InputLayer":
                given = _call(file, layer, (given,), layers, depth)
        return given
    outputs: dict[str, Output] = {}
    for layer in inside:
        name = layer.get("name") or layer["config"]["name"]
        if layer["class_name"] == "InputLayer":
            if outputs:
                raise WeightsError(f"{file} takes several inputs ({shown(name)}); eyespot's networks take one image")
            outputs[name] = given
            continue
        nodes = layer["inbound_nodes"]
        if len(nodes) != 1:
            raise WeightsError(
                f"{file} calls the layer {shown(name)} {len(nodes)} times; eyespot reads layers called once"
            )
        outputs[name] = _call(file, layer, _operands(nodes[0], outputs), layers, depth)
    ends = config["output_layers"]
    end = ends[0] if isinstance(ends[0], list) else ends
    if isinstance(ends[0], list) and len(ends) != 1:
        raise WeightsError(
            f"{file} has {len(ends)} outputs ({shown(str(ends[1][0]))} is one); eyespot reads classifiers"
        )
    return outputs[end[0]]


def _call(
    file: str, layer: Mapping[str, Any], operands: tuple[object, ...], layers: list[KerasLayer], depth: int
) -> Output:
    config = layer["config"]
    if isinstance(config, list) or isinstance(config.get("layers"), list):
        (given,) = (operand for operand in operands if isinstance(operand, Output))
        return _unfold_model(file, layer, given, layers, depth + 1)
    name = layer.get("name") or config.get("name") or layer["class_name"]
    layers.append(KerasLayer(str(name), str(layer["class_name"]), config, operands))
    return Output(len(layers) - 1)


def _operands(node: Any, outputs: Mapping[str, Output]) -> tuple[object, ...]:
    """Of Keras 3's ``{"args": […], "kwargs": {…}}``, or of Keras 2's ``[[name, node, tensor, kwargs], …]``."""
    if isinstance(node, dict):
        return tuple(_flat(node["args"], outputs))
    operands: list[object] = []
    for entry in [node] if isinstance(node[0], str) else node:
        first = entry[2] if entry[0] == "_CONSTANT_VALUE" else outputs[entry[0]]
        more = entry[3] if len(entry) > 3 else {}
        operands += [first, *(_keras2_operand(value, outputs) for key, value in more.items() if key in _OPERANDS)]
    return tuple(operands)


_OPERANDS = ("y", "x", "bias", "slice_spec")  # of Keras 2's calls of TensorFlow functions


def _keras2_operand(value: Any, outputs: Mapping[str, Output]) -> object:
    refers = isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)
    return outputs[value[0]] if refers else value


def _flat(value: Any, outputs: Mapping[str, Output]) -> list[object]:
    out: list[object] = []
    for item in value:
        if _is_tensor(item):
            out.append(outputs[item["config"]["keras_history"][0]])
        elif isinstance(item, list) and any(map(_is_tensor, item)):
            out += _flat(item, outputs)
        else:
            out.append(item)
    return out


def _is_tensor(item: Any) -> bool:
    return isinstance(item, dict) and item.get("class_name") == "__keras_tensor__"
