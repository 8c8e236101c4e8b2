"""Every network of the catalogue computes the same in the reference, folded, and in ONNX Runtime.

At the smallest picture that the network takes, on random weights under which its answer depends on the picture. The
largest are slow: their smaller siblings, of the same file and table, or they themselves on a strip, run always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from eyespot.arch.catalogue import draw, variants
from eyespot.arch.variant import Size
from eyespot.core.cost import cost
from eyespot.core.graph import Graph
from eyespot.errors import GraphError
from eyespot.lower.fold import fold
from eyespot.lower.onnx import to_onnx
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from lowered import onnx_runtime
from tolerances import SAME_WEIGHTS, relative_error

PICTURES = 3
SLOW = (
    "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_m", "efficientnet_v2_l", "resnet152",
    "inception_v4", "inception_resnet_v2", "mobilenet_v4_conv_large", "mobileone_s2", "mobileone_s3",
)  # fmt: skip
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in variants()]
FAMILIES = {variant.family: name for name, variant in reversed(variants().items())}  # the first of each
ODD = [
    pytest.param(name, padding, marks=[pytest.mark.slow] if name in SLOW and padding == "same" else [])
    for name in FAMILIES.values()
    for padding in ("same", "symmetric")
]


def smallest(name: str, arguments: Mapping[str, object], sizes: Sequence[Size]) -> Graph:
    """Drawn for the first of the sizes that is legal."""
    for size in sizes:
        try:
            return draw(name, {**arguments, "size": size})
        except GraphError:
            continue
    raise AssertionError(f"{name} cannot be drawn at any size")


def assert_parity(graph: Graph, seed: int) -> None:
    weights = random_weights(graph, seed)
    x = np.random.default_rng(seed).normal(size=(PICTURES, *graph.input)).astype(np.float32)
    (want,) = run(graph, weights, x).values()
    assert np.isfinite(want).all()
    folded, tensors = fold(graph, weights)
    assert cost(folded).macs == cost(graph).macs
    got = {"folded": run(folded, tensors, x)[folded.outputs[0]], **onnx_runtime(to_onnx(graph, weights), x)}
    assert list(got) == ["folded", "logits"]
    for how, logits in got.items():
        assert relative_error(logits, want) <= SAME_WEIGHTS, how
        assert (logits.argmax(1) == want.argmax(1)).all(), how
    # The comparison's own test: it must see one layer's weights off by a percent, and one picture for another.
    middle = folded.nodes[len(folded.nodes) // 2 :]
    name = next(p.name for node in middle for p in folded.parameters_of(node))
    off = run(folded, {**tensors, name: tensors[name] * np.float32(1.01)}, x)[folded.outputs[0]]
    assert relative_error(off, want) > SAME_WEIGHTS, name
    assert relative_error(want[1:], want[:-1]) > SAME_WEIGHTS


@pytest.mark.parametrize("name", NAMES)
def test_reference_folded_and_onnx_runtime_agree(name):
    assert_parity(smallest(name, {}, (32, 64, 75, 96, 128, 224, 299)), seed=1)


@pytest.mark.parametrize(("name", "padding"), ODD)
def test_odd_and_oblong_pictures_agree(name, padding):
    """Sides that strides do not divide, where 'same' pads one side more than the other."""
    assert_parity(smallest(name, {"padding": padding, "classes": 11}, ((75, 50), (75, 94))), seed=2)
