"""Networks that are trained with parallel branches, and MobileNetV4's block of many forms."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from eyespot.arch.blocks import Squeeze, Style
from eyespot.arch.branches import parallel_branches
from eyespot.arch.catalogue import draw
from eyespot.arch.mobilenet_v4 import universal_inverted_bottleneck
from eyespot.core import ops
from eyespot.core.cost import cost
from eyespot.core.sketch import Sketch
from eyespot.lower.reparam import reparam_graph

STYLE = Style("relu", 1e-5)


def branches(graph, add: str) -> list[str]:
    return [name.removeprefix("b.").partition(".")[0] for name in graph.by_name[add].inputs]


@pytest.mark.parametrize(
    ("channels", "keywords", "expected"),
    [
        (8, {}, ["skip", "scale", "spatial1"]),
        (8, {"stride": 2}, ["scale", "spatial1"]),
        (12, {"convolutions": 2}, ["scale", "spatial1", "spatial2"]),
        (8, {"kernel": 1, "convolutions": 4}, ["skip", "spatial1", "spatial2", "spatial3", "spatial4"]),
        (8, {"groups": 8}, ["skip", "scale", "spatial1"]),
    ],
)
def test_the_branches_are_those_that_the_shapes_allow(channels, keywords, expected):
    s = Sketch((8, 10, 10))
    graph = s.graph(parallel_branches(s, "b", s.input, channels, STYLE, **keywords))
    assert branches(graph, "b.add") == expected
    assert graph.by_name["b.act"].inputs == ("b.add",)
    assert len([n for n in graph.nodes if isinstance(n.op, ops.BatchNorm)]) == len(expected)


def test_one_branch_needs_no_sum_and_a_gate_comes_before_the_activation():
    s = Sketch((8, 10, 10))
    x = parallel_branches(s, "alone", s.input, 16, STYLE, kernel=1)
    graph = s.graph(parallel_branches(s, "gated", x, 16, STYLE, squeeze=Squeeze(4, "relu", "sigmoid")))
    assert "alone.add" not in graph.by_name
    assert graph.by_name["gated.squeeze_excite.scale"].inputs[0] == "gated.add"
    assert graph.by_name["gated.act"].inputs == ("gated.squeeze_excite.scale",)


@pytest.mark.parametrize(
    ("start", "middle", "steps"),
    [
        (3, 5, ["start", "expand", "depthwise", "project"]),
        (0, 5, ["expand", "depthwise", "project"]),
        (3, 0, ["start", "expand", "project"]),
        (0, 0, ["expand", "project"]),
    ],
)
def test_the_universal_block_has_four_forms(start, middle, steps):
    s = Sketch((8, 10, 10))
    graph = s.graph(
        universal_inverted_bottleneck(s, "b", s.input, 8, STYLE, expanded=32, start=start, middle=middle, drop_path=0.1)
    )
    convolutions = {n.name.split(".")[1]: n.op for n in graph.nodes if isinstance(n.op, ops.Conv2d)}
    assert list(convolutions) == steps
    assert {k: op.kernel[0] for k, op in convolutions.items() if op.groups > 1} == {
        step: kernel for step, kernel in (("start", start), ("depthwise", middle)) if kernel
    }
    activated = {n.name.split(".")[1] for n in graph.nodes if isinstance(n.op, ops.Activation)}
    assert activated == {"expand", "depthwise"} & set(steps)
    assert graph.by_name["b.add"].inputs == ("input", "b.drop_path")


@pytest.mark.parametrize(("start", "middle", "strided"), [(3, 5, "depthwise"), (0, 5, "depthwise"), (3, 0, "start")])
def test_the_stride_is_the_middle_ones_if_there_is_one(start, middle, strided):
    s = Sketch((8, 10, 10))
    graph = s.graph(universal_inverted_bottleneck(s, "b", s.input, 8, STYLE, expanded=32, start=start, middle=middle,
                                                  stride=2))  # fmt: skip
    assert [n.name for n in graph.nodes if isinstance(n.op, ops.Conv2d) and n.op.stride == (2, 2)] == [
        f"b.{strided}.conv"
    ]
    assert "b.add" not in graph.by_name


def test_drop_path_of_mobilenet_v4_grows_with_the_block():
    graph = draw("mobilenet_v4_conv_small", {"drop_path": 0.16})
    rates = [n.op.rate for n in graph.nodes if isinstance(n.op, ops.DropPath)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.16 * 15 / 16)
    assert len(rates) == 10


def test_only_s0_is_over_parameterised_and_only_s4_is_gated():
    s0, s1, s4 = (draw(f"mobileone_s{i}") for i in (0, 1, 4))
    assert "stage4.block1.pointwise.spatial4.conv" in s0.by_name
    assert "stem.spatial2.conv" not in s0.by_name
    assert not [n for n in s1.by_name if ".spatial2." in n or "squeeze_excite" in n]
    gated = {n.name.partition(".squeeze_excite")[0] for n in s4.nodes if "squeeze_excite" in n.name}
    blocks = [*(f"stage3.block{j}" for j in range(6, 11)), "stage4.block1"]
    assert gated == {f"{block}.{step}" for block in blocks for step in ("depthwise", "pointwise")}


def test_timms_table_in_full(assets: Path):
    """Against the table itself, so that a typing error in a family's file cannot agree with itself."""
    with (assets.parent / "docs" / "published.csv").open(newline="") as f:
        rows = {r["family"]: r["params"] for r in csv.DictReader(f) if r["source"].startswith("timm")}
    for name in ("repvgg_a0", "repvgg_b0", *(f"mobileone_s{i}" for i in range(5))):
        assert f"{cost(reparam_graph(draw(name))).parameters / 1e6:.2f}M" == rows[name]
    for size in ("small", "medium", "large"):
        parameters = cost(draw(f"mobilenet_v4_conv_{size}")).parameters
        assert f"{parameters / 1e6:.2f}M" == rows[f"mobilenetv4_conv_{size}"]
