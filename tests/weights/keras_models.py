"""Keras models as people train them, of six kinds, small and lively; for Keras 3, and by hand for Keras 2 too."""

from __future__ import annotations

import numpy as np
import peers

SIZE = 64


def _base(keras, name: str, **more):
    base = getattr(keras.applications, name)(input_shape=(SIZE, SIZE, 3), include_top=False, weights=None, **more)
    return peers.liven_keras(base)


def lively(model):
    """The model with random weights that keep signals alive."""
    return peers.liven_keras(model)


def _head(keras, x, units: int, activation):
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.layers.Dense(units, activation=activation)(keras.layers.Dropout(0.2)(x))


def _augmentation(keras):
    return keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.2)])


def tutorial(keras, units: int = 1, activation="sigmoid"):
    """The transfer-learning tutorial: augmentation, the preprocessing function, the base as one layer, a new head."""
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(_augmentation(keras)(image))
    x = _base(keras, "MobileNetV2", alpha=0.35)(x, training=False)
    return keras.Model(image, _head(keras, x, units, activation))


def sequential(keras, units: int = 5, activation="softmax"):
    """The same as a Sequential, with a Rescaling layer."""
    layers = keras.layers
    return keras.Sequential([
        keras.Input((SIZE, SIZE, 3)), _augmentation(keras), layers.Rescaling(1 / 127.5, offset=-1),
        _base(keras, "MobileNetV2", alpha=0.35), layers.GlobalAveragePooling2D(), layers.Dropout(0.2),
        layers.Dense(units, activation=activation),
    ])  # fmt: skip


def flat(keras, units: int = 4, activation="softmax"):
    """A head on ``base.output``, so that all layers are one model's, behind other numbers than ImageNet's."""
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(scale=[1 / 100, 1 / 120, 1 / 140], offset=[-1.0, -0.9, -0.8])(image)
    base = keras.applications.MobileNet(
        input_tensor=x, input_shape=(SIZE, SIZE, 3), include_top=False, weights=None, alpha=0.25
    )
    peers.liven_keras(base)
    return keras.Model(image, _head(keras, base.output, units, activation))


def normalized(keras, units: int = 6, activation="softmax"):
    """A Normalization layer that was adapted, before EfficientNet, which has its own."""
    rng = np.random.default_rng(0)
    image = keras.Input((SIZE, SIZE, 3))
    normalization = keras.layers.Normalization(name="adapted")
    normalization.adapt(rng.normal((90.0, 100.0, 110.0), (0.5, 0.6, 0.7), (64, 3)).astype("f4"))
    x = keras.layers.Rescaling(255.0)(normalization(image))
    base = _base(keras, "EfficientNetB0", pooling="avg")
    inner = next(layer for layer in base.layers if layer.name.startswith("normalization"))
    inner.set_weights([np.array([0.3, 0.4, 0.5], "f4"), np.array([0.2, 0.3, 0.4], "f4"), np.int32(0)])
    x = keras.layers.Dense(units)(keras.layers.Dropout(0.3)(base(x)))
    return keras.Model(image, keras.layers.Activation(activation)(x))


def caffe(keras, units: int = 3, activation=None):
    """ResNet-50 behind its preprocessing function, which turns RGB into BGR; the outputs are logits."""
    given = keras.Input((SIZE, SIZE, 3))
    x = keras.applications.resnet50.preprocess_input(given)
    model = keras.Model(given, _head(keras, _base(keras, "ResNet50")(x), units, activation))
    reach = np.abs(model.predict(image_batch(0), verbose=0)).max()
    model.layers[-1].set_weights([2 * weight / reach for weight in model.layers[-1].get_weights()])
    return model


def whole(keras, units: int = 7, activation="softmax"):
    """A whole network of keras.applications trained from scratch; its first layer scales pixels."""
    return peers.liven_keras(
        keras.applications.MobileNetV3Small(
            input_shape=(SIZE, SIZE, 3), weights=None, classes=units, classifier_activation=activation
        )
    )


KINDS = {f.__name__: f for f in (tutorial, sequential, flat, normalized, caffe, whole)}


def image(seed: int = 3) -> np.ndarray:
    """A uint8 image of the networks' size, with some structure in it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3)).repeat(SIZE // 8, 0).repeat(SIZE // 8, 1)
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def image_batch(*seeds: int) -> np.ndarray:
    """Images as a batch for ``model.predict``."""
    return np.stack([image(seed) for seed in seeds]).astype("f4")


def probabilities(outputs: np.ndarray, activation) -> np.ndarray:
    """What the outputs of a model for one image say of its classes."""
    if activation == "sigmoid":
        return np.array([1 - outputs[0], outputs[0]])
    if activation == "softmax":
        return outputs
    shifted = np.exp(outputs - outputs.max())
    return shifted / shifted.sum()
