"""Settings that were measured: the fastest of what is open, at a bounded cost, and nothing else is moved by it."""

import json
from importlib import import_module

import numpy as np
import pytest

from eyespot.arch import catalogue
from eyespot.core.recipe import Speed
from eyespot.errors import UsageError

torch = pytest.importorskip("torch")
speed = import_module("eyespot.learn.speed")  # after the skip
module = import_module("eyespot.learn.module")
Settings = speed.Settings

NAMES = ["float32", "float32, channels last", "bfloat16", "bfloat16, channels last"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network():
    return module.Network(catalogue.draw("mobilenet_v1_0.25", {"size": 32, "classes": 5}))


@pytest.fixture
def clock(monkeypatch):
    """A clock under which each way takes the seconds that the test says; what it was asked is in ``calls``."""

    class Clock:
        def __init__(self):
            self.seconds, self.calls = dict.fromkeys(NAMES, 1.0), []

        def step(self, network, inputs, way):
            self.calls.append((way.name, len(inputs)))
            took = self.seconds[way.name]
            if took is None:
                raise RuntimeError("this machine cannot do that")
            return took

    clock = Clock()
    monkeypatch.setattr(speed, "_step", clock.step)
    return clock


INPUTS = torch.zeros(32, 3, 32, 32)


def test_a_real_measurement_changes_neither_network_nor_random_numbers(network):
    before, layout = network.export_weights(), next(network.parameters()).stride()
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    network.eval()
    found = speed.fastest(network, INPUTS[:8], steps=100)
    assert set(found.seconds) <= set(NAMES)
    assert found.name in found.seconds
    assert all(0 < seconds < 60 for seconds in found.seconds.values())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not network.training
    assert next(network.parameters()).stride() == layout
    assert all(np.array_equal(before[name], tensor) for name, tensor in network.export_weights().items())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_fastest_is_taken_from_steps_of_few_pictures_in_turns(network, clock, name):
    clock.seconds = {**clock.seconds, name: 0.5}
    assert speed.fastest(network, INPUTS).name == name
    assert clock.calls == [(n, 8) for n in NAMES * 3]


def test_a_small_gain_is_not_worth_a_less_plain_way(network, clock):
    clock.seconds = {n: 1 - 0.02 * i for i, n in enumerate(NAMES[:2])} | dict.fromkeys(NAMES[2:], 1.0)
    assert speed.fastest(network, INPUTS).name == "float32"


def test_hopeless_and_impossible_ways_are_left_alone(network, clock):
    clock.seconds = {"float32": 1.0, "float32, channels last": 0.9, "bfloat16": 9.0, "bfloat16, channels last": None}
    found = speed.fastest(network, INPUTS)
    assert found.name == "float32, channels last"
    assert [name for name, _ in clock.calls] == [*NAMES, *NAMES[:2], *NAMES[:2]]
    clock.seconds["float32"] = None
    with pytest.raises(RuntimeError, match="cannot do that"):
        speed.fastest(network, INPUTS)


def test_what_the_recipe_fixes_is_not_measured(network, clock):
    assert speed.fastest(network, INPUTS, speed=Speed("bfloat16", "on", "off")) == Settings("bfloat16", True)
    assert speed.fastest(network, INPUTS, speed=Speed("float32", "off", "on")) == Settings(compile=True)
    assert clock.calls == []
    speed.fastest(network, INPUTS, speed=Speed("bfloat16"))
    assert {name for name, _ in clock.calls} == set(NAMES[2:])


def test_compiling_is_tried_for_long_runs_only(network, clock, monkeypatch):
    tried = []
    monkeypatch.setattr(speed, "_has_compiler", lambda device: True)
    monkeypatch.setattr(speed, "_compiled_if_it_pays", lambda net, inputs, best, *rest: tried.append(best) or best)
    speed.fastest(network, INPUTS, steps=800)  # 32 pictures take 4 s here: 3,200 s
    assert not tried
    speed.fastest(network, INPUTS, steps=1000)
    assert len(tried) == 1
    speed.fastest(network, INPUTS, steps=1000, speed=Speed(compile="off"))
    monkeypatch.setattr(speed, "_has_compiler", lambda device: False)
    speed.fastest(network, INPUTS, steps=1000)
    assert len(tried) == 1


def test_compiling_is_kept_when_it_saves_more_than_it_costs(network, clock, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: None)
    clock.seconds = {**clock.seconds, "float32, compiled": 0.7}
    ticks = iter(range(0, 10_000, 60))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(next(ticks)))  # compiling takes 60 s
    plain = Settings()
    for steps, compiled in ((350, False), (450, True)):  # 105 and 135 s saved
        assert speed._compiled_if_it_pays(network, INPUTS, plain, steps, {}).compile is compiled
    clock.seconds["float32, compiled"] = None
    assert speed._compiled_if_it_pays(network, INPUTS, plain, 10_000, {}) == plain


def test_settings_lay_weights_and_inputs_out_and_set_the_arithmetic(network):
    names = list(network.state_dict())
    settings = Settings("bfloat16", channels_last=True)
    laid = settings.lay_out(network)
    assert laid is network
    assert list(network.state_dict()) == names
    weight = dict(network.named_parameters())["stem.conv.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert isinstance(weight, torch.nn.Parameter)
    x = settings.arrange(torch.randn(2, 3, 32, 32))
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert Settings().arrange(x).is_contiguous()
    network.train()
    with settings.arithmetic("cpu"):
        output = network(x)["classifier"]
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert weight.grad.dtype == torch.float32
    with Settings().arithmetic("cpu"):
        assert network(x)["classifier"].dtype == torch.float32


def test_json_there_and_back_and_nothing_else():
    settings = Settings("bfloat16", True, True, {"float32": 0.5})
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    for data in ({}, [], {**settings.to_json(), "precision": "float8"}, {**settings.to_json(), "compile": 1}):
        with pytest.raises(UsageError, match="measure"):
            Settings.from_json(data)
