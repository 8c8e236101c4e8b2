"""Fine-tuning a network in 8 bits: torch computes what the integers mean, and the answers come nearer to float's."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from eyespot.bundle.build import normalise
from eyespot.core.pixels import torchvision_preprocess
from eyespot.core.sketch import Sketch
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.quantized import Grid
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from eyespot.shrink.ladder import divergence
from quantizing import evidence, pictures, ready
from tolerances import QUANTIZED_LOGITS, relative_error

torch = pytest.importorskip("torch")
aware = import_module("eyespot.learn.quantize_aware")  # after the skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """On a busy machine threads that wait for one another take minutes for what one does in seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(architecture):
    """(the network in float, the same in 8 bits, pictures)."""
    network, shown = ready(architecture), pictures(16, 32)
    found = evidence(network, shown[:4])
    return network, Fitter(network, found).fit(Recipe("minmax", floats=frozenset({"classifier"}))), shown


@pytest.mark.parametrize("architecture", ["mobilenet_v2_0.35", "mobilenet_v3_small_0.75"])
def test_torch_answers_as_the_integers_do(architecture):
    network, small, shown = made(architecture)
    x = normalise(shown[:4], network.preprocess)
    expected = run_quantized(small, x)[network.graph.outputs[0]]
    with torch.no_grad():
        answers = aware.Student(network, small)(torch.from_numpy(x)).numpy()
    assert relative_error(answers, expected) < QUANTIZED_LOGITS
    exact = run(network.graph, network.weights, x)[network.graph.outputs[0]]
    assert relative_error(exact, expected) > relative_error(answers, expected)


def test_a_damaged_network_learns_to_answer_as_float_does_again():
    s = Sketch((3, 32, 32))
    x = s.act("first.act", s.conv("first.conv", s.input, 8, kernel=3, stride=2), "relu6")
    x = s.act("second.act", s.conv("second.conv", x, 16, kernel=3, stride=2), "relu6")
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 10))
    network = make_ready(graph, random_weights(graph, 1), torchvision_preprocess(32, 32))
    shown = pictures(24, 32)
    small = Fitter(network, evidence(network, shown[:4])).fit(Recipe())
    rng = np.random.default_rng(0)
    tensors = dict(small.tensors)
    for layer in small.int8_layers():
        weight = tensors[f"{layer}.weight"]
        moved = weight + rng.integers(-20, 21, weight.shape)
        tensors[f"{layer}.weight"] = np.clip(moved, -127, 127).astype(np.int8)
    damaged = replace(small, tensors=tensors)
    steps: list[int] = []
    tuned = aware.fine_tune(network, damaged, shown[:16], steps=40, step=steps.append)
    assert steps == list(range(1, 41))
    x = normalise(shown[16:], network.preprocess)
    exact = run(network.graph, network.weights, x)["classifier"]
    was, now = (divergence(exact, run_quantized(each, x)["classifier"]) for each in (damaged, tuned))
    assert now < 0.5 * was
    assert (tuned.grids, tuned.float_layers()) == (small.grids, small.float_layers())
    again = aware.fine_tune(network, damaged, shown[:16], steps=40)
    assert all(np.array_equal(tensor, again.tensors[name]) for name, tensor in tuned.tensors.items())


def test_without_a_step_nothing_changes():
    network, shown = ready("mobilenet_v2_0.35"), pictures(8, 32)
    small = Fitter(network, evidence(network, shown[:4])).fit(Recipe("minmax", corrected=True))
    same = aware.fine_tune(network, small, shown, steps=0)
    for name, tensor in small.tensors.items():
        most = 1 if name.endswith(".bias") else 0  # through float32 and back
        assert np.abs(same.tensors[name].astype(np.float64) - tensor).max() <= most, name


def test_what_lies_outside_a_grid_has_no_gradient():
    x = torch.tensor([-3.0, 0.24, 0.26, 9.0], requires_grad=True)
    y = aware.on_grid(x, Grid(0.5, 2))
    y.sum().backward()
    assert y.tolist() == [-1.0, 0.0, 0.5, 9.0]
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0]
