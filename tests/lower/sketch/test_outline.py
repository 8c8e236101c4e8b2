"""What a diagram shows: blocks, chips, branches and repeats, for every network of the catalogue."""

import math

import pytest

from eyespot import Sketch
from eyespot.arch.catalogue import draw, variants
from eyespot.core.cost import cost
from eyespot.lower.sketch.outline import FROM_OUTSIDE, outline

NAMES = list(variants())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_and_no_two_chips_share_a_place(name):
    graph = draw(name)
    blocks = outline(graph)
    total = cost(graph)
    assert (sum(b.macs for b in blocks), sum(b.parameters for b in blocks)) == (total.macs, total.parameters)
    assert sum(b.repeats for b in blocks) >= len(blocks)
    assert len(blocks) <= 40, "a page has room for no more"
    for block in blocks:
        places = [(chip.column, chip.row) for chip in block.chips]
        assert len(set(places)) == len(places), block.name
        for i, chip in enumerate(block.chips):
            assert all(source == FROM_OUTSIDE or source < i for source in chip.inputs)
            assert all(block.chips[source].column < chip.column for source in chip.inputs if source >= 0)


def test_an_inverted_residual_is_three_chips_and_a_sum():
    block = next(b for b in outline(draw("mobilenet_v2_1.0")) if b.name == "stage3.block2")
    assert [(c.label, c.detail) for c in block.chips] == [("1×1", "192"), ("dw 3×3", "192"), ("1×1", "32"), ("+", "")]
    assert block.chips[3].inputs == (FROM_OUTSIDE, 2)
    assert (block.repeats, block.last_name, block.shape) == (2, "stage3.block3", (32, 28, 28))
    assert {c.row for c in block.chips} == {0}


def test_squeeze_excite_is_one_chip():
    block = next(b for b in outline(draw("efficientnet_b0")) if b.name == "stage2.block1")
    assert [c.label for c in block.chips] == ["1×1", "dw 3×3 /2", "SE", "1×1"]


def test_a_projection_is_a_second_row():
    block = next(b for b in outline(draw("resnet50")) if b.name == "stage2.block1")
    assert [(c.label, c.row) for c in block.chips] == [("1×1", 0), ("3×3 /2", 0), ("1×1", 0), ("1×1 /2", 1), ("+", 0)]
    assert block.chips[-1].column == 3


def test_branches_of_a_fire_module():
    block = next(b for b in outline(draw("squeezenet_1.1")) if b.name == "fire2")
    assert [(c.label, c.column, c.row) for c in block.chips] == [
        ("1×1", 0, 0),
        ("1×1", 1, 0),
        ("3×3", 1, 1),
        ("concat", 2, 0),
    ]


def test_layers_without_scopes_are_drawn_a_handful_at_a_time():
    s = Sketch((3, 32, 32))
    x = s.input
    for i in range(14):
        x = s.act(f"act{i}", s.conv(f"conv{i}", x, 8, kernel=3, bias=True), "relu")
    blocks = outline(s.graph(s.linear("classifier", s.flatten("flatten", x), 2)))
    assert [len(b.chips) for b in blocks] == [6, 6, 3]
    assert [b.name for b in blocks] == ["conv0 … conv5", "conv6 … conv11", "conv12 … classifier"]


def test_a_block_that_reads_one_far_above_says_so():
    s = Sketch((3, 32, 32))
    a = s.conv("block1.conv", s.input, 8, kernel=3)
    b = s.conv("block2.conv", a, 8, kernel=3)
    c = s.conv("block3.conv", b, 8, kernel=3)
    blocks = outline(s.graph(s.concat("block4.join", c, a)))
    assert blocks[-1].reads == (0,)
    assert math.prod(blocks[-1].shape) == 16 * 32 * 32


def test_train_only_parts_are_left_out():
    s = Sketch((3, 32, 32))
    x = s.conv("stem.conv", s.input, 8)
    with s.train_only():
        aux = s.conv("aux.conv", x, 4)
    assert [b.name for b in outline(s.graph(s.conv("head.conv", x, 2), aux))] == ["stem", "head"]


def test_a_gate_that_is_none_stays_a_product():
    s = Sketch((3, 8, 8))
    x = s.conv("b.one", s.input, 4)
    y = s.conv("b.two", s.input, 4)
    (block,) = outline(s.graph(s.mul("b.product", x, y)))
    assert [c.label for c in block.chips] == ["1×1", "1×1", "×"]
