"""Ghost modules and bottlenecks, and the paper's table."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.blocks import Style, sketch
from eyespot.arch.catalogue import draw
from eyespot.arch.ghostnet import ghost, ghost_bottleneck
from eyespot.core import ops
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights


@pytest.mark.parametrize("channels", [8, 7])
def test_half_of_a_ghost_module_is_what_the_other_half_is_made_of(channels):
    s = sketch(6, "symmetric")
    x = ghost(s, "a", s.input, channels, Style(None))
    assert x.shape == (channels, 6, 6)
    graph = s.graph(x)
    weights = random_weights(graph, 0)
    picture = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    values = run(graph, weights, picture, keep=(x.name, "a.primary.norm", "a.cheap.norm"))
    np.testing.assert_array_equal(values[x.name][:, :4], values["a.primary.norm"])
    np.testing.assert_array_equal(values[x.name][:, 4:], values["a.cheap.norm"][:, : channels - 4])


def test_a_bottleneck_is_depthwise_only_where_it_strides():
    s = sketch(8, "symmetric")
    x = s.conv("in", s.input, 4)
    same = ghost_bottleneck(s, "same", x, 4, Style(), expanded=8)
    wider = ghost_bottleneck(s, "wider", same, 6, Style(), expanded=8, kernel=5)
    graph = s.graph(ghost_bottleneck(s, "down", wider, 6, Style(), expanded=8, kernel=5, stride=2))
    names = set(graph.by_name)
    assert "down.depthwise.conv" in names
    assert not names & {"same.depthwise.conv", "wider.depthwise.conv", "same.shortcut.depthwise.conv"}
    assert graph.by_name["wider.shortcut.depthwise.conv"].op == ops.Conv2d(4, (5, 5), padding=(2, 2, 2, 2), groups=4)
    assert graph.by_name["down.shortcut.depthwise.conv"].op.stride == (2, 2)
    assert not any(name.endswith(".act") and ".project." in name for name in names), "the second module is linear"


def test_the_papers_shapes():
    graph = draw("ghostnet_1.0")
    assert [graph.shape(graph.taps[s]) for s in (2, 4, 8, 16, 32)] == [
        (16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14), (160, 7, 7),
    ]  # fmt: skip
    assert graph.shape("head.act") == (960, 7, 7)
    gates = [n.name.split(".")[0] for n in graph.nodes if n.name.endswith("squeeze_excite.gate")]
    assert gates == [f"block{i}" for i in (4, 5, 10, 11, 12, 14, 16)]


def test_channels_are_multiples_of_four_and_the_hidden_layer_is_never_scaled():
    for name in ("ghostnet_0.5", "ghostnet_1.3"):
        graph = draw(name)
        assert all(graph.shape(n.name)[0] % 4 == 0 for n in graph.nodes if n.name.endswith(".add"))
        assert graph.shape("hidden.linear") == (1280,)
