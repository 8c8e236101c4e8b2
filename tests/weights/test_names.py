"""Names: each source's table round-trips, is what the libraries call their tensors, and refuses what does not fit."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from nets import drawn, empty_tensors, random_tensors, smallest, theirs

from eyespot.arch.catalogue import draw
from eyespot.core.sketch import Sketch
from eyespot.errors import UsageError, WeightsError
from eyespot.lower.reference import run
from eyespot.weights import inception
from eyespot.weights.names import SCHEMES, match
from eyespot.weights.renamed import renamed
from tolerances import SAME_WEIGHTS, relative_error

FIXTURES = Path(__file__).parent / "fixtures"
sys.path.append(str(FIXTURES))
from make_names import CLASSES, digest  # noqa: E402

LIBRARIES = json.loads((FIXTURES / "names.json").read_text())


@pytest.fixture(scope="module")
def v2():
    """A MobileNetV2 for five classes and its weights as torchvision names them."""
    graph = draw("mobilenet_v2_0.35", {"classes": 5})
    return graph, theirs("torchvision.mobilenet_v2", graph, random_tensors(graph))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_source_writes_comes_back_under_our_names(scheme):
    graph = drawn(scheme)
    weights = random_tensors(graph)
    matched = match(theirs(scheme, graph, weights), graph, scheme)
    assert matched.scheme == scheme
    assert matched.graph is graph
    assert list(matched.weights) == list(graph.parameters)
    for name, tensor in matched.weights.items():
        np.testing.assert_array_equal(tensor, weights[name], err_msg=name)
        assert tensor.dtype == np.float32, name
        assert tensor.flags.c_contiguous, name


@pytest.mark.parametrize("name", LIBRARIES)
def test_names_and_shapes_are_the_library_s_own(name):
    """names.json was written from the libraries themselves (fixtures/make_names.py)."""
    scheme, architecture, want = LIBRARIES[name]
    graph = draw(architecture, {"classes": CLASSES})
    graph = graph.inference() if name.startswith(("timm", "keras")) else graph  # theirs are without auxiliary heads
    tensors = SCHEMES[scheme].complete(theirs(scheme, graph, empty_tensors(graph)))
    assert digest({n: t.shape for n, t in tensors.items() if not n.endswith("num_batches_tracked")}) == want


def test_unknown_source(v2):
    with pytest.raises(UsageError, match=r"no source of names is called 'caffe'; there are torchvision.mobilenet_v2, "):
        match(v2[1], v2[0], "caffe")


def test_the_source_is_found(v2):
    graph, tensors = v2
    assert match(tensors, graph).scheme == "torchvision.mobilenet_v2"
    with pytest.raises(
        WeightsError, match=r"names of the tensors \(a\.b, c, …\) are none that eyespot knows \(akamaster"
    ):
        match({"a.b": np.zeros(1), "c": np.zeros(1), "d": np.zeros(1)}, graph)
    with pytest.raises(WeightsError, match="none at all"):
        match({}, graph)


def test_a_missing_tensor(v2):
    graph, tensors = v2
    less = {n: t for n, t in tensors.items() if n != "features.3.conv.1.1.running_var"}
    for scheme in ("torchvision.mobilenet_v2", None):
        with pytest.raises(WeightsError, match=r"features\.3\.conv\.1\.1\.running_var is missing$"):
            match(less, graph, scheme)
    less = {n: t for n, t in tensors.items() if not n.startswith("features.3.")}
    with pytest.raises(WeightsError, match=r": features\.3\.conv\.0\.0\.weight, .*, .* and 12 more are missing$"):
        match(less, graph, "torchvision.mobilenet_v2")


def test_a_tensor_left_over(v2):
    graph, tensors = v2
    with pytest.raises(WeightsError, match=r": aux\.weight is left over$"):
        match(tensors | {"aux.weight": np.zeros(3, "f4")}, graph, "torchvision.mobilenet_v2")


def test_a_misshapen_tensor(v2):
    graph, tensors = v2
    message = r"classifier\.1\.weight is 9×1280, classifier\.weight needs 5×1280; classifier\.1\.bias is 9, .* needs 5$"
    other = {"classifier.1.weight": np.zeros((9, 1280), "f4"), "classifier.1.bias": np.zeros(9, "f4")}
    with pytest.raises(WeightsError, match=message):
        match(tensors | other, graph)


def test_another_width_says_a_few_and_a_count(v2):
    graph, _ = v2
    wider = draw("mobilenet_v2_0.5", {"classes": 5})
    tensors = theirs("torchvision.mobilenet_v2", wider, random_tensors(wider))
    with pytest.raises(WeightsError, match=r"×.*; \d+ more$") as caught:
        match(tensors, graph)
    assert len(str(caught.value)) < 400


def test_tensors_of_another_family_do_not_slip_in(v2):
    _, tensors = v2
    for architecture in ("resnet18", "efficientnet_b0", "squeezenet_1.1", "mobilenet_v3_small_1.0"):
        with pytest.raises(WeightsError, match="are missing"):
            match(tensors, draw(architecture, {"classes": 5}), "torchvision.mobilenet_v2")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(5, "i8"), "holds int64; weights are floating point"),
        (np.array([0, 0, np.nan, 0, 0], "f4"), "not finite"),
        (np.full(5, 1e300), "not finite in float32"),
    ],
)
def test_values_that_are_no_weights(v2, value, message):
    graph, tensors = v2
    with pytest.raises(WeightsError, match=rf"classifier\.1\.bias holds .*{message.removeprefix('holds ')}"):
        match(tensors | {"classifier.1.bias": value}, graph)


def test_counters_are_ignored_and_doubles_narrowed(v2):
    graph, tensors = v2
    more = {"features.0.1.num_batches_tracked": np.array(7), "classifier.1.bias": np.full(5, 1 / 3)}
    matched = match(tensors | more, graph)
    assert matched.weights["classifier.bias"].dtype == np.float32


def test_both_depthwise_names_of_keras():
    graph = drawn("keras.mobilenet_v1")
    tensors = theirs("keras.mobilenet_v1", graph, random_tensors(graph))
    renamed = {n.replace("dw_1/kernel", "dw_1/depthwise_kernel"): t for n, t in tensors.items()}
    assert set(renamed) != set(tensors)
    match(renamed, graph, "keras.mobilenet_v1")


def test_biases_before_batch_norm_go_into_its_mean():
    graph = drawn("keras.resnet")
    weights = random_tensors(graph)
    tensors = theirs("keras.resnet", graph, weights)
    bias = np.arange(64, dtype="f4")
    got = match(tensors | {"conv1_conv/bias": bias}, graph, "keras.resnet").weights
    np.testing.assert_array_equal(got["stem.norm.running_mean"], weights["stem.norm.running_mean"] - bias)


@pytest.mark.parametrize("scheme", ["torchvision.inception_v1", "torchvision.inception_v3"])
def test_auxiliary_heads_are_all_there_or_none(scheme):
    graph = drawn(scheme)
    whole = theirs(scheme, graph, random_tensors(graph))
    without = theirs(scheme, graph.inference(), random_tensors(graph))
    assert len(without) < len(whole)
    for wanted in (scheme, None):
        assert match(whole, graph, wanted).graph is graph
        assert match(without, graph, wanted).graph == graph.inference()
    (head,) = (n for n in whole if n.endswith(("aux2.fc2.bias", "AuxLogits.fc.bias")))
    with pytest.raises(WeightsError, match=r"(aux2\.fc2|AuxLogits\.fc)\.bias is missing$"):
        match({n: t for n, t in whole.items() if n != head}, graph, scheme)


def test_keras_counts_on_from_what_was_made_before():
    """The published file begins at conv2d_1, one of a later session anywhere; conv2d_10 comes after conv2d_9."""
    graph = drawn("keras.inception_v3")
    weights = random_tensors(graph)
    later = {
        re.sub(r"(conv2d|batch_normalization)(?:_(\d+))?/", lambda m: f"{m[1]}_{int(m[2] or 0) + 95}/", name): tensor
        for name, tensor in theirs("keras.inception_v3", graph, weights).items()
    }
    assert "conv2d_95/kernel" in later
    got = match(dict(sorted(later.items())), graph).weights
    assert got.keys() == weights.keys()
    assert all(np.array_equal(got[name], weights[name]) for name in weights)


def test_auxiliary_heads_stay_behind_where_a_source_has_none():
    graph = draw("inception_v3", {"classes": 7})
    there = renamed(empty_tensors(graph), graph, SCHEMES["keras.inception_v3"])
    assert len(there) == 94 * 4 + 2
    assert match(there, graph).graph == graph.inference()


def test_gains_that_keras_does_not_have_are_one_and_go_into_the_kernel_on_the_way_back():
    s = Sketch((3, 8, 8))
    x = s.norm("stem.layer1.norm", s.conv("stem.layer1.conv", s.input, 4, kernel=3), eps=1e-3)
    graph = s.graph(x)
    weights = random_tensors(graph)
    names = {"conv2d/kernel": weights["stem.layer1.conv.weight"].transpose(2, 3, 1, 0)}
    shorts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    names |= {f"batch_normalization/{k}": weights[f"stem.layer1.norm.{v}"] for k, v in shorts.items()}
    back = inception.without_gains(names)
    assert "batch_normalization/gamma" not in back
    again = inception.with_gains(back)
    assert (again["batch_normalization/gamma"] == 1).all()
    ours = {"stem.layer1.conv.weight": np.ascontiguousarray(again["conv2d/kernel"].transpose(3, 2, 0, 1))}
    ours |= {f"stem.layer1.norm.{v}": again[f"batch_normalization/{k}"] for k, v in shorts.items()}
    picture = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype("f4")
    want, got = (run(graph, w, picture)["stem.layer1.norm"] for w in (weights, ours))
    assert relative_error(got, want) <= SAME_WEIGHTS


def test_a_1x1_convolution_becomes_linear():
    graph = drawn("torchvision.mobilenet_v2")
    tensors = theirs("torchvision.mobilenet_v2", graph, random_tensors(graph))
    as_conv = tensors["classifier.1.weight"][:, :, None, None]
    got = match(tensors | {"classifier.1.weight": as_conv}, graph).weights["classifier.weight"]
    np.testing.assert_array_equal(got, tensors["classifier.1.weight"])
    with pytest.raises(WeightsError, match=r"1280×7, classifier\.weight needs 7×1280"):
        match(tensors | {"classifier.1.weight": as_conv[:, :, 0, 0].T}, graph)


def test_every_scheme_suits_something():
    for name in SCHEMES:
        assert SCHEMES[name].suits(smallest(name)), name
