"""Depth multipliers change how many blocks a stage has, and nothing else of it."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from eyespot.arch.catalogue import draw
from eyespot.arch.depth import deepened, repeats


class Row(NamedTuple):
    channels: int
    stride: int
    tap: int | None = None
    kernel: int = 3


ROWS = (Row(8, 2, tap=2), Row(16, 2), Row(16, 1), Row(16, 1, tap=4, kernel=5))


def drawn(depth):
    return [(row.channels, row.kernel, stride, tap) for row, stride, tap in deepened(ROWS, depth)]


def test_blocks_are_rounded_up_and_never_none():
    assert [repeats(n, 1.1) for n in (1, 2, 3, 10)] == [2, 3, 4, 11]
    assert [repeats(n, 0.5) for n in (1, 2, 3, 10)] == [1, 1, 2, 5]
    assert repeats(3, 0.0) == 1


def test_a_table_at_depth_one_is_itself():
    assert [(row, stride, tap) for row, stride, tap in deepened(ROWS, 1.0)] == [(r, r.stride, r.tap) for r in ROWS]


def test_a_deeper_stage_repeats_its_last_row_without_its_stride():
    assert drawn(1.5) == [
        (8, 3, 2, None), (8, 3, 1, 2),
        (16, 3, 2, None), (16, 3, 1, None), (16, 5, 1, None), (16, 5, 1, None), (16, 5, 1, 4),
    ]  # fmt: skip


def test_a_shallower_stage_keeps_its_stride_and_its_tap():
    assert drawn(0.1) == [(8, 3, 2, 2), (16, 3, 2, 4)]


@pytest.mark.parametrize(
    ("name", "depth", "blocks"),
    [
        ("mobilenet_v1_1.0", 2.0, 26), ("mobilenet_v1_1.0", 0.5, 7), ("mobilenet_v2_1.0", 2.0, 34),
        ("mobilenet_v2_1.0", 0.5, 11), ("mobilenet_v3_large_1.0", 2.0, 30), ("mobilenet_v3_small_1.0", 0.5, 7),
    ],
)  # fmt: skip
def test_networks_have_as_many_blocks_and_the_same_taps_and_widths(name, depth, blocks):
    usual, other = (draw(name, {"size": 64, "depth": d}) for d in (1.0, depth))
    assert sum(n.name.endswith(".depthwise.conv") for n in other.nodes) == blocks
    assert {s: other.shape(tap) for s, tap in other.taps.items()} == {s: usual.shape(t) for s, t in usual.taps.items()}
    assert other.parameters["classifier.weight"] == usual.parameters["classifier.weight"]
