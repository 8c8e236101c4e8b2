"""What brings a quantized network nearer to the float one: ranges, corrected biases, equalised channels, rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eyespot.bundle.build import normalise
from eyespot.core import ops
from eyespot.core.sketch import Sketch
from eyespot.lower.int8.fit import Fitter, Recipe, equalize
from eyespot.lower.int8.plan import gridded, make_ready
from eyespot.lower.int8.quantized import clipped_levels
from eyespot.lower.int8.ranges import METHODS, Seen, choose_grids
from eyespot.lower.int8.rounding import moments_of, round_with_inputs
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from quantizing import evidence, pictures, quantized, ready
from tolerances import SAME_WEIGHTS, relative_error


def one_tensor(values, method):
    """The grid that a method chooses for the output of one rectifier that showed these values."""
    s = Sketch((4, 8, 8))
    graph = s.graph(s.conv("after", s.act("act", s.conv("conv", s.input, 4), "relu6"), 4))
    seen = Seen()
    seen.add(values.reshape(4, -1, 1))
    preprocess = ready("mobilenet_v2_0.35").preprocess
    return choose_grids(graph, ["act"], {"act": seen}, replace(preprocess, mean=(0.5, 0.2, 0.1)), method)["act"]


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    found = np.abs(rng.normal(size=40000)).astype(np.float32)
    found[7] = 500  # one value far outside
    return found


@pytest.mark.parametrize("method", METHODS)
def test_ranges(values, method):
    grid = one_tensor(values, method)
    assert grid.zero == 0
    if method == "minmax":
        assert grid.high == pytest.approx(500)
    else:
        assert grid.high < 490


def test_a_search_finds_less_error_than_the_whole_range():
    rng = np.random.default_rng(0)
    found = np.abs(rng.standard_t(3, size=40000)).astype(np.float32)

    def error(method):
        grid = one_tensor(found, method)
        return np.square(grid.dequantize(grid.quantize(found)) - found).mean()

    assert error("mse") < error("minmax")


def test_histograms_join_and_coarsen_without_losing_a_value():
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, width, size=(2, 500)).astype(np.float32) for width in (0.01, 3, 400, 0.5)]
    parts.append(np.zeros((2, 500), np.float32))
    seen, other = Seen(), Seen()
    for part in parts[:2]:
        other.add(part)
    for part in parts[2:]:
        seen.add(part)
    seen.join(other)
    found = seen.histogram()
    assert found.counts.sum() == 4 * 1000
    assert found.middles.size <= 4096
    everything = np.concatenate(parts).ravel()
    assert (seen.low, seen.high) == (everything.min(), everything.max())
    step = (seen.high - seen.low) / 1000
    assert np.average(np.abs(found.middles), weights=found.counts) == pytest.approx(
        np.abs(everything[everything != 0]).mean(), abs=step
    )


def test_what_is_dead_gets_a_grid_too():
    assert one_tensor(np.zeros(400, np.float32), "mse").scale > 0


def test_hard_swish_is_a_clip_of_levels():
    network = ready("mobilenet_v3_small_0.75")
    small = quantized(network)
    gates = [n for n in small.graph.nodes if n.name.endswith("act.gate")]
    assert gates
    for gate in gates:
        assert clipped_levels(gate, small.grids) is not None
        assert small.grids[gate.inputs[0]].low == pytest.approx(-3)


def test_what_moves_values_shares_its_grid():
    small = quantized(ready("squeezenet_1.1"))
    for node in small.graph.nodes:
        if isinstance(node.op, ops.Concat | ops.MaxPool):
            assert {small.grids[name] for name in node.inputs} == {small.grids[node.name]}


def test_float_layers_have_float_neighbours():
    network = ready("efficientnet_b0")
    layer = "stage2.block1.expand.conv"
    layers, names = gridded(network.graph, [layer])
    assert layer not in layers
    assert not {layer, "stage2.block1.expand.act.gate"} & set(names)  # its SiLU is computed in float as well
    assert {"stage1.block1.project.conv", "stage2.block1.expand.act"} <= set(names)


def test_corrected_biases_bring_the_means_back():
    network = ready("mobilenet_v2_0.35")
    pixels = pictures(6, 32)
    fitter = Fitter(network, evidence(network, pixels))
    x = normalise(pixels, network.preprocess)
    name = network.graph.outputs[0]
    exact = run(network.graph, network.weights, x)[name]
    plain, corrected = (run_quantized(fitter.fit(Recipe("minmax", corrected=c)), x)[name] for c in (False, True))
    assert np.abs((corrected - exact).mean(0)).mean() < np.abs((plain - exact).mean(0)).mean()


@pytest.mark.parametrize("architecture", ["mobilenet_v2_0.35", "resnet20_cifar", "mobilenet_v1_0.25"])
def test_equalising_changes_no_answer(architecture):
    network = ready(architecture)
    pixels = pictures(4, 32)
    found = evidence(network, pixels)
    equal, places = equalize(network, found.seen)
    assert places > 3
    x = normalise(pixels, network.preprocess)
    name = network.graph.outputs[0]
    was, now = (run(each.graph, each.weights, x)[name] for each in (network, equal))
    assert relative_error(now, was) < SAME_WEIGHTS
    assert any(not np.array_equal(w, network.weights[name]) for name, w in equal.weights.items())


def test_rounding_by_answers_is_nearer_in_answers_and_farther_in_weights():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(24, 24)) @ np.diag(np.geomspace(0.05, 3, 24))  # inputs that vary together
    inputs = (rng.normal(size=(500, 24)) @ mixed).astype(np.float32)
    steps = rng.normal(0, 3, size=(8, 24)).astype(np.float32)
    by_answers = round_with_inputs(steps, (inputs.T @ inputs)[None].astype(np.float64))
    nearest = np.rint(steps)
    assert np.square(inputs @ (by_answers - steps).T).sum() < 0.5 * np.square(inputs @ (nearest - steps).T).sum()
    assert np.square(by_answers - steps).sum() > np.square(nearest - steps).sum()
    assert np.abs(round_with_inputs(100 * steps, np.eye(24)[None])).max() == 127


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_moments_are_of_what_the_filters_see(groups):
    s = Sketch((6, 9, 9))
    graph = s.graph(s.conv("conv", s.input, 6, kernel=3, stride=2, groups=groups))
    x = np.random.default_rng(0).normal(size=(6, 9, 9)).astype(np.float32)
    node = graph.by_name["conv"]
    moments = moments_of(node, x, np.random.default_rng(1))
    assert moments.shape == (groups, 54 // groups, 54 // groups)
    assert np.allclose(moments, moments.swapaxes(1, 2))
    # A filter's squared answers, summed over the places looked at, are w · moments · w.
    weight = np.zeros((6, 6 // groups, 3, 3), np.float32)
    weight[:, 0, 1, 1] = 1
    answers = run(graph, {"conv.weight": weight}, x[None])["conv"][0]
    first = weight.reshape(groups, -1, 54 // groups)[0, 0]
    assert 0 < first @ moments[0] @ first < 100 * np.square(answers[0]).max()


def test_a_network_without_batch_norm_or_bias_gets_biases():
    s = Sketch((3, 16, 16))
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("p", s.conv("c", s.input, 4))), 3))
    network = make_ready(graph, random_weights(graph), ready("mobilenet_v2_0.35", 16).preprocess)
    assert {"c.bias", "classifier.bias"} <= network.weights.keys()
