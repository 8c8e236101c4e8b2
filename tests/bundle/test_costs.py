"""The costs on record are those that drawing gives; if a change was meant:  python -m eyespot.bundle.record_costs"""

import pytest

from eyespot.arch.catalogue import draw, variants
from eyespot.bundle.costs import cost_of, deployed, key, own_size, recorded
from eyespot.bundle.listing import wanted_costs
from eyespot.bundle.record_costs import record
from eyespot.core.cost import cost


@pytest.mark.parametrize("name", list(variants()))
def test_the_record_is_what_drawing_gives(name):
    drawn = record(wanted for wanted in wanted_costs() if wanted[0] == name)
    assert recorded().get(name) == drawn[name], "run: python -m eyespot.bundle.record_costs"


def test_the_record_holds_no_network_that_is_gone():
    assert recorded().keys() == variants().keys(), "run: python -m eyespot.bundle.record_costs"


def test_what_is_filed_together():
    assert key({}, 224) == key({"classes": 7, "padding": "same", "eps": 1e-3}, (224, 224)) == "224"
    assert key({"stride_on": "1x1"}, (192, 256)) == "192x256 stride_on=1x1"


def test_what_is_not_on_record_is_drawn():
    found = cost_of("mobilenet_v1_0.25", {"classes": 7}, (72, 104))
    assert found == cost(draw("mobilenet_v1_0.25", {"size": (72, 104)}))


def test_own_sizes():
    assert own_size("efficientnet_b1") == (240, 240)
    assert own_size("mobilenet_v2_1.0") == (224, 224)


def test_a_network_trained_in_branches_costs_what_it_runs_as():
    graph = draw("repvgg_a0", {"size": 64})
    assert deployed(graph).macs < cost(graph).macs
    plain = draw("mobilenet_v1_0.25", {"size": 64})
    assert deployed(plain) == cost(plain)
