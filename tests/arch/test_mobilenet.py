"""What sets the three MobileNets apart."""

from __future__ import annotations

import pytest

from eyespot.arch.catalogue import draw
from eyespot.core import ops


def test_v2_in_the_papers_shapes():
    """Table 2 of 1801.04381: the input of each row, and its expansion."""
    graph = draw("mobilenet_v2_1.0")
    assert graph.shape("stem.act") == (32, 112, 112)
    assert graph.shape("stage1.block1.project.norm") == (16, 112, 112)
    assert graph.shape("stage2.block1.expand.conv") == (96, 112, 112)
    assert graph.shape("stage2.block2.add") == (24, 56, 56)
    assert graph.shape("stage3.block3.add") == (32, 28, 28)
    assert graph.shape("stage4.block4.add") == (64, 14, 14)
    assert graph.shape("stage5.block3.add") == (96, 14, 14)
    assert graph.shape("stage6.block3.add") == (160, 7, 7)
    assert graph.shape("stage7.block1.project.norm") == (320, 7, 7)
    assert graph.shape("head.act") == (1280, 7, 7)


def test_v2_narrows_its_last_convolution_for_no_width_below_one():
    assert draw("mobilenet_v2_0.35").shape("head.act")[0] == 1280
    assert draw("mobilenet_v2_1.4").shape("head.act")[0] == 1792


def test_same_padding_is_keras_padding_for_even_sizes():
    """Keras pads (0, 1) on both axes and then convolves without padding."""
    for name in ("mobilenet_v1_0.25", "mobilenet_v2_1.0"):
        graph = draw(name, {"padding": "same"})
        pads = {n.op.padding for n in graph.nodes if isinstance(n.op, ops.Conv2d) and n.op.stride == (2, 2)}
        assert pads == {(0, 0, 1, 1)}


def test_v1_ends_with_stride_one():
    graph = draw("mobilenet_v1_1.0")
    assert graph.by_name["block12.depthwise.conv"].op.stride == (2, 2)
    assert graph.by_name["block13.depthwise.conv"].op.stride == (1, 1)
    assert graph.shape("block13.pointwise.act") == (1024, 7, 7)


@pytest.mark.parametrize(
    ("name", "block", "reduced"),
    [("small_1.0", 1, 8), ("small_1.0", 4, 24), ("large_1.0", 4, 24), ("large_1.0", 15, 240), ("large_0.75", 4, 24)],
)
def test_v3_squeezes_a_quarter_of_the_expanded_channels(name, block, reduced):
    graph = draw(f"mobilenet_v3_{name}")
    scope = f"block{block}.squeeze_excite"
    assert graph.by_name[f"{scope}.reduce"].op.channels == reduced
    assert graph.by_name[f"{scope}.act"].op.function == "relu"
    assert graph.by_name[f"{scope}.gate"].op.function == "hard_sigmoid"


def test_v3_width_applies_to_the_expansion_ratio():
    """0.75 of 24 channels rounds to 24, so the block expands as far as at 1.0: 72 and 88, not 56 and 64."""
    wide, narrow = draw("mobilenet_v3_small_1.0"), draw("mobilenet_v3_small_0.75")
    assert narrow.shape("block3.expand.conv")[0] == wide.shape("block3.expand.conv")[0] == 88
    assert narrow.shape("block2.expand.conv")[0] == 72


def test_v3_head():
    small, large = draw("mobilenet_v3_small_1.0"), draw("mobilenet_v3_large_0.75")
    assert small.shape("head.act") == (576, 7, 7)
    assert small.shape("hidden.linear") == (1024,)
    assert large.shape("head.act") == (720, 7, 7)
    assert large.shape("hidden.linear") == (1280,)
    assert small.by_name["hidden.linear"].op.bias
    assert small.by_name["hidden.act"].op.function == "hard_swish"


def test_v3_minimalistic_has_plain_layers_only():
    for size in ("small", "large"):
        graph = draw(f"mobilenet_v3_{size}_minimalistic_1.0")
        assert {n.op.function for n in graph.nodes if isinstance(n.op, ops.Activation)} == {"relu"}
        assert {n.op.kernel for n in graph.nodes if isinstance(n.op, ops.Conv2d)} == {(1, 1), (3, 3)}
        assert not any(isinstance(n.op, ops.Mul) for n in graph.nodes)
