"""Names: each source's table round-trips, is what the libraries call their tensors, and refuses what does not fit."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from nets import drawn, random_tensors, smallest, theirs

from eyespot.arch.catalogue import draw
from eyespot.errors import UsageError, WeightsError
from eyespot.weights.names import SCHEMES, match

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
    shapes = {n: t.shape for n, t in theirs(scheme, graph, random_tensors(graph)).items()}
    if scheme == "keras.resnet":  # biases that batch norm makes useless; they go into its mean
        kernels = [n for n in shapes if n.endswith("_conv/kernel")]
        shapes |= {n.replace("kernel", "bias"): shapes[n][3:] for n in kernels}
    assert digest(shapes) == want


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
