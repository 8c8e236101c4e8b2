"""What a Keras description says of pixels and head, by hand as Keras 2 and 3 write it; and damaged ones."""

import json
import random

import numpy as np
import pytest

from eyespot.errors import WeightsError
from eyespot.weights.checkpoint import Checkpoint
from eyespot.weights.keras_model import read_keras_model


def keras2(name, class_name, config=None, inputs=(), **arguments):
    """A layer as Keras 2 describes it; arguments are those of a TensorFlow function."""
    calls = [[source, 0, 0, arguments] for source in inputs]
    nodes = [] if not inputs else calls if class_name.endswith("OpLambda") else [calls]
    return {"class_name": class_name, "name": name, "config": {"name": name, **(config or {})}, "inbound_nodes": nodes}


def keras3(name, class_name, config=None, inputs=(), *, before=(), after=()):
    """A layer as Keras 3 describes it; before and after are constants beside its inputs."""
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [source, 0, 0]}} for source in inputs]
    nodes = [{"args": [*before, *tensors, *after], "kwargs": {}}] if inputs else []
    return {"class_name": class_name, "name": name, "config": {"name": name, **(config or {})}, "inbound_nodes": nodes}


def model(make, first=(), last="dense", *, activation="softmax", units=3, head=(), outputs=None):
    """An image through ``first`` (rows of layers, each on the one before), a nested base, and a head."""
    base = {
        "layers": [
            make("in", "InputLayer"), make("c", "Conv2D", {}, ["in"]), make("p", "GlobalAveragePooling2D", {}, ["c"]),
        ],
        "input_layers": [["in", 0, 0]], "output_layers": [["p", 0, 0]],
    }  # fmt: skip
    layers = [make("image", "InputLayer", {"batch_shape": [None, 8, 8, 3]}), *first]
    layers.append(make("base", "Functional", base, [layers[-1]["name"]]))
    layers += head
    layers.append(make(last, "Dense", {"units": units, "activation": activation}, [layers[-1]["name"]]))
    outputs = outputs or [[last, 0, 0]]
    return {
        "class_name": "Functional",
        "config": {"layers": layers, "input_layers": [["image", 0, 0]], "output_layers": outputs},
    }


def read(config, tensors=None):
    return read_keras_model("m.keras", Checkpoint(tensors or {}, "keras zip", size=(8, 8), keras=config))


def pixels(config, tensors=None):
    preprocess = read(config, tensors).preprocess
    factors, offsets = preprocess.affine()
    return preprocess.channels, [round(v, 6) for v in factors], [round(v, 6) for v in offsets]


TF = ("rgb", [round(1 / 127.5, 6)] * 3, [-1.0] * 3)


def test_preprocessing_functions_of_both_versions():
    two = model(keras2, [
        keras2("tf.math.truediv", "TFOpLambda", {"function": "math.truediv"}, ["image"], y=127.5),
        keras2("tf.math.subtract", "TFOpLambda", {"function": "math.subtract"}, ["tf.math.truediv"], y=1.0),
    ])  # fmt: skip
    three = model(keras3, [
        keras3("true_divide", "TrueDivide", {}, ["image"], after=[127.5]),
        keras3("subtract", "Subtract", {}, ["true_divide"], after=[1.0]),
    ])  # fmt: skip
    assert pixels(two) == pixels(three) == TF


def test_means_of_caffe_turn_the_channels_round():
    means = [-103.939, -116.779, -123.68]
    turn = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
    two = model(keras2, [
        keras2("getitem", "SlicingOpLambda", {"function": "__operators__.getitem"}, ["image"], slice_spec=turn),
        keras2("bias_add", "TFOpLambda", {"function": "nn.bias_add"}, ["getitem"], bias=means, data_format="NHWC"),
    ])  # fmt: skip
    each = [
        keras3(f"item_{k}", "GetItem", {}, ["image"], after=[[{"class_name": "__ellipsis__", "config": {}}, k]])
        for k in (2, 1, 0)
    ]
    stack = keras3("stack", "Stack", {"axis": -1}, ["item_2", "item_1", "item_0"])
    stack["inbound_nodes"][0]["args"] = [stack["inbound_nodes"][0]["args"]]
    add = keras3("add", "Add", {}, ["stack"], after=[{"class_name": "__tensor__", "config": {"value": [[[means]]]}}])
    three = model(keras3, [*each, stack, add])
    assert pixels(two) == pixels(three) == ("bgr", [1.0] * 3, means)


@pytest.mark.parametrize("make", [keras2, keras3])
def test_rescaling_and_normalization_one_after_the_other(make):
    first = [
        make("flip", "RandomFlip", {}, ["image"]),
        make("rescaling", "Rescaling", {"scale": 0.5, "offset": [1.0, 2.0, 3.0]}, ["flip"]),
        make("adapted", "Normalization", {"axis": [-1], "mean": None, "variance": None}, ["rescaling"]),
    ]
    tensors = {"adapted/mean": np.array([1, 2, 3], "f4"), "adapted/variance": np.array([4, 16, 0.25], "f4")}
    expected = ("rgb", [0.25, 0.125, 1.0], [0.0, 0.0, 0.0])
    assert pixels(model(make, first), tensors) == expected
    first[2]["config"] |= {"mean": [[[[1, 2, 3]]]], "variance": [[[[4, 16, 0.25]]]]}
    assert pixels(model(make, first)) == expected
    del first[2]["config"]["mean"]
    with pytest.raises(WeightsError, match=r"the layer adapted \(Normalization\) .*holds no mean and variance"):
        read(model(make, first))


def test_a_constant_before_the_image():
    inverted = model(keras3, [keras3("subtract", "Subtract", {}, ["image"], before=[255.0])])
    assert pixels(inverted) == ("rgb", [-1.0] * 3, [255.0] * 3)
    with pytest.raises(WeightsError, match="it divides by the image"):
        read(model(keras3, [keras3("d", "TrueDivide", {}, ["image"], before=[255.0])]))


def test_a_model_that_says_nothing_of_pixels():
    assert read(model(keras2)) == (None, "softmax")
    assert read(model(keras3, units=1, activation="sigmoid")) == (None, "sigmoid")
    behind = [keras3("drop", "Dropout", {}, ["base"]), keras3("flat", "Flatten", {}, ["drop"])]
    assert read(model(keras3, head=behind, activation="linear")) == (None, "linear")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (model(keras3, units=5, activation="sigmoid"), r"the layer dense \(Dense\) has 5 sigmoid outputs"),
        (model(keras3, units=1), "a softmax of one output"),
        (model(keras2, activation="relu"), r"the layer dense \(Dense\) ends with relu"),
        (model(keras2, [keras2("odd", "Lambda", {}, ["image"])]), r"the layer odd \(Lambda\) before the network"),
        (model(keras2, [keras2("zero", "Rescaling", {"scale": 0.0}, ["image"])]), "leaves out or mixes the channels"),
        (model(keras2, [keras2("huge", "Rescaling", {"scale": 1e400}, ["image"])]), r"the layer huge \(Rescaling\)"),
        (
            model(keras3, head=[keras3("bn", "BatchNormalization", {}, ["base"])]),
            r"the layer bn \(Batch.* stands before",
        ),
        (
            model(keras3, head=[keras3("two", "Dense", {"units": 4}, ["base"])]),
            r"the layer two \(Dense\) stands before",
        ),
        (model(keras3, outputs=[["dense", 0, 0], ["base", 0, 0]]), r"has 2 outputs \(base is one\)"),
        (model(keras3, [keras3("i", "InputLayer")]), r"takes several inputs \(i\)"),
        (model(keras3, [keras3("n", "RandomCrop", {"height": 4, "width": 8}, ["image"])]), "changes the image's size"),
    ],
)
def test_layers_that_are_refused_by_name(config, message):
    with pytest.raises(WeightsError, match=message) as caught:
        read(config)
    assert "\n" not in str(caught.value)


def test_a_layer_called_twice():
    config = model(keras3)
    config["config"]["layers"][1]["inbound_nodes"] *= 2
    with pytest.raises(WeightsError, match="calls the layer base 2 times"):
        read(config)


def test_channels_cannot_be_doubled_without_end():
    first = [keras3("s0", "Stack", {"axis": -1}, ["image", "image"])]
    first += [keras3(f"s{i}", "Stack", {"axis": -1}, [f"s{i - 1}"] * 2) for i in range(1, 60)]
    with pytest.raises(WeightsError, match="stacks more than three channels"):
        read(model(keras3, first))


@pytest.mark.parametrize("make", [keras2, keras3])
def test_damaged_descriptions_are_one_line(make):
    """Values of the description replaced by others, at random; fixed seed."""
    config = model(make, [make("r", "Rescaling", {"scale": 0.5, "offset": 1}, ["image"])])
    text = json.dumps(config)
    rng = random.Random(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(1500):
        damaged = json.loads(text)
        at = damaged
        while isinstance(at, (dict, list)) and at:
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            if rng.random() < 0.2 or not isinstance(at[key], (dict, list)) or not at[key]:
                at[key] = rng.choice(
                    [None, 0, -1, 1e308, 10**400, "x", [], {}, [[]], [[{}]], [["x", 0, 0, {}]], True, {"a": 1}]
                )
                break
            at = at[key]
        said = ""
        try:
            read(damaged)
        except WeightsError as error:
            said = str(error)
        outcomes["refused" if said else "read"] += 1
        assert "\n" not in said
    assert outcomes["refused"] > 300, outcomes


def compiled(config, loss):
    return {**config, "compile_config": {"optimizer": "adam", "loss": loss}}


def test_the_loss_says_what_outputs_without_activation_are():
    one, five = (model(keras3, units=units, activation="linear") for units in (1, 5))
    described = {"module": "keras.losses", "class_name": "BinaryCrossentropy", "config": {"from_logits": True}}
    for loss in (described, "binary_crossentropy"):
        assert read(compiled(one, loss)).activation == "sigmoid"
        with pytest.raises(WeightsError, match="trained with binary_crossentropy, for several classes at once"):
            read(compiled(five, loss))
    for loss in (None, "sparse_categorical_crossentropy", {"class_name": "mine>Loss", "config": {}}):
        assert read(compiled(five, loss)).activation == "linear"
    with pytest.raises(
        WeightsError, match=r"the layer dense \(Dense\) was trained with mean_squared_error, for numbers"
    ):
        read(compiled(one, {"class_name": "MeanSquaredError", "config": {}}))


def test_efficientnet_s_normalization_beside_weights_alone():
    stem = {"stem_conv/kernel": np.zeros((3, 3, 3, 32), "f4")}

    def stored(mean, variance):
        tensors = {
            **stem,
            "normalization/mean": np.array(mean, "f4"),
            "normalization/variance": np.array(variance, "f4"),
        }
        preprocess, activation = read_keras_model("w.h5", Checkpoint(tensors, "keras h5"))
        assert activation is None
        return [np.round(values, 6).tolist() for values in preprocess.affine()]

    assert stored((0, 0, 0), (1, 1, 1)) == [[round(1 / 255, 6)] * 3, [0.0] * 3]
    assert stored((0.5, 0.5, 0.5), (0.25, 0.25, 0.04)) == [[0.007843, 0.007843, 0.019608], [-1.0, -1.0, -2.5]]
    # With ImageNet's weights Keras has the deviations there, and divides by their root once more.
    found = stored((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert found[1] == [round(-m / s, 6) for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    with pytest.raises(WeightsError, match=r"where the layer mine \(Normalization\) stands"):
        read_keras_model("w.h5", Checkpoint({"mine/mean": np.zeros(3), "mine/variance": np.ones(3)}, "keras h5"))
