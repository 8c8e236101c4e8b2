"""Whether weights fit a graph, and whether the random ones make a network worth comparing."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.core import ops
from eyespot.core.sketch import Sketch
from eyespot.errors import WeightsError
from eyespot.lower.reference import run
from eyespot.lower.tensors import check, random_weights


@pytest.fixture(scope="module")
def graph():
    return draw("mobilenet_v2_0.35", {"size": 32, "classes": 10})


def test_check_accepts_what_fits(graph):
    check(graph, random_weights(graph))


def test_check_says_what_is_missing_and_left_over(graph):
    weights = random_weights(graph)
    weights["stem.cnov.weight"] = weights.pop("stem.conv.weight")
    with pytest.raises(WeightsError, match=r"1 missing \(stem.conv.weight\), 1 left over \(stem.cnov.weight\)"):
        check(graph, weights)
    with pytest.raises(WeightsError, match=r"missing \(stem.conv.weight, stem.norm.weight, stem.norm.bias, …\)"):
        check(graph, {})


def test_check_says_which_shape_or_type_is_wrong(graph):
    weights = random_weights(graph)
    narrow = {**weights, "classifier.weight": weights["classifier.weight"][:4]}
    with pytest.raises(WeightsError, match=r"classifier.weight is \(4, 1280\), but the network needs \(10, 1280\)"):
        check(graph, narrow)
    with pytest.raises(WeightsError, match=r"classifier.bias is float64, but the network needs float32"):
        check(graph, {**weights, "classifier.bias": weights["classifier.bias"].astype(float)})


def test_random_weights_are_the_seeds(graph):
    first, again, other = random_weights(graph, 7), random_weights(graph, 7), random_weights(graph, 8)
    assert all((first[name] == again[name]).all() for name in first)
    assert not any((first[name] == other[name]).any() for name in first)


def test_random_weights_are_quick_because_the_picture_is_small():
    """The same layers at another size get the same weights when both are calibrated at 64 pixels."""
    small, large = draw("mobilenet_v1_0.25", {"size": 64}), draw("mobilenet_v1_0.25", {"size": 512})
    a, b = random_weights(small), random_weights(large)
    assert all((a[name] == b[name]).all() for name in a)


def test_random_weights_of_a_network_that_fits_one_size_only():
    s = Sketch((3, 80, 72))
    x = s.flatten("flatten", s.conv("conv", s.input, 2, kernel=3, stride=2))
    with s.train_only():
        helper = s.linear("helper", x, 3)
    graph = s.graph(s.linear("classifier", x, 5), helper)
    check(graph, random_weights(graph))


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0", "squeezenet_1.0", "resnet50", "efficientnet_b7"])
def test_logits_under_random_weights_depend_on_the_picture(name):
    graph = draw(name, {"size": 32})
    weights = random_weights(graph)
    x = np.random.default_rng(5).normal(size=(6, 3, 32, 32)).astype(np.float32)
    logits = run(graph, weights, x)[graph.outputs[0]]
    assert np.isfinite(logits).all()
    assert 1 < np.ptp(logits) < 100
    assert logits.std(0).mean() > 0.05 * np.ptp(logits), "the same answer whatever the picture"
    assert len(set(logits.argmax(1).tolist())) > 2


def test_every_norm_is_given_statistics_that_matter(graph):
    weights = random_weights(graph)
    norms = [node.name for node in graph.nodes if isinstance(node.op, ops.BatchNorm)]
    assert norms
    for short, trivial in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        assert not any((weights[f"{name}.{short}"] == trivial).any() for name in norms)
    assert all((weights[f"{name}.running_var"] > 0).all() for name in norms)
