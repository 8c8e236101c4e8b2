"""Compound scaling, and what Lite leaves out."""

from __future__ import annotations

import pytest

from eyespot.arch.catalogue import draw
from eyespot.core import ops


def blocks(name: str) -> list[int]:
    """Blocks per stage."""
    convs = [n.name for n in draw(name).nodes if n.name.endswith(".depthwise.conv")]
    return [sum(c.startswith(f"stage{i}.") for c in convs) for i in range(1, 8)]


def test_depth_scales_every_stage_of_b_but_not_the_ends_of_lite():
    assert blocks("efficientnet_b0") == [1, 2, 2, 3, 3, 4, 1]
    assert blocks("efficientnet_b4") == [2, 4, 4, 6, 6, 8, 2]
    assert blocks("efficientnet_lite4") == [1, 4, 4, 6, 6, 8, 1]


def test_width_scales_stem_and_head_of_b_but_not_of_lite():
    b4, lite4 = draw("efficientnet_b4"), draw("efficientnet_lite4")
    assert (b4.shape("stem.act")[0], b4.shape("head.act")[0]) == (48, 1792)
    assert (lite4.shape("stem.act")[0], lite4.shape("head.act")[0]) == (32, 1280)


def test_lite_has_relu6_and_no_gates():
    graph = draw("efficientnet_lite0")
    assert {n.op.function for n in graph.nodes if isinstance(n.op, ops.Activation)} == {"relu6"}
    assert not any(isinstance(n.op, ops.Mul) for n in graph.nodes)


def test_b_squeezes_a_quarter_of_the_blocks_input():
    graph = draw("efficientnet_b0")
    assert graph.by_name["stage1.block1.squeeze_excite.reduce"].op.channels == 32 // 4
    assert graph.by_name["stage2.block1.squeeze_excite.reduce"].op.channels == 16 // 4
    assert graph.by_name["stage2.block1.squeeze_excite.act"].op.function == "silu"
    assert graph.by_name["stage2.block1.squeeze_excite.gate"].op.function == "sigmoid"


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite3"])
def test_drop_path_grows_linearly_with_the_block(name):
    order = [n.name.removesuffix(".depthwise.conv") for n in draw(name).nodes if n.name.endswith(".depthwise.conv")]
    rates = {n.name.removesuffix(".drop_path"): n.op.rate for n in draw(name).nodes if n.name.endswith(".drop_path")}
    assert rates == {block: 0.2 * order.index(block) / len(order) for block in rates}
    assert all(rate > 0 for rate in rates.values())
    assert not any(isinstance(n.op, ops.DropPath) for n in draw(name, {"drop_path": 0.0}).nodes)


def test_each_variant_has_its_resolution():
    sizes = [draw(f"efficientnet_b{i}").input[1] for i in range(8)]
    assert sizes == [224, 240, 260, 300, 380, 456, 528, 600]
    assert [draw(f"efficientnet_lite{i}").input[1] for i in range(5)] == [224, 240, 260, 280, 300]
