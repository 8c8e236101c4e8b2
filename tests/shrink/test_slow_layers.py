"""What goes back to float for speed: found by profile, kept by time and loss alone."""

import numpy as np
import pytest

from conftest import make_bundle
from eyespot.core.timing import Ratio
from eyespot.measure.roofline import Step as Kernel
from eyespot.shrink import slow_layers
from eyespot.shrink.ladder import Limits, Shown, climb
from eyespot.shrink.slow_layers import leave_slow
from eyespot.shrink.timing import Timed
from quantizing import pictures

ANYTHING = Limits(drop=1.0, agreement=0.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "small", classes=5)


@pytest.fixture(scope="module")
def shown():
    return Shown(pictures(50, 32, seed=1), np.zeros(50, np.int64))


@pytest.fixture(scope="module")
def ladder(bundle, shown):
    return climb(bundle, pictures(16, 32), shown, limits=ANYTHING)


@pytest.fixture
def profiles(monkeypatch, bundle):
    """Profiles that say what each layer takes: in float, and, of any other model, in 8 bits."""

    def say(in_float, in_int8):
        def kernels(model, graph, picture, *, threads):
            times = in_float if model == bundle.model.read_bytes() else in_int8
            return [Kernel(name, "Conv", ms, 1000, 0, 0, "float32", name) for name, ms in times.items()]

        monkeypatch.setattr(slow_layers, "kernels", kernels)

    return say


@pytest.fixture
def clock(monkeypatch):
    """The ratio, with its interval, that each trial is said to take of the time before; what is left was not tried."""

    def say(*ratios):
        left = list(ratios)

        def time_both(before, after, picture):
            value, interval = left.pop(0)
            return Timed(1.0, value, Ratio(value, interval, 15), 1)

        monkeypatch.setattr(slow_layers, "time_both", time_both)
        return left

    return say


def names(ladder):
    return [node.name for node in ladder.ready.graph.nodes if node.op.kind == "conv2d"]


def test_neighbours_go_together_the_worst_first_and_stay_if_that_is_faster(bundle, ladder, shown, profiles, clock):
    convs = names(ladder)
    in_float = dict.fromkeys(convs, 1.0)
    profiles(in_float, in_float | {convs[0]: 1.5, convs[1]: 1.2, convs[4]: 3.0, convs[6]: 1.0001})
    left = clock((0.9, (0.85, 0.95)), (0.8, (0.7, 1.1)))
    found = leave_slow(bundle, ladder, pictures(16, 32), shown, limits=ANYTHING)
    assert found.network.float_layers() == [convs[4]]  # the second trial's interval left it open
    assert left == []  # and what seems to save next to nothing was not tried
    assert found.steps[-1].name == f"in float for speed: {convs[4]} (time × 0.90)"
    assert found.found is found.steps[-1].found
    assert found.found.pictures == 50
    assert ladder.network.float_layers() == []


def test_two_groups_add_up(bundle, ladder, shown, profiles, clock):
    convs = names(ladder)
    in_float = dict.fromkeys(convs, 1.0)
    profiles(in_float, in_float | {convs[0]: 1.5, convs[1]: 1.2, convs[4]: 3.0})
    clock((0.9, (0.85, 0.95)), (0.9, (0.85, 0.95)))
    found = leave_slow(bundle, ladder, pictures(16, 32), shown, limits=ANYTHING)
    assert found.network.float_layers() == [convs[0], convs[1], convs[4]]
    assert len(found.steps) == len(ladder.steps) + 2


@pytest.mark.parametrize("ratio", [(0.99, (0.985, 0.995)), (1.2, (1.1, 1.3))])
def test_little_is_not_worth_a_layer(bundle, ladder, shown, profiles, clock, ratio):
    convs = names(ladder)
    profiles(dict.fromkeys(convs, 1.0), dict.fromkeys(convs, 1.0) | {convs[0]: 2.0})
    clock(ratio)
    assert leave_slow(bundle, ladder, pictures(16, 32), shown, limits=ANYTHING) is ladder


def test_what_loses_too_much_stays_in_integers(bundle, ladder, shown, profiles, clock):
    convs = names(ladder)
    profiles(dict.fromkeys(convs, 1.0), dict.fromkeys(convs, 1.0) | {convs[0]: 2.0})
    clock((0.5, (0.4, 0.6)))
    assert leave_slow(bundle, ladder, pictures(16, 32), shown, limits=Limits(drop=-1.0)) is ladder


def test_a_real_profile_names_layers_of_the_network(bundle, ladder, shown, clock):
    clock(*[(1.5, (1.4, 1.6))] * 3)
    assert leave_slow(bundle, ladder, pictures(16, 32), shown, limits=ANYTHING) is ladder
    times = slow_layers._by_layer(bundle.model.read_bytes(), ladder.ready.graph, pictures(1, 32))
    assert set(names(ladder)) <= set(times)
    assert all(ms > 0 for ms in times.values())


def test_integers_only_leaves_nothing_in_float(bundle, shown):
    ladder = climb(bundle, pictures(16, 32), shown, limits=Limits(drop=-1.0), integers=True)
    assert ladder.network.float_layers() == []
    assert not any("in float" in step.name for step in ladder.steps)
