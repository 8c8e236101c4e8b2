"""The classifier of a Keras model: its last layer with weights, and what is made of its outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from eyespot.errors import WeightsError
from eyespot.weights.keras_layers import KerasLayer

Activation = Literal["softmax", "sigmoid", "linear"]
_PASSING = ("Dropout", "Flatten", "Reshape", "SpatialDropout2D", "GaussianNoise", "Identity", "ActivityRegularization")
_POOLS = ("GlobalAveragePooling2D", "GlobalAvgPool2D")


class Head(NamedTuple):
    """The layer whose outputs are the classes' logits, and what comes behind them."""

    name: str
    units: int
    activation: Activation


def follow_head(file: str, layers: Sequence[KerasLayer], output: int) -> Head:
    """The classifier. WeightsError names the layer for which eyespot's networks have no place."""
    at, behind = output, "linear"
    while True:
        layer = _at(file, layers, at)
        if layer.class_name in ("Dense", "Conv2D"):
            break
        if (activation := _activation_of(layer)) is not None:
            behind = _joined(file, layer, activation, behind)
        elif layer.class_name not in _PASSING:
            raise WeightsError(f"{file} ends with {layer}; eyespot reads models that end with a Dense classifier")
        at = _before(file, layer)
    activation = _joined(file, layer, _name(layer.config.get("activation")), behind)
    units = int(layer.config["units" if layer.class_name == "Dense" else "filters"])
    if activation == "sigmoid" and units > 1:
        raise WeightsError(
            f"{file}: {layer} has {units} sigmoid outputs, any number of which may be true of an image; eyespot reads "
            "models of one class per image (softmax, or one sigmoid output)"
        )
    if activation == "softmax" and units == 1:
        raise WeightsError(f"{file}: {layer} is a softmax of one output, which is always 1; save a model that decides")
    if layer.class_name == "Dense":
        _check_between(file, layers, layer)
    return Head(layer.name, units, activation)


def trained_for(file: str, head: Head, config: Mapping[str, Any]) -> Activation:
    """The activation of outputs without one, by the loss that the model was compiled with.

    One output that was trained with binary cross-entropy is the logit of a probability. WeightsError for losses of
    numbers, or of classes of which several may be true.
    """
    compiled = config.get("compile_config")
    loss = compiled.get("loss") if isinstance(compiled, Mapping) else None
    name = str(loss.get("class_name") if isinstance(loss, Mapping) else loss)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition(">")[2]).lower()
    if head.activation != "linear" or name not in (*_BINARY, *_OF_NUMBERS):
        return head.activation
    if name in _BINARY and head.units == 1:
        return "sigmoid"
    what = "for several classes at once" if name in _BINARY else "for numbers"
    raise WeightsError(
        f"{file}: the layer {head.name} (Dense) was trained with {name}, {what}; eyespot "
        "reads models of one class per image"
    )


_BINARY = ("binary_crossentropy", "binary_focal_crossentropy")
_OF_NUMBERS = (
    "mse", "mae", "mape", "msle", "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error", "huber", "log_cosh", "logcosh",
)  # fmt: skip


def _check_between(file: str, layers: Sequence[KerasLayer], dense: KerasLayer) -> None:
    """Nothing but dropout may stand between the pooled features and the classifier."""
    layer = dense
    while True:
        at = _before(file, layer)
        layer = _at(file, layers, at)
        if layer.class_name in _POOLS:
            return
        linear = _activation_of(layer) == "linear"
        if (layer.class_name not in _PASSING and not linear) or (
            layer.class_name == "Flatten" and not _pooled(layers, at)
        ):
            raise WeightsError(
                f"{file}: {layer} stands before the classifier {dense.name}, where eyespot's networks have only global "
                "average pooling and dropout; train such a head, or save the model without the layer"
            )


def _pooled(layers: Sequence[KerasLayer], at: int) -> bool:
    """Whether a Flatten comes behind a global pooling, where it changes nothing."""
    while at >= 0 and layers[at].class_name in _PASSING and layers[at].inputs:
        at = layers[at].inputs[0]
    return at >= 0 and layers[at].class_name in _POOLS


def _at(file: str, layers: Sequence[KerasLayer], index: int) -> KerasLayer:
    if index < 0:
        raise WeightsError(f"{file} holds no classifier: no Dense or convolution lies between its input and its output")
    return layers[index]


def _before(file: str, layer: KerasLayer) -> int:
    if len(layer.inputs) != 1:
        raise WeightsError(
            f"{file}: {layer} joins {len(layer.inputs)} inputs behind the network; eyespot reads one head"
        )
    return layer.inputs[0]


def _activation_of(layer: KerasLayer) -> str | None:
    """The name of what an activation layer computes; None for other layers."""
    if layer.class_name == "Activation":
        return _name(layer.config.get("activation"))
    if layer.class_name == "TFOpLambda":
        last = str(layer.config.get("function")).rpartition(".")[2]
        return last if last in ("softmax", "sigmoid") else None
    return {"Softmax": "softmax", "Sigmoid": "sigmoid"}.get(layer.class_name)


def _name(activation: Any) -> str:
    if isinstance(activation, dict):  # Keras 3's way of naming a function
        activation = activation.get("config", activation.get("class_name"))
    return "linear" if activation is None else str(activation)


def _joined(file: str, layer: KerasLayer, first: str, then: str) -> Activation:
    """One of the three activations, where at most one of two is not linear."""
    both = {first, then} - {"linear"}
    if both == {"softmax"} and (first, then) != ("softmax", "softmax"):
        return "softmax"
    if both == {"sigmoid"} and (first, then) != ("sigmoid", "sigmoid"):
        return "sigmoid"
    if not both:
        return "linear"
    names = " and ".join(name for name in (first, then) if name != "linear")
    raise WeightsError(f"{file}: {layer} ends with {names}; eyespot reads softmax, sigmoid or none")
