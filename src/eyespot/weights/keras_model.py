"""What a Keras file says beside its weights: how its input becomes the network's, and what its outputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from eyespot.errors import WeightsError
from eyespot.weights.arrays import Array, shown
from eyespot.weights.checkpoint import Checkpoint
from eyespot.weights.keras_config import DAMAGED
from eyespot.weights.keras_head import Activation, follow_head, trained_for
from eyespot.weights.keras_layers import unfold
from eyespot.weights.keras_pixels import Pixels, follow_pixels


class KerasModel(NamedTuple):
    """preprocess: what the model itself makes of values from 0 to 255; None where it says nothing.

    activation: of its outputs; None where the file does not say it.
    """

    preprocess: Preprocess | None
    activation: Activation | None


def read_keras_model(file: str, checkpoint: Checkpoint) -> KerasModel:
    """What the description says, or where there is none a stored normalization. WeightsError names the layer."""
    if checkpoint.keras is None:
        return KerasModel(_stored_normalization(file, checkpoint.tensors), None)
    try:
        layers, output = unfold(file, checkpoint.keras)
        activation = trained_for(file, follow_head(file, layers, output), checkpoint.keras)
        pixels = follow_pixels(file, layers, checkpoint.tensors, checkpoint.size)
    except DAMAGED as error:
        raise WeightsError(
            f"{file} does not describe its layers ({shown(str(error))}); save the model afresh"
        ) from None
    if pixels == Pixels():
        return KerasModel(None, activation)
    preprocess = pixels.preprocess()
    if preprocess is None:
        raise WeightsError(f"{file} leaves out or mixes the channels of its input; eyespot's networks see RGB or BGR")
    return KerasModel(preprocess, activation)


_EFFICIENTNET = "stem_conv/kernel"


def _stored_normalization(file: str, tensors: Mapping[str, Array]) -> Preprocess | None:
    """EfficientNet's first layers: a scale of 1/255, then the stored mean and variance.

    With ImageNet's weights Keras stores the deviations in the place of variances and divides by their root twice.
    """
    layers = [name.removesuffix("/variance") for name in tensors if name.endswith("/variance")]
    if not layers:
        return None
    if len(layers) > 1 or _EFFICIENTNET not in tensors or tensors[f"{layers[0]}/variance"].size != 3:
        raise WeightsError(
            f"{file} holds weights alone, which do not say where the layer {shown(layers[-1])} (Normalization) "
            "stands; save the whole model with model.save('model.keras')"
        )
    mean, variance = tensors[f"{layers[0]}/mean"], tensors[f"{layers[0]}/variance"]
    if np.allclose(mean.ravel(), IMAGENET_MEAN) and np.allclose(variance.ravel(), IMAGENET_STD):
        return Preprocess(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    pixels = Pixels().affine([1 / 255], [0.0])
    deviations = np.maximum(np.sqrt(variance.ravel().astype(float)), 1e-7)
    factors, offsets = (1 / deviations).tolist(), (-mean.ravel() / deviations).tolist()
    return pixels.affine(factors, offsets).preprocess()
