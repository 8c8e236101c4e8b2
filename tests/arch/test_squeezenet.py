"""SqueezeNet's geometry, which pads nothing but its modules."""

from __future__ import annotations

import pytest

from eyespot.arch.catalogue import draw
from eyespot.core import ops


def sizes(graph) -> list[int]:
    return [n.shape[1] for n in graph.nodes if n.name == "stem.act" or isinstance(n.op, ops.MaxPool)]


@pytest.mark.parametrize(
    ("version", "size", "expected"),
    [
        ("1.0", 224, [109, 54, 27, 13]),  # torchvision's
        ("1.0", 227, [111, 55, 27, 13]),  # Caffe's, of table 1
        ("1.1", 224, [111, 55, 27, 13]),
        ("1.1", 225, [112, 56, 28, 14]),  # each last window hangs over the edge
    ],
)
def test_maps_are_as_large_as_the_originals(version, size, expected):
    assert sizes(draw(f"squeezenet_{version}", {"size": size})) == expected


def test_same_padding_halves_and_rounds_up():
    assert sizes(draw("squeezenet_1.1", {"padding": "same", "size": 225})) == [113, 57, 29, 15]


def test_modules_keep_their_size_whatever_the_padding():
    for padding in ("symmetric", "same", "valid"):
        graph = draw("squeezenet_1.1", {"padding": padding})
        assert graph.by_name["fire2.expand3x3.conv"].op.padding == (1, 1, 1, 1)
        assert graph.shape("fire2.concat")[1:] == graph.shape("pool1")[1:]


def test_the_head_is_a_convolution_a_relu_and_a_mean():
    graph = draw("squeezenet_1.0")
    assert [n.name for n in graph.nodes[-5:]] == ["dropout", "classifier", "act", "pool", "flatten"]
    assert graph.by_name["classifier"].op == ops.Conv2d(1000, bias=True)
    assert graph.outputs == ("flatten",)
