"""What every network of the catalogue must be, whatever its family: drawn at any size, named once, tapped, stable.

``digests.txt`` holds the digest of every variant, so that a change of structure shows in review. After a change that is
meant, write it anew:  python tests/conformance/test_structure.py
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest

from eyespot.arch.catalogue import draw, variants
from eyespot.core import ops
from eyespot.core.cost import cost
from eyespot.core.graph import INPUT, Graph

NAMES = list(variants())
DIGESTS = Path(__file__).with_name("digests.txt")
SCOPES = re.compile(r"(stem|head|hidden|stage\d+\.block\d+|block\d+|fire\d+|aux\d?)\.[a-z0-9_.]+")
ALONE = re.compile(r"pool\d*|flatten|dropout|classifier|act")


def strides(graph: Graph) -> dict[str, int]:
    """How many pixels of the picture lie between neighbours of each map; 0 once it has been pooled away."""
    out = {INPUT: 1}
    for node in graph.nodes:
        before = max(out[name] for name in node.inputs)
        step = node.op.stride[0] if isinstance(node.op, (ops.Conv2d, ops.MaxPool, ops.AvgPool)) else 1
        out[node.name] = 0 if isinstance(node.op, ops.GlobalAvgPool) else before * step
    return out


@pytest.mark.parametrize("name", NAMES)
def test_draws_at_other_sizes_with_the_same_names_and_parameters(name):
    graph = draw(name)
    names, parameters = [n.name for n in graph.nodes], graph.parameters
    for size in (96, 225, (160, 288)):
        other = draw(name, {"size": size})
        height, width = (size, size) if isinstance(size, int) else size
        assert other.input == (3, height, width)
        assert [n.name for n in other.nodes] == names
        assert other.parameters == parameters
        assert other.outputs == graph.outputs


@pytest.mark.parametrize("name", NAMES)
def test_names_are_scoped_and_none_is_the_scope_of_another(name):
    names = [n.name for n in draw(name).nodes]
    assert len(set(names)) == len(names)
    strays = [n for n in names if not SCOPES.fullmatch(n) and not ALONE.fullmatch(n)]
    assert not strays
    scopes = {n[:i] for n in names for i, c in enumerate(n) if c == "."}
    assert not scopes.intersection(names), "a module tree cannot hold a layer and a folder of one name"


@pytest.mark.parametrize("name", NAMES)
def test_taps_have_the_strides_they_are_declared_for(name):
    graph = draw(name).inference()
    at = strides(graph)
    assert {stride: at[tap] for stride, tap in graph.taps.items()} == {stride: stride for stride in graph.taps}
    deepest = max(at.values())
    assert list(graph.taps) == [s for s in (1, 2, 4, 8, 16, 32) if min(graph.taps) <= s <= deepest]
    assert deepest == 32 or name.startswith(("squeezenet", "resnet", "eyelet"))
    order = {n.name: i for i, n in enumerate(graph.nodes)}
    positions = [order[tap] for tap in graph.taps.values()]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", NAMES)
def test_json_round_trip(name):
    graph = draw(name)
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert again == graph
    assert again.digest == graph.digest


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_the_logits_and_only_the_classifier_depends_on_their_number(name):
    usual, seven = draw(name), draw(name, {"classes": 7})
    assert usual.inference().outputs == usual.outputs[:1], "what else it gives, it gives while training"
    assert {usual.shape(output) for output in usual.outputs} == {(10,) if name.endswith("_cifar") else (1000,)}
    assert {seven.shape(output) for output in seven.outputs} == {(7,)}
    assert not any(isinstance(n.op, ops.Softmax) for n in seven.nodes)
    changed = {k for k, p in seven.parameters.items() if usual.parameters[k].shape != p.shape}
    heads = ["", *(output.removesuffix("classifier") for output in usual.outputs[1:])]
    assert changed == {f"{head}classifier.{short}" for head in heads for short in ("weight", "bias")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [224, 97])
def test_same_padding_is_tensorflows(name, size):
    graph = draw(name, {"padding": "same", "size": size}).inference()
    for node in graph.nodes:
        if name == "xception" and node.name.startswith("stem."):
            assert not isinstance(node.op, ops.Conv2d) or node.op.padding == (0, 0, 0, 0), "its weights have it so"
        elif isinstance(node.op, (ops.Conv2d, ops.MaxPool, ops.AvgPool)):
            (before,) = graph.input_shapes(node)
            assert node.shape[1:] == tuple(-(-n // s) for n, s in zip(before[1:], node.op.stride, strict=True))
            top, left, bottom, right = node.op.padding
            assert 0 <= bottom - top <= 1
            assert 0 <= right - left <= 1


@pytest.mark.parametrize("name", NAMES)
def test_epsilon_reaches_every_batch_norm(name):
    if "eps" not in variants()[name].function.__kwdefaults__:
        assert not any(isinstance(n.op, ops.BatchNorm) for n in draw(name).nodes)
        return
    norms = {n.op for n in draw(name, {"eps": 2e-4}).nodes if isinstance(n.op, ops.BatchNorm)}
    assert norms == {ops.BatchNorm(eps=2e-4)}


@pytest.mark.parametrize("name", NAMES)
def test_an_unbiased_convolution_is_followed_by_batch_norm_and_a_biased_one_is_not(name):
    graph = draw(name)
    readers = graph.readers()
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv2d):
            (reader,) = readers[node.name] if node.name not in graph.outputs else (None,)
            inside = node.name.endswith("depthwise.conv") and isinstance(reader.op, ops.Conv2d)  # Xception's halves
            assert (inside or isinstance(reader.op, ops.BatchNorm)) != node.op.bias, node.name


def test_the_digests_are_those_on_record():
    recorded = dict(line.split() for line in DIGESTS.read_text().splitlines())
    drawn = {name: draw(name).digest for name in NAMES}
    changed = sorted(k for k in recorded.keys() | drawn.keys() if recorded.get(k) != drawn.get(k))
    assert not changed, f"structure changed: {changed}; if it was meant to, run: python {Path(__file__).name}"


def test_drawing_and_costing_is_quick(capsys):
    draw("mobilenet_v2_1.0")
    start = time.perf_counter()
    for _ in range(10):
        cost(draw("mobilenet_v2_1.0"))
    with capsys.disabled():
        print(f"\nMobileNetV2 drawn and costed in {(time.perf_counter() - start) * 100:.2f} ms")


def write_digests() -> None:
    """Records the structure as it is drawn now."""
    DIGESTS.write_text("".join(f"{name} {draw(name).digest}\n" for name in NAMES))


if __name__ == "__main__":
    write_digests()
    sys.stdout.write(f"wrote {len(NAMES)} digests to {DIGESTS.name}; look at its diff\n")
