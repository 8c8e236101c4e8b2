"""ShuffleNet V1's grouped units and V2's split ones, and both papers' tables."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.blocks import Style, sketch
from eyespot.arch.catalogue import draw
from eyespot.arch.shufflenet_v1 import shuffle_unit
from eyespot.arch.shufflenet_v2 import shuffle_downsample, shuffle_split
from eyespot.core import ops
from eyespot.core.graph import Graph
from eyespot.errors import UsageError
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights


def stages(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.shape(graph.taps[stride]) for stride in (4, 8, 16, 32)]


@pytest.mark.parametrize(("groups", "channels"), [(1, 144), (2, 200), (3, 240), (4, 272), (8, 384)])
def test_v1_is_the_papers_table(groups, channels):
    graph = draw(f"shufflenet_v1_1.0_g{groups}")
    assert stages(graph) == [(24, 56, 56), (channels, 28, 28), (2 * channels, 14, 14), (4 * channels, 7, 7)]
    assert sum(n.name.endswith(".depthwise.conv") for n in graph.nodes) == 16


def test_every_pointwise_layer_of_v1_is_grouped_but_the_first():
    graph = draw("shufflenet_v1_1.0_g3")
    pointwise = [n for n in graph.nodes if n.name.endswith((".reduce.conv", ".expand.conv"))]
    ungrouped = [n.name for n in pointwise if n.op.groups != 3]
    assert ungrouped == ["stage2.block1.reduce.conv"]
    assert all(graph.shape(n.name)[0] % 3 == 0 for n in pointwise)
    assert not any(isinstance(n.op, ops.Shuffle) for n in draw("shufflenet_v1_1.0_g1").nodes)


def test_a_v1_unit_adds_its_input_or_joins_its_mean():
    s = sketch(8, "symmetric")
    x = s.conv("in", s.input, 24)
    joined = shuffle_unit(s, "down", x, 60, Style(), groups=3, stride=2)
    added = shuffle_unit(s, "same", joined, 60, Style(), groups=3)
    graph = s.graph(added)
    assert graph.by_name["down.expand.conv"].op.channels == 60 - 24
    assert graph.by_name["down.concat"].inputs == ("down.shortcut.pool", "down.expand.norm")
    assert graph.by_name["same.add"].inputs == ("down.act", "same.expand.norm")
    assert graph.by_name["same.shuffle"].inputs == ("same.reduce.act",)


def test_other_peoples_orders_of_channels():
    """mmpretrain shuffles later, pytorchcv puts the mean last; nothing else changes."""
    usual, later, last = (
        draw("shufflenet_v1_1.0_g3", more) for more in ({}, {"shuffle_behind": "depthwise"}, {"shortcut_first": False})
    )
    assert usual.parameters == later.parameters == last.parameters
    assert later.by_name["stage2.block1.shuffle"].inputs == ("stage2.block1.depthwise.norm",)
    assert last.by_name["stage3.block1.concat"].inputs == ("stage3.block1.expand.norm", "stage3.block1.shortcut.pool")
    with pytest.raises(UsageError, match=r"shuffle_behind 'expand' is not one of reduce, depthwise"):
        draw("shufflenet_v1_1.0_g3", {"shuffle_behind": "expand"})


@pytest.mark.parametrize(("padding", "corner"), [("symmetric", 4 / 9), ("same", 1.0)])
def test_the_mean_at_the_corner_counts_padding_as_the_framework_does(padding, corner):
    s = sketch(8, padding)
    graph = s.graph(shuffle_unit(s, "a", s.input, 15, Style(), groups=1, stride=2))
    ones = np.ones((1, 3, 8, 8), np.float32)
    pooled = run(graph, random_weights(graph, 0), ones, keep=("a.shortcut.pool",))["a.shortcut.pool"]
    # TensorFlow's padding of an even map is at the bottom and right, and does not count.
    np.testing.assert_allclose(pooled[0, :, 0, 0], corner, rtol=1e-6)


@pytest.mark.parametrize("width", ["0.5", "1.0", "1.5", "2.0"])
def test_v2_is_the_papers_table(width):
    graph = draw(f"shufflenet_v2_{width}")
    two, three, four = {
        "0.5": (48, 96, 192), "1.0": (116, 232, 464), "1.5": (176, 352, 704), "2.0": (244, 488, 976),
    }[width]  # fmt: skip
    assert stages(graph) == [(24, 56, 56), (two, 28, 28), (three, 14, 14), (four, 7, 7)]
    assert graph.shape("head.act") == (2048 if width == "2.0" else 1024, 7, 7)


def test_a_split_unit_passes_half_of_its_channels_untouched():
    s = sketch(4, "symmetric")
    x = s.conv("in", s.input, 12)
    graph = s.graph(shuffle_split(s, "a", x, Style()))
    weights = random_weights(graph, 0)
    picture = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
    values = run(graph, weights, picture, keep=("in", "a.shuffle"))
    np.testing.assert_array_equal(values["a.shuffle"][:, 0::2], values["in"][:, :6])
    assert not np.isin(values["a.shuffle"][:, 1::2], values["in"]).any()


def test_a_downsampling_unit_sees_its_whole_input_twice():
    s = sketch(8, "symmetric")
    graph = s.graph(shuffle_downsample(s, "a", s.input, 10, Style()))
    readers = [n.name for n in graph.nodes if "input" in n.inputs]
    assert readers == ["a.shortcut.depthwise.conv", "a.first.conv"]
    assert graph.shape("a.shuffle") == (10, 4, 4)


def test_other_columns_are_refused():
    with pytest.raises(UsageError, match="groups 5 is not one of 1, 2, 3, 4, 8"):
        draw("shufflenet_v1_1.0_g3", {"groups": 5})
    with pytest.raises(UsageError, match=r"width 0\.7 is not one of 0\.5, 1\.0, 1\.5, 2\.0"):
        draw("shufflenet_v2_1.0", {"width": 0.7})
