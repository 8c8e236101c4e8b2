"""The Inceptions' and Xception's geometry, their heads for training, and what sets them apart."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.blocks import Style, sketch
from eyespot.arch.catalogue import draw
from eyespot.arch.inception import AvgPool, Conv, MaxPool, Split, inception
from eyespot.core import ops
from eyespot.core.cost import cost, training_parameters
from eyespot.errors import GraphError
from eyespot.lower.fold import fold_graph
from eyespot.lower.onnx import to_onnx
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from lowered import onnx_runtime

ALL = ("inception_v1", "inception_v3", "inception_v4", "inception_resnet_v2", "xception")


def sides(name: str, **arguments: object) -> list[int]:
    graph = draw(name, arguments)
    return [graph.shape(tap)[1] for tap in graph.taps.values()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inception_v1", [112, 56, 28, 14, 7]),  # table 1
        ("inception_v3", [147, 71, 35, 17, 8]),  # table 1
        ("inception_v4", [147, 71, 35, 17, 8]),  # figures 3 and 9
        ("inception_resnet_v2", [147, 71, 35, 17, 8]),
        ("xception", [147, 74, 37, 19, 10]),  # figure 5
    ],
)
def test_maps_are_as_large_as_the_papers(name, expected):
    assert sides(name) == expected


def test_same_padding_aligns_every_map_with_the_picture():
    for name in ("inception_v3", "inception_v4", "inception_resnet_v2"):
        assert sides(name, padding="same", size=288) == [144, 72, 36, 18, 9]


def test_a_pool_of_googlenet_hangs_over_the_edge():
    """As under 'same' padding, while maps are even; of an odd one it leaves nothing out."""
    assert sides("inception_v1") == sides("inception_v1", padding="same")
    assert sides("inception_v1", size=225) == [113, 56, 28, 14, 7]
    assert sides("inception_v1", size=225, padding="same") == [113, 57, 29, 15, 8]


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4", "inception_resnet_v2"])
def test_75_pixels_are_the_least(name):
    assert sides(name, size=75)[-1] == 1
    with pytest.raises(GraphError, match="draw a larger input"):
        draw(name, {"size": 74})


def test_a_block_joins_the_ends_of_its_branches_in_their_order():
    s = sketch(9, "symmetric")
    rows = (
        (Conv(2),),
        (Conv(3), Split(Conv(4, kernel=(1, 3)), Conv(5, kernel=(3, 1)))),
        (AvgPool(), Conv(6)),
        (MaxPool(),),
    )
    graph = s.graph(inception(s, "a", s.input, rows, Style()))
    assert graph.by_name["a.concat"].inputs == (
        "a.branch1.layer1.act", "a.branch2.layer2a.act", "a.branch2.layer2b.act", "a.branch3.layer1.act",
        "a.branch4.pool",
    )  # fmt: skip
    assert graph.shape("a.concat") == (2 + 4 + 5 + 6 + 3, 9, 9)
    assert graph.by_name["a.branch2.layer2a.conv"].op == ops.Conv2d(4, (1, 3), padding=(0, 1, 0, 1))


@pytest.mark.parametrize(("counts", "corner"), [(False, 1.0), (True, 4 / 9)])
def test_whether_means_count_the_padding(counts, corner):
    s = sketch(5, "symmetric")
    graph = s.graph(inception(s, "a", s.input, ((AvgPool(),),), Style(), count_padding=counts))
    got = run(graph, {}, np.ones((1, 3, 5, 5), np.float32))["a.concat"]
    assert got[0, 0, 0, 0] == np.float32(corner)
    assert got[0, 0, 2, 2] == 1


@pytest.mark.parametrize(("name", "heads"), [("inception_v1", ["aux1", "aux2"]), ("inception_v3", ["aux"])])
def test_auxiliary_heads_are_for_training_only(name, heads):
    graph = draw(name, {"classes": 5, "size": 75})
    assert graph.outputs == ("classifier", *(f"{head}.classifier" for head in heads))
    assert [graph.shape(output) for output in graph.outputs] == [(5,)] * (1 + len(heads))
    assert {node.name.split(".")[0] for node in graph.nodes if node.train_only} == set(heads)
    assert cost(graph) == cost(graph.inference())
    assert training_parameters(graph) > cost(graph).parameters
    assert fold_graph(graph) == fold_graph(graph.inference())
    weights = random_weights(graph)
    x = np.random.default_rng(0).normal(size=(1, *graph.input)).astype(np.float32)
    assert list(run(graph, weights, x)) == ["classifier"]
    assert list(onnx_runtime(to_onnx(graph, weights), x)) == ["logits"]


def test_auxiliary_heads_have_the_papers_windows():
    graph = draw("inception_v1")
    for head in ("aux1", "aux2"):
        assert graph.by_name[f"{head}.pool"].op == ops.AvgPool((5, 5), (3, 3), count_padding=True)
        assert graph.shape(f"{head}.flatten") == (2048,)
    graph = draw("inception_v3")
    assert [graph.shape(f"aux.{n}") for n in ("pool", "spatial.conv")] == [(768, 5, 5), (768, 1, 1)]


@pytest.mark.parametrize("size", [32, 64, 97, (160, 288)])
def test_googlenets_heads_share_out_any_map_in_four_by_four(size):
    graph = draw("inception_v1", {"size": size})
    for head in ("aux1", "aux2"):
        assert graph.shape(f"{head}.pool")[1:] == (4, 4)


def test_residuals_are_scaled_and_the_last_is_not():
    graph = draw("inception_resnet_v2")
    factors = [node.op.factor for node in graph.nodes if isinstance(node.op, ops.Scale)]
    assert factors == [0.17] * 10 + [0.1] * 20 + [0.2] * 9
    assert "stage3.block11.act" not in graph.by_name
    assert graph.by_name["head.conv"].inputs == ("stage3.block11.add",)
    folded = fold_graph(graph)
    assert not any(isinstance(node.op, ops.Scale | ops.BatchNorm) for node in folded.nodes)


def test_the_halves_of_a_separable_convolution_have_nothing_between_them():
    graph = draw("xception")
    halves = [node for node in graph.nodes if node.name.endswith("depthwise.conv")]
    assert len(halves) == 34  # the paper's 36 convolutional layers are these and the stem's two
    for node in halves:
        (reader,) = graph.readers()[node.name]
        assert reader.name == node.name.replace("depthwise", "pointwise")
    assert "block1.layer1.act" not in graph.by_name
    assert graph.by_name["block2.layer1.act"].inputs == ("block1.add",)


@pytest.mark.parametrize(("padding", "pool"), [("same", (0, 0, 1, 1)), ("symmetric", (1, 1, 1, 1))])
def test_xception_pads_its_pools_by_the_rule_and_its_stem_never(padding, pool):
    graph = draw("xception", {"padding": padding, "size": 149})  # 74 → 72 in the stem, then 36
    assert graph.by_name["stem.layer1.conv"].op.padding == (0, 0, 0, 0)
    assert graph.by_name["block1.pool"].op.padding == pool


@pytest.mark.parametrize("name", ALL)
def test_folding_leaves_no_batch_norm(name):
    assert not any(isinstance(node.op, ops.BatchNorm) for node in fold_graph(draw(name)).nodes)
