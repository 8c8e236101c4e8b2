"""The shared blocks, one at a time."""

from __future__ import annotations

import pytest

from eyespot.arch.blocks import (
    Squeeze,
    Style,
    depthwise_separable,
    inverted_residual,
    pick,
    round_channels,
    sketch,
    squeeze_excite,
    zero_padding,
)
from eyespot.core import ops
from eyespot.core.sketch import Map, Sketch
from eyespot.errors import UsageError


def names(s: Sketch, x: Map) -> list[str]:
    return [n.name for n in s.graph(x).nodes]


@pytest.mark.parametrize(
    ("wanted", "rounded"),
    [(32, 32), (1, 8), (11.2, 16), (12, 16), (18, 24), (33.6, 32), (35, 32), (36, 40), (60, 64), (147.2, 144)],
)
def test_round_channels(wanted, rounded):
    """11.2 and 18 would round to 8 and 16, but these are less than 90 % of them."""
    assert round_channels(wanted) == rounded


def test_round_channels_that_may_lose_a_tenth():
    assert [round_channels(n, least=0.0) for n in (1, 11.2, 18, 19.2, 20)] == [8, 8, 16, 16, 24]


def test_an_inverted_residual_adds_its_input_only_where_shapes_meet():
    s = sketch(32, "symmetric")
    stem = s.conv("stem", s.input, 16)
    same = inverted_residual(s, "a", stem, 16, Style("relu6"), expanded=96)
    assert same.name == "a.add"
    assert inverted_residual(s, "b", same, 16, Style("relu6"), expanded=96, stride=2).name == "b.project.norm"
    assert inverted_residual(s, "c", same, 24, Style("relu6"), expanded=96).name == "c.project.norm"


def test_an_inverted_residual_that_does_not_expand_has_no_expansion():
    s = sketch(32, "symmetric")
    x = inverted_residual(s, "a", s.input, 8, Style("relu6"), expanded=3)
    assert names(s, x) == [
        "a.depthwise.conv", "a.depthwise.norm", "a.depthwise.act", "a.project.conv", "a.project.norm",
    ]  # fmt: skip


def test_squeeze_excite_and_drop_path_have_their_places():
    s = sketch(32, "symmetric")
    x = inverted_residual(
        s, "a", s.input, 3, Style("silu"), expanded=12, squeeze=Squeeze(2, "silu", "sigmoid"), drop_path=0.1
    )
    assert names(s, x) == [
        "a.expand.conv", "a.expand.norm", "a.expand.act", "a.depthwise.conv", "a.depthwise.norm", "a.depthwise.act",
        "a.squeeze_excite.pool", "a.squeeze_excite.reduce", "a.squeeze_excite.act", "a.squeeze_excite.expand",
        "a.squeeze_excite.gate", "a.squeeze_excite.scale", "a.project.conv", "a.project.norm", "a.drop_path", "a.add",
    ]  # fmt: skip
    graph = s.graph(x)
    assert graph.shape("a.squeeze_excite.reduce") == (2, 1, 1)
    assert graph.by_name["a.squeeze_excite.scale"].inputs == ("a.depthwise.act", "a.squeeze_excite.gate")
    assert graph.by_name["a.add"].inputs == ("input", "a.drop_path")


def test_a_gate_keeps_the_shape():
    s = sketch(8, "symmetric")
    assert squeeze_excite(s, s.input, Squeeze(1, "relu", "hard_sigmoid")).shape == (3, 8, 8)


def test_a_separable_block_strides_in_its_depthwise_half():
    s = sketch(8, "same")
    graph = s.graph(depthwise_separable(s, "a", s.input, 6, Style(), stride=2))
    assert graph.by_name["a.depthwise.conv"].op == ops.Conv2d(3, (3, 3), (2, 2), (0, 0, 1, 1), groups=3)
    assert graph.by_name["a.pointwise.conv"].op == ops.Conv2d(6)


def test_a_shortcut_of_zeros_has_no_parameters_and_pads_both_sides():
    s = sketch(9, "symmetric")
    x = zero_padding(s, s.input, 8, Style(), 2)
    graph = s.graph(x)
    assert x.shape == (8, 5, 5)
    assert not graph.parameters
    assert graph.by_name["shortcut.pad"].op == ops.PadChannels(before=2, after=3)


def test_pick_says_the_legal_values():
    assert pick({"a": 1}, "a", "letter") == 1
    with pytest.raises(UsageError, match="letter 'b' is not one of a, c"):
        pick({"a": 1, "c": 2}, "b", "letter")
