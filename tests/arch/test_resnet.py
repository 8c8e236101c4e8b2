"""ResNet's two ways to stride and its two shortcuts."""

from __future__ import annotations

import numpy as np

from eyespot.arch.catalogue import draw
from eyespot.core.cost import cost
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from tolerances import SAME_WEIGHTS, relative_error


def test_stages_have_the_papers_shapes():
    """Table 1 of 1512.03385."""
    graph = draw("resnet50")
    assert graph.shape("stem.act") == (64, 112, 112)
    assert graph.shape("stem.pool") == (64, 56, 56)
    assert [graph.shape(graph.taps[s]) for s in (4, 8, 16, 32)] == [
        (256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7),
    ]  # fmt: skip


def test_a_bottleneck_strides_where_it_is_told():
    ours, papers = draw("resnet50"), draw("resnet50", {"stride_on": "1x1"})
    scope = "stage2.block1"
    for graph, reduce, spatial in ((ours, 1, 2), (papers, 2, 1)):
        assert graph.by_name[f"{scope}.reduce.conv"].op.stride == (reduce, reduce)
        assert graph.by_name[f"{scope}.spatial.conv"].op.stride == (spatial, spatial)
        assert graph.by_name[f"{scope}.shortcut.conv"].op.stride == (2, 2)
    assert ours.parameters == papers.parameters
    assert cost(papers).macs // 10**8 == 38  # the paper: 3.8 · 10⁹


def test_basic_blocks_ignore_where_bottlenecks_stride():
    assert draw("resnet18", {"stride_on": "1x1"}) == draw("resnet18")


def test_only_the_first_stage_of_a_basic_network_keeps_its_shape():
    names = {n.name for n in draw("resnet18").nodes}
    assert "stage1.block1.shortcut.conv" not in names
    assert {f"stage{i}.block1.shortcut.conv" for i in (2, 3, 4)} <= names
    assert "stage1.block1.shortcut.conv" in {n.name for n in draw("resnet50").nodes}


def test_the_cifar_shortcut_computes_option_a():
    graph = draw("resnet20_cifar")
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    before, after = "stage1.block3.act", "stage2.block1.shortcut.pad"
    out = run(graph, random_weights(graph, 0), x, keep=(before, after))
    expected = np.pad(out[before][:, :, ::2, ::2], ((0, 0), (8, 8), (0, 0), (0, 0)))
    assert relative_error(out[after], expected) <= SAME_WEIGHTS


def test_cifar_networks_have_no_parameters_in_shortcuts():
    assert not [p for p in draw("resnet56_cifar").parameters if "shortcut" in p]
    assert len([n for n in draw("resnet56_cifar").nodes if n.name.endswith(".conv")]) == 55
