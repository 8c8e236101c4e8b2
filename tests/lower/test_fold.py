"""Folding changes the network's nodes and not what it computes."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.core import ops
from eyespot.core.graph import INPUT
from eyespot.core.sketch import Sketch
from eyespot.errors import WeightsError
from eyespot.lower.fold import fold, fold_graph
from eyespot.lower.reference import run
from eyespot.lower.tensors import check, random_weights
from tolerances import SAME_WEIGHTS, relative_error


def names(graph):
    return [node.name for node in graph.nodes]


def same_function(graph):
    """Folds; the outputs must agree, and disagree when one folded tensor is off by a percent."""
    weights = random_weights(graph, 1)
    before = {name: value.copy() for name, value in weights.items()}
    folded, tensors = fold(graph, weights)
    assert folded == fold_graph(graph)
    check(folded, tensors)
    assert all((weights[name] == value).all() for name, value in before.items()), "the caller's weights changed"
    x = np.random.default_rng(2).normal(size=(3, *graph.input)).astype(np.float32)
    want = list(run(graph, weights, x).values())
    got = list(run(folded, tensors, x).values())
    for a, b in zip(got, want, strict=True):
        assert relative_error(a, b) <= SAME_WEIGHTS
    name = next(iter(tensors))
    off = list(run(folded, {**tensors, name: tensors[name] * np.float32(1.01)}, x).values())
    assert relative_error(off[0], want[0]) > SAME_WEIGHTS
    return folded


def test_a_whole_network():
    graph = draw("mobilenet_v2_0.35", {"size": 32, "classes": 10, "eps": 1e-3})
    folded = same_function(graph)
    kinds = {node.op.kind for node in folded.nodes}
    assert not kinds & {"batch_norm", "dropout", "drop_path"}
    assert all(node.op.bias for node in folded.nodes if isinstance(node.op, ops.Conv2d))
    assert folded.by_name["stem.act"].inputs == ("stem.conv",)
    assert folded.outputs == graph.outputs == ("classifier",)


def test_taps_follow_the_norm_to_its_convolution():
    graph = draw("mobilenet_v2_0.35", {"size": 32})
    folded = fold_graph(graph)
    assert folded.taps.keys() == graph.taps.keys()
    moved = {stride: (graph.taps[stride], folded.taps[stride]) for stride in graph.taps}
    for before, after in moved.values():
        assert after in (before, before.removesuffix("norm") + "conv")
    assert any(before != after for before, after in moved.values())


def test_what_is_folded_already_stays_as_it_is():
    graph = fold_graph(draw("mobilenet_v2_0.35", {"size": 32}))
    assert fold_graph(graph) == graph


def test_a_layers_own_bias_a_linear_layer_and_a_transposed_convolution():
    s = Sketch((3, 6, 6))
    x = s.norm("norm1", s.conv("conv", s.input, 4, kernel=3, groups=1, bias=True))
    x = s.norm("norm2", s.conv_transpose("up", s.act("act", x, "relu"), 5))
    x = s.norm("norm3", s.linear("linear", s.flatten("flatten", x), 7, bias=False))
    assert names(same_function(s.graph(x))) == ["conv", "act", "up", "flatten", "linear"]


def test_norm_after_norm_and_dropout_between():
    s = Sketch((3, 6, 6))
    x = s.dropout("dropout", s.conv("conv", s.input, 4, kernel=3), 0.1)
    x = s.dropout("last", s.norm("norm2", s.norm("norm1", x)), 0.1)
    folded = same_function(s.graph(x))
    assert names(folded) == ["conv"]
    assert folded.outputs == ("conv",)


def test_of_two_readers_of_a_norm_none_is_folded_with_it():
    s = Sketch((3, 6, 6))
    x = s.norm("norm1", s.conv("conv", s.input, 4, kernel=3))
    folded = same_function(s.graph(s.sum("sum", x, s.norm("norm2", x))))
    assert names(folded) == ["conv", "norm2", "sum"]


def test_dropped_paths_of_a_sum():
    s = Sketch((4, 6, 6))
    x = s.drop_path("drop", s.norm("norm", s.conv("conv", s.input, 4, kernel=3)), 0.2)
    folded = same_function(s.graph(s.sum("sum", s.input, x)))
    assert folded.by_name["sum"].inputs == (INPUT, "conv")


def test_a_factor_goes_into_the_layer_before_it():
    s = Sketch((3, 6, 6))
    x = s.scale("scale1", s.conv("unbiased", s.input, 4, kernel=3), 0.1)
    x = s.scale("scale2", s.norm("norm", s.conv("conv", s.act("act", x, "relu"), 4, bias=True)), -3.0)
    x = s.scale("scale3", s.linear("linear", s.flatten("flatten", x), 5), 0.5)
    folded = same_function(s.graph(s.scale("one", x, 1.0)))
    assert names(folded) == ["unbiased", "act", "conv", "flatten", "linear"]
    assert "unbiased.bias" not in folded.parameters


def test_a_factor_stays_where_folding_would_change_something_else():
    s = Sketch((3, 6, 6))
    x = s.conv("conv", s.input, 3)
    graph = s.graph(s.scale("scale2", s.sum("sum", x, s.scale("scale1", x, 0.2)), 2.0))
    assert names(same_function(graph)) == ["conv", "scale1", "sum", "scale2"]


def test_a_norm_stays_where_folding_would_change_something_else():
    s = Sketch((4, 6, 6))
    first = s.norm("of_input", s.input)
    after_act = s.norm("after_act", s.act("act", first, "relu"))
    twice = s.conv("twice", after_act, 4)
    shared = s.norm("shared", twice)
    tapped = s.tap(1, s.conv("tapped", s.sum("sum", twice, shared), 4))
    output = s.conv("output", s.norm("of_tapped", tapped), 4)
    graph = s.graph(s.norm("of_output", output), output)
    folded = same_function(graph)
    assert names(folded) == names(graph)


def test_train_only_nodes_go():
    s = Sketch((3, 6, 6))
    x = s.conv("conv", s.input, 4)
    with s.train_only():
        helper = s.conv("helper", x, 2)
    graph = s.graph(s.norm("norm", x), helper)
    assert names(same_function(graph.inference())) == ["conv"]
    assert names(fold(graph, random_weights(graph))[0]) == ["conv"]


def test_refuses_weights_that_do_not_fit():
    graph = draw("mobilenet_v2_0.35", {"size": 32})
    with pytest.raises(WeightsError, match="missing"):
        fold(graph, {})


def test_folds_in_float64_and_rounds_once():
    s = Sketch((4, 1, 1))
    graph = s.graph(s.norm("norm", s.conv("conv", s.input, 64, bias=True), eps=1e-3))
    weights = random_weights(graph, 1)
    _, folded = fold(graph, weights)
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    scale = exact["norm.weight"] / np.sqrt(exact["norm.running_var"] + 1e-3)
    weight = exact["conv.weight"] * scale[:, None, None, None]
    bias = (exact["conv.bias"] - exact["norm.running_mean"]) * scale + exact["norm.bias"]
    assert (folded["conv.weight"] == weight.astype(np.float32)).all()
    assert (folded["conv.bias"] == bias.astype(np.float32)).all()
