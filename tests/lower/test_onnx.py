"""The ONNX file: valid, named as we name, for any batch, with the pixels' normalisation inside when asked."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import onnx
import pytest

from eyespot.arch.catalogue import draw
from eyespot.core.pixels import Preprocess
from eyespot.core.sketch import Sketch
from eyespot.errors import GraphError, WeightsError
from eyespot.lower.fold import fold
from eyespot.lower.onnx import to_onnx
from eyespot.lower.onnx_file import OnnxFile
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from lowered import onnx_evaluator, onnx_runtime
from tolerances import SAME_WEIGHTS, relative_error

# Uneven numbers, so that a mix-up of channels, sides or order shows.
UNEVEN = Preprocess((32, 48), "stretch", scale=1 / 250, mean=(0.5, 0.25, 0.1), std=(0.2, 0.3, 0.5))


@pytest.fixture(scope="module")
def graph():
    return draw("mobilenet_v2_0.35", {"size": (32, 48), "classes": 10, "padding": "same"})


@pytest.fixture(scope="module")
def weights(graph):
    return random_weights(graph, 1)


def pixels(n=2, size=(32, 48)):
    return np.random.default_rng(6).integers(0, 256, (n, *size, 3), np.uint8)


def normalised(batch, preprocess):
    """As the docstring of Preprocess says it, in float64."""
    ordered = batch[..., ::-1] if preprocess.channels == "bgr" else batch
    x = (ordered * preprocess.scale - np.array(preprocess.mean)) / np.array(preprocess.std)
    return x.transpose(0, 3, 1, 2).astype(np.float32)


def test_the_file(graph, weights):
    text = {"eyespot.name": "näme", "eyespot.empty": ""}
    model = onnx.load_from_string(to_onnx(graph, weights, metadata=text))
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert model.producer_name == "eyespot"
    assert {p.key: p.value for p in model.metadata_props} == text
    assert [shape_of(value) for value in model.graph.input] == [("input", onnx.TensorProto.FLOAT, ["N", 3, 32, 48])]
    assert [shape_of(value) for value in model.graph.output] == [("logits", onnx.TensorProto.FLOAT, ["N", 10])]


def test_onnx_runtime_has_nothing_to_warn_of(graph, weights, capfd):
    onnx_runtime(to_onnx(graph, weights, preprocess=UNEVEN), pixels())
    assert capfd.readouterr().err == ""


def shape_of(value):
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]


def test_names_are_ours_and_tensors_are_the_folded_ones(graph, weights):
    model = onnx.load_from_string(to_onnx(graph, weights))
    folded, tensors = fold(graph, weights)
    assert [node.name for node in model.graph.node] == [node.name for node in folded.nodes]
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert tensors.keys() == {name for name in stored if ":" not in name}
    assert all((stored[name] == value).all() for name, value in tensors.items())
    assert len(stored) == len(tensors) + 2, "the bounds of relu6 are stored once"


@pytest.mark.parametrize("other", [onnx_runtime, onnx_evaluator])
def test_any_batch(graph, weights, other):
    model = to_onnx(graph, weights)
    x = np.random.default_rng(3).normal(size=(3, 3, 32, 48)).astype(np.float32)
    want = run(graph, weights, x)["classifier"]
    assert relative_error(other(model, x)["logits"], want) <= SAME_WEIGHTS
    assert relative_error(other(model, x[:1])["logits"], want[:1]) <= SAME_WEIGHTS
    wrong = {**weights, "stem.conv.weight": weights["stem.conv.weight"] * np.float32(1.01)}
    assert relative_error(other(to_onnx(graph, wrong), x)["logits"], want) > SAME_WEIGHTS


def test_outputs_of_two_heads_keep_their_names():
    s = Sketch((3, 8, 8))
    x = s.conv("conv", s.input, 4, kernel=3)
    graph = s.graph(s.act("left", x, "relu"), s.global_pool("right", x))
    weights, x = random_weights(graph), np.ones((2, 3, 8, 8), np.float32)
    got, want = onnx_runtime(to_onnx(graph, weights), x), run(graph, weights, x)
    assert list(got) == ["left", "right"]
    assert all(relative_error(got[name], want[name]) <= SAME_WEIGHTS for name in want)


PLAIN = Preprocess((32, 48), "stretch", scale=1.0)  # pixels as they are
SYMMETRIC = replace(UNEVEN, scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("preprocess", [UNEVEN, replace(UNEVEN, channels="bgr"), SYMMETRIC, PLAIN])
@pytest.mark.parametrize("other", [onnx_runtime, onnx_evaluator])
def test_pixels_in_equal_floats_normalised_by_hand(graph, weights, preprocess, other):
    model = to_onnx(graph, weights, preprocess=preprocess)
    onnx.checker.check_model(model, full_check=True)
    batch = pixels()
    want = run(graph, weights, normalised(batch, preprocess))["classifier"]
    assert relative_error(other(model, batch)["logits"], want) <= SAME_WEIGHTS
    assert relative_error(other(model, batch[..., ::-1])["logits"], want) > SAME_WEIGHTS
    assert relative_error(other(model, batch ^ 1)["logits"], want) > SAME_WEIGHTS


def test_pixels_cost_three_small_nodes(graph, weights):
    model = onnx.load_from_string(to_onnx(graph, weights, preprocess=UNEVEN))
    assert [node.op_type for node in model.graph.node][:4] == ["Transpose", "Cast", "Sub", "Conv"]
    assert [shape_of(value) for value in model.graph.input] == [("pixels", onnx.TensorProto.UINT8, ["N", 32, 48, 3])]


def readers_of_pixels():
    """Networks whose first layer cannot, or can in two places, take the factor in."""
    for draw_first in (
        lambda s: s.depthwise("depthwise", s.input),
        lambda s: s.norm("norm", s.input),
        lambda s: s.sum("sum", s.conv("conv", s.input, 3, kernel=3), s.input),
        lambda s: s.concat("concat", s.conv("a", s.input, 4, kernel=3), s.conv("b", s.input, 2, bias=True)),
    ):
        s = Sketch((3, 32, 48))
        yield s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", draw_first(s))), 5))


@pytest.mark.parametrize("graph", list(readers_of_pixels()), ids=lambda graph: graph.nodes[0].name)
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_pixels_before_any_first_layer(graph, channels):
    weights, preprocess, batch = random_weights(graph, 1), replace(UNEVEN, channels=channels), pixels()
    model = to_onnx(graph, weights, preprocess=preprocess)
    onnx.checker.check_model(model, full_check=True)
    want = run(graph, weights, normalised(batch, preprocess))["classifier"]
    got = onnx_runtime(model, batch)["logits"]
    assert relative_error(got, want) <= SAME_WEIGHTS
    assert relative_error(onnx_runtime(model, batch[..., ::-1])["logits"], want) > SAME_WEIGHTS


def test_pixels_of_another_size_or_for_another_number_of_channels_are_refused(graph, weights):
    with pytest.raises(GraphError, match=r"the network's input \(3, 32, 48\), got \(3, 48, 32\)"):
        to_onnx(graph, weights, preprocess=replace(UNEVEN, size=(48, 32)))
    s = Sketch((1, 32, 48))
    grey = s.graph(s.conv("conv", s.input, 2))
    with pytest.raises(GraphError, match=r"the network's input \(1, 32, 48\)"):
        to_onnx(grey, random_weights(grey), preprocess=UNEVEN)


def test_weights_that_do_not_fit_are_refused(graph, weights):
    with pytest.raises(WeightsError, match=r"1 left over \(extra\)"):
        to_onnx(graph, {**weights, "extra": weights["stem.conv.weight"]})


def test_neither_graph_nor_weights_change(graph, weights):
    digest, before = graph.digest, {name: value.copy() for name, value in weights.items()}
    to_onnx(graph, weights, preprocess=replace(UNEVEN, channels="bgr"))
    assert graph.digest == digest
    assert all((weights[name] == value).all() for name, value in before.items())


def test_the_same_network_gives_the_same_bytes(graph, weights):
    assert to_onnx(graph, weights, preprocess=UNEVEN) == to_onnx(graph, weights, preprocess=UNEVEN)


def test_tensors_are_copied_once():
    big = np.zeros(2**20, np.float32)
    tracemalloc.start()
    file = OnnxFile("test")
    file.tensor("big", big)
    assert len(file.to_bytes(producer="", version="", metadata={})) > big.nbytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * big.nbytes
