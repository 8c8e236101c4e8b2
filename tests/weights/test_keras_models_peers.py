"""Whole Keras models, as people train and save them, answer here as in Keras, or the layer is named that cannot."""

import inspect

import keras_models
import numpy as np
import pytest

import libraries
from eyespot.bundle.adopt import Request, adopt
from eyespot.core.labels import Labels
from eyespot.errors import UsageError, WeightsError
from eyespot.run.predict import Model

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation:DeprecationWarning"
    ),  # Keras' own, on the torch backend
]


@pytest.fixture(scope="module")
def keras():
    return libraries.imported("keras")


def answer(bundle, image) -> np.ndarray:
    with Model(bundle, threads=1) as model:
        return np.asarray(model(image).probabilities)


def check(model, bundle, activation, seeds=(0, 1, 2)) -> None:
    for seed in seeds:
        outputs = np.asarray(model.predict(keras_models.image_batch(seed), verbose=0))[0]
        expected = keras_models.probabilities(outputs, activation)
        assert 0.01 < expected.max() - expected.min() < 0.99  # a network that says something
        np.testing.assert_allclose(answer(bundle, keras_models.image(seed)), expected, atol=1e-4)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", keras_models.KINDS)
def test_models_give_keras_own_probabilities(keras, tmp_path, kind, suffix):
    make = keras_models.KINDS[kind]
    model = make(keras)
    model.save(tmp_path / f"model{suffix}")
    bundle = adopt(tmp_path / f"model{suffix}", tmp_path / "bundle")
    check(model, bundle, inspect.signature(make).parameters["activation"].default)
    with pytest.raises(UsageError, match=r"scales its pixels itself; leave --pixels tf out"):
        adopt(tmp_path / f"model{suffix}", tmp_path / "other", request=Request(pixels="tf"))
    assert bundle.card.preprocess.rule == "stretch"  # as Keras loads images


def test_a_whole_head_replaced_by_one_layer(keras, tmp_path):
    base = keras.applications.MobileNetV3Small(
        input_shape=(keras_models.SIZE, keras_models.SIZE, 3), include_top=False, weights=None, pooling="avg"
    )
    outputs = keras.layers.Dense(4, activation="softmax")(keras_models.lively(base).output)
    model = keras.Model(base.input, outputs)
    model.save(tmp_path / "model.keras")
    bundle = adopt(tmp_path / "model.keras", tmp_path / "bundle")
    check(model, bundle, "softmax")
    assert bundle.card.arguments["hidden"] is False


def test_one_output_without_an_activation_is_two_classes_when_they_are_named(keras, tmp_path):
    model = keras_models.sequential(keras, 1, None)
    model.save(tmp_path / "model.keras")
    with pytest.raises(UsageError, match=r"has one output .*pass --labels with two classes"):
        adopt(tmp_path / "model.keras", tmp_path / "bundle")
    bundle = adopt(tmp_path / "model.keras", tmp_path / "bundle", request=Request(labels=Labels(("cat", "dog"))))
    logit = float(np.asarray(model.predict(keras_models.image_batch(0), verbose=0))[0, 0])
    expected = [1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))]
    np.testing.assert_allclose(answer(bundle, keras_models.image(0)), expected, atol=1e-4)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_one_output_trained_with_binary_cross_entropy_is_two_classes(keras, tmp_path, suffix):
    """The tutorial's older form: no activation, the loss takes logits."""
    model = keras_models.sequential(keras, 1, None)
    model.compile("adam", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    model.save(tmp_path / f"model{suffix}")
    bundle = adopt(tmp_path / f"model{suffix}", tmp_path / "bundle")
    logit = float(np.asarray(model.predict(keras_models.image_batch(0), verbose=0))[0, 0])
    expected = [1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))]
    np.testing.assert_allclose(answer(bundle, keras_models.image(0)), expected, atol=1e-4)


def heads(keras):
    layers = keras.layers
    yield (
        "5 sigmoid outputs",
        [layers.GlobalAveragePooling2D(), layers.Dense(5, activation="sigmoid", name="tags")],
        "tags",
    )
    two = [layers.GlobalAveragePooling2D(), layers.Dense(8, activation="relu", name="wide"), layers.Dense(5)]
    yield "stands before the classifier", two, "wide"
    norm = [layers.GlobalAveragePooling2D(), layers.BatchNormalization(name="norm"), layers.Dense(5)]
    yield "stands before the classifier", norm, "norm"
    yield "stands before the classifier", [layers.Flatten(name="flat"), layers.Dense(5)], "flat"
    yield "stands before the classifier", [layers.GlobalMaxPooling2D(name="most"), layers.Dense(5)], "most"
    yield (
        "softmax of one output",
        [layers.GlobalAveragePooling2D(), layers.Dense(1, activation="softmax", name="one")],
        "one",
    )
    yield "ends with relu", [layers.GlobalAveragePooling2D(), layers.Dense(5, activation="relu", name="last")], "last"
    yield "ends with", [layers.GlobalAveragePooling2D(name="features")], "features"


@pytest.mark.parametrize("number", range(8))
def test_heads_that_are_refused_name_their_layer(keras, tmp_path, number):
    message, head, name = list(heads(keras))[number]
    size = keras_models.SIZE
    base = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=None, alpha=0.35)
    keras.Sequential([keras.Input((size, size, 3)), base, *head]).save(tmp_path / "model.keras")
    with pytest.raises(WeightsError, match=message) as caught:
        adopt(tmp_path / "model.keras", tmp_path / "bundle")
    assert f"the layer {name} (" in str(caught.value)


def first_layers(keras):
    layers, size = keras.layers, keras_models.SIZE
    yield layers.Resizing(size // 2, size // 2, name="smaller"), "smaller .*changes the image's size"
    yield layers.BatchNormalization(name="norm"), "norm .*eyespot does not know it"
    yield layers.Rescaling([1.0, 0.0, 1.0], name="green"), "leaves out or mixes the channels"
    yield layers.Activation("tanh", name="bent"), "bent .*no arithmetic with constants"


@pytest.mark.parametrize("number", range(4))
def test_first_layers_that_are_refused_name_themselves(keras, tmp_path, number):
    layer, message = list(first_layers(keras))[number]
    size = keras_models.SIZE
    base = keras.applications.MobileNetV2(
        input_shape=(None, None, 3), include_top=False, weights=None, alpha=0.35, pooling="avg"
    )
    keras.Sequential([keras.Input((size, size, 3)), layer, base, keras.layers.Dense(3)]).save(tmp_path / "model.keras")
    with pytest.raises(WeightsError, match=message):
        adopt(tmp_path / "model.keras", tmp_path / "bundle")


def test_weights_alone_do_not_hide_a_normalization(keras, tmp_path):
    model = keras_models.sequential(keras)
    size = keras_models.SIZE
    adapted = keras.layers.Normalization(name="adapted")
    adapted.adapt(np.random.default_rng(0).uniform(0, 255, (8, size, size, 3)))
    model = keras.Sequential([keras.Input((size, size, 3)), adapted, *model.layers[2:]])
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(WeightsError, match=r"where the layer adapted \(Normalization\) stands; save the whole model"):
        adopt(tmp_path / "model.weights.h5", tmp_path / "bundle", request=Request(arguments={"size": size}))
