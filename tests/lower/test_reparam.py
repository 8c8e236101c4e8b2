"""Re-parameterising changes the network's branches and not what it computes."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.core import ops
from eyespot.core.cost import cost
from eyespot.core.graph import INPUT
from eyespot.core.sketch import Sketch
from eyespot.errors import WeightsError
from eyespot.lower.fold import fold, fold_graph
from eyespot.lower.onnx import to_onnx
from eyespot.lower.reference import run
from eyespot.lower.reparam import reparam, reparam_graph
from eyespot.lower.tensors import check, random_weights
from lowered import onnx_runtime
from tolerances import SAME_WEIGHTS, relative_error


def names(graph):
    return [node.name for node in graph.nodes]


def same_function(graph):
    """Re-parameterises; outputs must agree, and disagree when one merged tensor is off by a percent."""
    weights = random_weights(graph, 1)
    before = {name: value.copy() for name, value in weights.items()}
    merged, tensors = reparam(graph, weights)
    assert merged == reparam_graph(graph)
    check(merged, tensors)
    assert all((weights[name] == value).all() for name, value in before.items()), "the caller's weights changed"
    x = np.random.default_rng(2).normal(size=(3, *graph.input)).astype(np.float32)
    want = list(run(graph, weights, x).values())
    for a, b in zip(run(merged, tensors, x).values(), want, strict=True):
        assert relative_error(a, b) <= SAME_WEIGHTS
    name = next(iter(tensors))
    off = next(iter(run(merged, {**tensors, name: tensors[name] * np.float32(1.01)}, x).values()))
    assert relative_error(off, want[0]) > SAME_WEIGHTS
    return merged


def test_repvgg_becomes_a_plain_stack_of_3x3_convolutions():
    graph = draw("repvgg_a0", {"size": 32, "classes": 10})
    merged = same_function(graph)
    convolutions = [node for node in merged.nodes if isinstance(node.op, ops.Conv2d)]
    assert len(convolutions) == 1 + 2 + 4 + 14 + 1
    assert {node.op.kernel for node in convolutions} == {(3, 3)}
    kinds = [node.op.kind for node in merged.nodes]
    assert kinds == ["conv2d", "activation"] * len(convolutions) + ["global_avg_pool", "flatten", "linear"]
    assert merged.taps == {2 ** (i + 1): f"{block}.act" for i, block in enumerate(
        ("stem", "stage1.block2", "stage2.block4", "stage3.block14", "stage4.block1"))}  # fmt: skip
    assert merged.by_name["stage1.block2.spatial1.conv"].inputs == ("stage1.block1.act",)


@pytest.mark.parametrize("name", ["mobileone_s0", "mobileone_s4"])
def test_mobileone_becomes_depthwise_separable_convolutions(name):
    merged = same_function(draw(name, {"size": 32, "classes": 10}))
    convolutions = [n for n in merged.nodes if isinstance(n.op, ops.Conv2d) and "squeeze" not in n.name]
    assert [node.op.kernel for node in convolutions] == [(3, 3), *[(3, 3), (1, 1)] * 21]
    assert not any(isinstance(node.op, ops.Add | ops.BatchNorm) for node in merged.nodes)
    assert sum(isinstance(node.op, ops.Mul) for node in merged.nodes) == (12 if name.endswith("s4") else 0)


def test_the_onnx_file_has_one_branch():
    graph = draw("mobileone_s0", {"size": 32, "classes": 10})
    weights = random_weights(graph, 3)
    model = to_onnx(graph, weights)
    x = np.random.default_rng(4).normal(size=(2, *graph.input)).astype(np.float32)
    assert relative_error(onnx_runtime(model, x)["logits"], run(graph, weights, x)["classifier"]) <= SAME_WEIGHTS
    stored = cost(reparam_graph(graph)).parameters * 4
    assert stored < len(model) < stored * 1.1


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35", "resnet18", "resnet20_cifar", "squeezenet_1.1"])
def test_a_network_without_branches_is_only_folded(name):
    graph = draw(name, {"size": 64})
    assert reparam_graph(graph) == fold_graph(graph)
    weights = random_weights(graph, 1)
    want = fold(graph, weights)[1]
    assert all((want[name] == value).all() for name, value in reparam(graph, weights)[1].items())


def test_kernels_of_every_kind_inside_the_largest():
    """An asymmetric convolution block (1908.03930), a bias, the map itself twice, and a norm of it."""
    s = Sketch((6, 7, 9))
    x = s.act("act", s.input, "relu")
    square = s.norm("square.norm", s.conv("square", x, 6, kernel=(3, 5)))
    row = s.norm("row.norm", s.conv("row", x, 6, kernel=(1, 5)))
    column = s.conv("column", x, 6, kernel=(3, 1), bias=True)
    graph = s.graph(s.sum("sum", x, row, column, s.norm("norm", x), square, s.conv("point", x, 6), x))
    merged = same_function(graph)
    assert names(merged) == ["act", "square"]
    assert merged.by_name["square"].op == ops.Conv2d(6, (3, 5), padding=(1, 2, 1, 2), bias=True)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_strides_and_paddings(padding, size):
    """'same' pads nothing before a 3×3 of stride 2 on an even side, so that a 1×1 lies in its corner."""
    s = Sketch((4, *size), padding=padding)
    inner = s.conv("inner", s.input, 8, stride=2, groups=2)
    outer = s.conv("outer", s.input, 8, kernel=3, stride=2, groups=2)
    assert names(same_function(s.graph(s.sum("sum", inner, outer)))) == ["outer"]


def test_dilated_kernels_lie_on_each_others_points():
    s = Sketch((4, 12, 12))
    wide = s.conv("wide", s.input, 4, kernel=5, dilation=2, groups=4)
    narrow = s.conv("narrow", s.input, 4, kernel=3, dilation=2, groups=4)
    dense = s.conv("dense", s.input, 4, kernel=3, groups=4)
    merged = same_function(s.graph(s.sum("sum", s.input, dense, narrow, wide)))
    assert names(merged) == ["wide", "dense", "sum"]
    assert merged.by_name["sum"].inputs == ("dense", "wide")


def test_sums_of_sums():
    s = Sketch((4, 6, 6))
    inner = s.sum("inner", s.conv("a", s.input, 4, kernel=3), s.norm("norm", s.input))
    outer = s.sum("outer", s.conv("b", s.input, 4), inner, s.input)
    merged = same_function(s.graph(s.act("act", outer, "relu")))
    assert names(merged) == ["a", "act"]


def test_taps_and_outputs_of_a_sum_follow_it():
    s = Sketch((4, 6, 6))
    x = s.tap(1, s.sum("sum", s.conv("a", s.input, 4, kernel=3), s.conv("b", s.input, 4)))
    merged = same_function(s.graph(x))
    assert (merged.outputs, merged.taps) == (("a",), {1: "a"})


def test_what_else_is_read_or_reads_something_else_stays():
    s = Sketch((4, 6, 6))
    shared = s.conv("shared", s.input, 4, kernel=3)
    tapped = s.tap(1, s.conv("tapped", s.input, 4))
    later = s.conv("later", s.act("act", s.input, "relu"), 4)
    grouped = s.conv("grouped", s.input, 4, kernel=3, groups=2)
    strided = s.norm("norm", s.max_pool("pool", s.input, kernel=3, stride=1))
    total = s.sum("sum", shared, tapped, later, grouped, strided)
    graph = s.graph(total, s.act("again", shared, "relu"))
    assert names(same_function(graph)) == names(graph)


def test_a_stretched_map_is_no_branch():
    s = Sketch((4, 1, 1))
    graph = s.graph(s.sum("sum", s.input, s.conv("conv", s.input, 4, padding=(1, 1, 1, 1))))
    assert names(same_function(graph)) == ["conv", "sum"]


def test_a_residual_without_an_activation_is_one_convolution():
    s = Sketch((4, 6, 6))
    x = s.norm("norm", s.conv("conv", s.input, 4, kernel=3))
    merged = same_function(s.graph(s.sum("sum", s.input, s.drop_path("drop", x, 0.1))))
    assert merged.nodes[0].inputs == (INPUT,)
    assert names(merged) == ["conv"]


def test_refuses_weights_that_do_not_fit():
    with pytest.raises(WeightsError, match="missing"):
        reparam(draw("mobileone_s0", {"size": 32}), {})


def test_sums_in_float64_and_rounds_once():
    s = Sketch((1, 1, 1))
    graph = s.graph(s.sum("sum", s.conv("a", s.input, 1), s.conv("b", s.input, 1), s.conv("c", s.input, 1)))
    values = (np.float32(1e8), np.float32(1.25), np.float32(-1e8))
    weights = {f"{n}.weight": np.full((1, 1, 1, 1), v) for n, v in zip("abc", values, strict=True)}
    assert reparam(graph, weights)[1]["a.weight"].item() == 1.25
