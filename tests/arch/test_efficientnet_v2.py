"""Fused stages, the rounding of widths, and the authors' tables; MnasNet's stages beside them."""

from __future__ import annotations

import pytest

from eyespot.arch.blocks import Style, fused_inverted_residual, sketch
from eyespot.arch.catalogue import draw
from eyespot.core import ops
from eyespot.core.graph import Graph


def blocks(graph: Graph, last: str) -> list[int]:
    """Blocks per stage, counted by a layer that each has."""
    found = [n.name.split(".")[0] for n in graph.nodes if n.name.endswith(last)]
    return [found.count(stage) for stage in dict.fromkeys(found)]


def test_a_fused_block_is_one_full_convolution_and_a_projection():
    s = sketch(8, "same")
    x = s.conv("in", s.input, 4)
    x = fused_inverted_residual(s, "a", x, 4, Style("silu"), expanded=16, drop_path=0.1)
    graph = s.graph(fused_inverted_residual(s, "b", x, 6, Style("silu"), expanded=16, stride=2))
    assert [n.name for n in graph.nodes][1:] == [
        "a.expand.conv", "a.expand.norm", "a.expand.act", "a.project.conv", "a.project.norm", "a.drop_path", "a.add",
        "b.expand.conv", "b.expand.norm", "b.expand.act", "b.project.conv", "b.project.norm",
    ]  # fmt: skip
    assert graph.by_name["b.expand.conv"].op == ops.Conv2d(16, (3, 3), (2, 2), (0, 0, 1, 1))


def test_a_fused_block_without_expansion_is_activated():
    s = sketch(8, "symmetric")
    graph = s.graph(fused_inverted_residual(s, "a", s.input, 3, Style("silu"), expanded=3))
    assert [n.name for n in graph.nodes] == ["a.spatial.conv", "a.spatial.norm", "a.spatial.act", "a.add"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("efficientnet_v2_s", [2, 4, 4, 6, 9, 15]),
        ("efficientnet_v2_m", [3, 5, 5, 7, 14, 18, 5]),
        ("efficientnet_v2_l", [4, 7, 7, 10, 19, 25, 7]),
        ("efficientnet_v2_b0", [1, 2, 2, 3, 5, 8]),
        ("efficientnet_v2_b3", [2, 3, 3, 5, 7, 12]),
    ],
)
def test_depths(name, counts):
    graph = draw(name)
    assert blocks(graph, ".spatial.norm") + blocks(graph, ".project.norm") == counts


def test_three_stages_are_fused_and_the_others_gated():
    graph = draw("efficientnet_v2_s")
    assert {n.name.split(".")[0] for n in graph.nodes if n.name.endswith(".depthwise.conv")} == {
        "stage4", "stage5", "stage6",
    }  # fmt: skip
    assert graph.by_name["stage4.block1.squeeze_excite.reduce"].op.channels == 64 // 4


def test_widths_are_rounded_even_where_that_loses_a_tenth():
    graph = draw("efficientnet_v2_b3")
    assert graph.shape("stage1.block1.spatial.act")[0] == 16  # 16 · 1.2 = 19.2, which V1 would round to 24
    assert graph.shape("stem.act")[0] == 40
    assert graph.shape("head.act")[0] == 1536


def test_mnasnet_has_the_papers_stages_and_an_unscaled_head():
    graph = draw("mnasnet_1.0")
    assert blocks(graph, ".depthwise.conv") == [1, 3, 3, 3, 2, 4, 1]
    kernels = [graph.by_name[f"stage{i}.block1.depthwise.conv"].op.kernel[0] for i in range(1, 8)]
    assert kernels == [3, 3, 5, 5, 3, 5, 3]
    assert {draw(f"mnasnet_{w}").shape("head.act")[0] for w in ("0.5", "0.75", "1.0", "1.3")} == {1280}
    assert not any(isinstance(n.op, ops.Mul) for n in graph.nodes)
