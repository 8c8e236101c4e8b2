"""Compound scaling reproduces EfficientNet's ladder; the search keeps to its budgets and misses nothing better."""

from __future__ import annotations

import itertools
import time

import pytest

from eyespot.arch.catalogue import draw, variants
from eyespot.arch.efficientnet import efficientnet
from eyespot.arch.mobilenet_v2 import mobilenet_v2
from eyespot.arch.scale import GROWTH, coefficients, scaled, search
from eyespot.core.cost import cost
from eyespot.errors import UnknownName, UsageError


@pytest.mark.parametrize("number", range(8))
def test_whole_steps_are_b0_to_b7(number):
    published = variants()[f"efficientnet_b{number}"].arguments
    step = coefficients(number)
    assert (step.width, step.depth, step.size) == (published["width"], published["depth"], published["size"])
    same = {"dropout": published["dropout"]}
    for family in ("efficientnet", "efficientnet_b0", efficientnet):
        assert scaled(family, phi=number, arguments=same) == draw(f"efficientnet_b{number}")


def test_steps_between_and_beyond():
    for below, above in itertools.pairwise(coefficients(phi / 4) for phi in range(-8, 40)):
        assert all(a <= b for a, b in zip(below, above, strict=True))
        assert below != above
    assert coefficients(8) == (2.2, 3.72, 688)
    assert coefficients(-1) == (round(1 / 1.1, 3), round(1 / 1.2, 3), 196)


def test_any_family_with_width_depth_and_size():
    light, usual, heavy = (scaled("mobilenet_v2", phi=phi) for phi in (-2, 0, 2))
    assert usual == draw("mobilenet_v2_1.0")
    assert cost(light).macs < cost(usual).macs / 2
    assert cost(heavy).macs > cost(usual).macs * 2
    half = scaled("mobilenet_v2_0.5", phi=1, arguments={"classes": 7})
    assert half == draw("mobilenet_v2_1.0", {"width": 0.5, "depth": 1.1, "size": 240, "classes": 7})
    oblong = scaled("mobilenet_v2", phi=3, arguments={"size": (96, 128)})
    assert oblong.input == (3, 128, 172)


def test_what_cannot_be_scaled():
    with pytest.raises(UsageError, match=r"resnet18 takes no width.* these can: mobilenet_v1, mobilenet_v2, .*effic"):
        scaled("resnet18", phi=1)
    with pytest.raises(UsageError, match="<lambda> takes no width"):
        search(lambda: draw("eyelet_0.5"), macs=1e6)
    with pytest.raises(UnknownName):
        scaled("mobilenet_v9", phi=1)
    with pytest.raises(UsageError, match="phi is nan"):
        coefficients(float("nan"))


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "efficientnet"])
def test_a_networks_own_cost_finds_it(family):
    own = cost(scaled(family, phi=0))
    found = search(family, macs=own.macs, parameters=own.parameters, peak_bytes=own.peak_activation_bytes)
    best = found.candidates[0]
    assert best.arguments == {"width": 1.0, "depth": 1.0, "size": 224}
    assert (best.cost, best.unused, best.imbalance) == (own, 0, 0)


@pytest.mark.parametrize(
    "budget",
    [{"macs": 150e6}, {"parameters": 3e6}, {"peak_bytes": 1e6}, {"macs": 5e8, "parameters": 4e6, "peak_bytes": 4e6}],
)
def test_every_candidate_keeps_to_the_budget_and_is_what_it_says(budget):
    found = search("mobilenet_v2", **budget)
    assert found.weighed == 1000
    assert len(found.candidates) == 10
    assert [c.loss for c in found.candidates] == sorted(c.loss for c in found.candidates)
    for candidate in found.candidates:
        drawn = cost(draw(found.name, candidate.arguments))
        assert candidate.cost == drawn
        assert drawn.macs <= budget.get("macs", drawn.macs)
        assert drawn.parameters <= budget.get("parameters", drawn.parameters)
        assert drawn.peak_activation_bytes <= budget.get("peak_bytes", drawn.peak_activation_bytes)


def test_nothing_better_was_left_out():
    """Every network of the grid, drawn and costed, against the search that stops early."""
    own = cost(draw("mobilenet_v1_1.0"))
    found = search("mobilenet_v1", macs=own.macs * 0.8, count=10_000)
    best = search("mobilenet_v1", macs=own.macs * 0.8, count=3)
    assert found.candidates[:3] == best.candidates
    assert len(found.candidates) > 100


def test_what_is_unused_is_counted_in_steps():
    own = cost(draw("mobilenet_v2_1.0"))
    found = search("mobilenet_v2", macs=own.macs * GROWTH["macs"], count=10_000)
    (step,) = (c for c in found.candidates if c.arguments == {"width": 1.0, "depth": 1.0, "size": 224})
    assert step.unused == pytest.approx(1)
    assert found.candidates[0].unused < 0.5


def test_budgets_that_cannot_be_met_or_mean_nothing():
    with pytest.raises(UsageError, match=r"no mobilenet_v2_1\.0 of those weighed keeps to 1,000,000 parameters"):
        search("mobilenet_v2", parameters=1e6)
    for budget in ({}, {"macs": 0.0}, {"macs": float("nan")}):
        with pytest.raises(UsageError, match="needs a budget above zero"):
            search("mobilenet_v2", **budget)


def test_other_arguments_go_along():
    found = search(mobilenet_v2, parameters=5e5, arguments={"classes": 10, "padding": "same"})
    best = found.candidates[0]
    graph = mobilenet_v2(width=best.width, depth=best.depth, size=best.size, classes=10, padding="same")
    assert cost(graph) == best.cost


def test_a_search_of_a_thousand_takes_under_two_seconds():
    for family, macs in (("mobilenet_v2", 150e6), ("efficientnet", 1e9)):
        start = time.process_time()
        assert search(family, macs=macs).weighed == 1000
        assert time.process_time() - start < 2
