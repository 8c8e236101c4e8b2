"""What the first layers of a Keras model make of its input: Rescaling, Normalization, arithmetic with constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from eyespot.core.pixels import Preprocess
from eyespot.errors import WeightsError
from eyespot.weights.arrays import Array, shown
from eyespot.weights.keras_config import DAMAGED
from eyespot.weights.keras_layers import INPUT, KerasLayer, Output

Triple = tuple[float, ...]


class Pixels(NamedTuple):
    """Channels of the input, each scaled and shifted: output k is ``input[channels[k]] · factors[k] + offsets[k]``."""

    channels: tuple[int, ...] = (0, 1, 2)
    factors: Triple = (1.0, 1.0, 1.0)
    offsets: Triple = (0.0, 0.0, 0.0)

    def affine(self, factors: Sequence[float], offsets: Sequence[float]) -> Pixels:
        """This, times factors, plus offsets; one number stands for all channels. ValueError for another number."""
        count = len(self.channels)
        f, o = (list(v) * count if len(v) == 1 else list(v) for v in (factors, offsets))
        if len(f) != count or len(o) != count or not all(map(math.isfinite, (*f, *o))):
            raise ValueError("not one number for each channel")
        return Pixels(
            self.channels,
            tuple(a * b for a, b in zip(self.factors, f, strict=True)),
            tuple(a * b + c for a, b, c in zip(self.offsets, f, o, strict=True)),
        )

    def preprocess(self) -> Preprocess | None:
        """The same as means and deviations; None where channels are left out, or a factor is zero or nearly so."""
        if self.channels not in ((0, 1, 2), (2, 1, 0)) or 0 in self.factors:
            return None
        mean = tuple(0.0 - o / f for f, o in zip(self.factors, self.offsets, strict=True))
        std = tuple(1 / f for f in self.factors)
        if not all(map(math.isfinite, (*mean, *std))):
            return None
        channels = "rgb" if self.channels == (0, 1, 2) else "bgr"
        return Preprocess(scale=1.0, channels=channels, mean=mean, std=std)  # type: ignore[arg-type]


def follow_pixels(file: str, layers: Sequence[KerasLayer], tensors: Mapping[str, Array], size: Any) -> Pixels:
    """What reaches the first convolution. WeightsError names a layer before it that cannot be followed."""
    values: dict[int, Pixels] = {INPUT: Pixels()}
    reached: list[tuple[KerasLayer, Pixels]] = []
    for index, layer in enumerate(layers):
        given = [values[i] for i in layer.inputs if i in values]
        if not given:
            continue
        if layer.class_name in _STEMS:
            reached.append((layer, given[0]))
            continue
        rule = _rule(layer)
        try:
            if rule is None or len(given) != len(layer.inputs):
                raise ValueError("eyespot does not know it")
            values[index] = rule(layer, given, tensors, size)
        except DAMAGED as error:
            raise WeightsError(f"{file}: {layer} before the network cannot be followed: {shown(str(error))}") from None
    if len(reached) != 1:
        where = str(reached[1][0]) if reached else "no convolution"
        raise WeightsError(f"{file}: the input reaches {where}; eyespot's networks begin with one convolution")
    return reached[0][1]


_STEMS = ("Conv2D", "SeparableConv2D", "DepthwiseConv2D", "ZeroPadding2D")
_Rule = Callable[[KerasLayer, list[Pixels], Mapping[str, Array], Any], Pixels]


def _rule(layer: KerasLayer) -> _Rule | None:
    name = layer.class_name
    if name in ("TFOpLambda", "SlicingOpLambda"):
        name = {"nn.bias_add": "Add", "__operators__.getitem": "GetItem", "cast": "Identity"}.get(
            function := str(layer.config.get("function")), _ARITHMETIC.get(function.rpartition(".")[2], "")
        )
    if name.startswith("Random") and name != "RandomCrop":
        return _unchanged  # augmentation, which rests when the model answers
    return _RULES.get(name)


_ARITHMETIC = {
    "truediv": "TrueDivide", "divide": "TrueDivide", "subtract": "Subtract", "sub": "Subtract", "multiply": "Multiply",
    "mul": "Multiply", "add": "Add",
}  # fmt: skip


def _unchanged(_: KerasLayer, given: list[Pixels], __: Mapping[str, Array], ___: Any) -> Pixels:
    return given[0]


def _only_linear(layer: KerasLayer, given: list[Pixels], _: Mapping[str, Array], __: Any) -> Pixels:
    if layer.config.get("activation") != "linear":
        raise ValueError("it is no arithmetic with constants")
    return given[0]


def _same_size(layer: KerasLayer, given: list[Pixels], _: Mapping[str, Array], size: Any) -> Pixels:
    if size is None or (layer.config["height"], layer.config["width"]) != tuple(size):
        raise ValueError("it changes the image's size; prepare images outside the model and save it without")
    return given[0]


def _rescaling(layer: KerasLayer, given: list[Pixels], _: Mapping[str, Array], __: Any) -> Pixels:
    return given[0].affine(_numbers(layer.config["scale"]), _numbers(layer.config.get("offset", 0.0)))


def _normalization(layer: KerasLayer, given: list[Pixels], tensors: Mapping[str, Array], _: Any) -> Pixels:
    if layer.config.get("invert"):
        raise ValueError("it is inverted")
    if layer.config.get("axis", -1) not in (-1, 3, [-1], [3], None, []):
        raise ValueError("it does not normalise channels")
    mean, variance = layer.config.get("mean"), layer.config.get("variance")
    if mean is None or variance is None:
        if f"{layer.name}/mean" not in tensors:
            raise ValueError("the file holds no mean and variance of it")
        mean, variance = (tensors[f"{layer.name}/{what}"].tolist() for what in ("mean", "variance"))
    deviations = [max(math.sqrt(v), 1e-7) for v in _numbers(variance)]
    means = _numbers(mean)
    if len(means) != len(deviations):
        raise ValueError("as many means as variances were needed")
    return given[0].affine([1 / d for d in deviations], [-m / d for m, d in zip(means, deviations, strict=True)])


def _arithmetic(layer: KerasLayer, given: list[Pixels], _: Mapping[str, Array], __: Any) -> Pixels:
    first, second = layer.operands[:2]
    pixels, constant = given[0], _numbers(second if isinstance(first, Output) else first)
    name = _ARITHMETIC.get(str(layer.config.get("function", "")).rpartition(".")[2], layer.class_name)
    if name == "TrueDivide" and isinstance(first, Output):
        return pixels.affine([1 / c for c in constant], [0.0])
    if name == "Multiply":
        return pixels.affine(constant, [0.0])
    if name == "Subtract":
        sign = 1.0 if isinstance(first, Output) else -1.0
        return pixels.affine([sign], [-sign * c for c in constant])
    if name == "Add" or layer.config.get("function") == "nn.bias_add":
        return pixels.affine([1.0], constant)
    raise ValueError("it divides by the image")


def _item(layer: KerasLayer, given: list[Pixels], _: Mapping[str, Array], __: Any) -> Pixels:
    """``x[..., ::-1]`` and ``x[..., k]``, by which preprocessing turns RGB into BGR."""
    selected = layer.operands[1]
    if not isinstance(selected, list) or len(selected) != 2 or "__ellipsis__" not in str(selected[0]):
        raise ValueError("it cuts the image")
    last = selected[1]
    if isinstance(last, dict):
        last = slice(*(last.get("config", last).get(key) for key in ("start", "stop", "step")))
    chosen = range(len(given[0].channels))[last]
    indices = [chosen] if isinstance(chosen, int) else list(chosen)
    parts = (tuple(values[i] for i in indices) for values in given[0])
    return Pixels(*parts)  # type: ignore[arg-type]


def _stack(layer: KerasLayer, given: list[Pixels], _: Mapping[str, Array], __: Any) -> Pixels:
    if layer.config.get("axis") not in (-1, 3):
        raise ValueError("it does not stack channels")
    if sum(len(pixels.channels) for pixels in given) > 3:
        raise ValueError("it stacks more than three channels")
    parts = (tuple(v for pixels in given for v in pixels[k]) for k in range(3))
    return Pixels(*parts)  # type: ignore[arg-type]


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(
        ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "Identity", "Cast"),
        _unchanged,
    ),
    **dict.fromkeys(("MixUp", "CutMix", "RandAugment", "AugMix"), _unchanged),
    **dict.fromkeys(("Resizing", "CenterCrop", "RandomCrop"), _same_size),
    **dict.fromkeys(("TrueDivide", "Divide", "Multiply", "Subtract", "Add"), _arithmetic),
    "Activation": _only_linear,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "GetItem": _item,
    "Stack": _stack,
}


def _numbers(value: Any) -> list[float]:
    """A number, or numbers nested in lists of length one, or Keras 3's way of writing a tensor."""
    if isinstance(value, dict):
        value = value["config"]["value"]
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    return [float(v) for v in value] if isinstance(value, list) else [float(value)]
