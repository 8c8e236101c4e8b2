"""RegNetY's widths are its paper's quantised line; ResNeXt's groups."""

from __future__ import annotations

import math
from itertools import groupby

import pytest

from eyespot.arch.blocks import round_channels
from eyespot.arch.catalogue import draw
from eyespot.arch.regnet import FIGURE_17
from eyespot.core import ops


@pytest.mark.parametrize(
    ("network", "depth", "initial", "slope", "step"),
    [("400mf", 16, 48, 27.89, 2.09), ("800mf", 14, 56, 38.84, 2.4), ("800mf_tv", 14, 56, 38.84, 2.4)],
)
def test_the_table_is_the_quantised_line(network, depth, initial, slope, step):
    """Equations 2 to 4 of 2003.13678: w_0 + w_a·j, to the nearest power of w_m, to multiples of 8 and of the groups."""
    table = FIGURE_17[network]
    powers = [round(math.log((initial + slope * j) / initial) / math.log(step)) for j in range(depth)]
    widths = [round(initial * step**power / 8) * 8 for power in powers]
    group = table.group_width
    widths = [round_channels(w, group) if network.endswith("tv") else round(w / group) * group for w in widths]
    runs = [(width, len(list(blocks))) for width, blocks in groupby(widths)]
    assert tuple(width for width, _ in runs) == table.channels
    assert tuple(count for _, count in runs) == table.blocks


def test_groups_have_the_width_of_the_table_and_gates_a_quarter_of_the_input():
    graph = draw("regnet_y_400mf")
    assert all(n.op.groups * 8 == n.op.channels for n in graph.nodes if n.name.endswith(".spatial.conv"))
    assert graph.by_name["stage1.block1.squeeze_excite.reduce"].op.channels == 32 // 4
    assert graph.by_name["stage2.block1.squeeze_excite.reduce"].op.channels == 48 // 4
    assert graph.by_name["stage2.block2.squeeze_excite.reduce"].op.channels == 104 // 4
    shortcuts = [n.name for n in graph.nodes if n.name.endswith("shortcut.conv")]
    assert shortcuts == [f"stage{i}.block1.shortcut.conv" for i in (1, 2, 3, 4)]


def test_resnext_is_resnet_with_wider_grouped_bottlenecks():
    ours, resnet = draw("resnext50_32x4d"), draw("resnet50")
    assert [n.name for n in ours.nodes] == [n.name for n in resnet.nodes]
    assert ours.taps == resnet.taps
    for stage, channels in enumerate((128, 256, 512, 1024), 1):
        op = ours.by_name[f"stage{stage}.block2.spatial.conv"].op
        assert op == ops.Conv2d(channels, (3, 3), padding=(1, 1, 1, 1), groups=32)
    assert [ours.shape(tap) for tap in ours.taps.values()] == [resnet.shape(tap) for tap in resnet.taps.values()]
