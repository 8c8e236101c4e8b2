"""Budgets, figures, and the cache of what was measured."""

import json

import pytest

from eyespot.choose.budget import HEADROOM, Budget, Figures, amount
from eyespot.choose.kept import Kept, Key
from eyespot.errors import UsageError

FIGURES = Figures(9.0, 6.0, 5.0, 4_000_000, 100_000_000, 50, 0.0, "JPEG to label")


def key(**changed):
    values = {"machine": "m", "graph": "g", "pixels": "p", "precision": "int8", "runtime": "onnxruntime"}
    return Key(**{**values, "runtime_version": "1", "threads": 2, "picture": "j", **changed})


def test_what_exceeds_a_budget_is_named_with_its_share():
    budget = Budget(latency_p95_ms=10.0, size_bytes=2e6, memory_bytes=200e6)
    assert budget.exceeded(FIGURES) == {"size_bytes": 2.0}
    assert budget.spent(FIGURES)["memory_bytes"] == 0.5
    assert not Budget(latency_ms=6.0 / HEADROOM + 1e-9).exceeded(FIGURES)


def test_a_latency_keeps_some_of_itself_free():
    assert Budget(latency_p95_ms=9.2).exceeded(FIGURES)
    assert Budget(latency_p95_ms=10.0, latency_ms=4.0).longest_ms == 4.0 * HEADROOM


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, "a budget was needed"), ({"size_bytes": 0.0}, "size is 0"), ({"latency_ms": float("nan")}, "is nan")],
)
def test_what_is_no_budget(given, said):
    with pytest.raises(UsageError, match=said):
        Budget(**given)


def test_figures_are_found_again_by_all_that_they_depend_on(tmp_path):
    kept = Kept(tmp_path / "deep" / "kept.jsonl")
    kept.put(key(), FIGURES, title="a network")
    again = Kept(tmp_path / "deep" / "kept.jsonl")
    assert again.get(key()) == FIGURES
    for changed in ({"machine": "n"}, {"graph": "h"}, {"precision": "float32"}, {"threads": 1}, {"picture": "k"},
                    {"runtime": "openvino"}, {"runtime_version": "2"}, {"version": "0"}, {"pixels": "q"}):  # fmt: skip
        assert again.get(key(**changed)) is None, changed
    assert Kept(tmp_path / "deep" / "kept.jsonl", fresh=True).get(key()) is None


def test_damaged_lines_are_passed_over(tmp_path):
    path = tmp_path / "kept.jsonl"
    Kept(path).put(key(), FIGURES, title="ü")
    with path.open("a") as file:
        file.write('{"key": "x", "figures": {"p95_ms": -1}}\n[]\n{"key": "y", "fig')
    assert Kept(path).get(key()) == FIGURES


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file" / "kept.jsonl")
    kept.put(key(), FIGURES, title="a network")
    assert kept.get(key()) == FIGURES


def test_figures_round_trip_and_refuse_what_is_none():
    assert Figures.from_json(json.loads(json.dumps(FIGURES.to_json()))) == FIGURES
    for broken in ({}, {**FIGURES.to_json(), "p95_ms": 1.0}, {**FIGURES.to_json(), "odd": 1}):
        with pytest.raises(UsageError, match="measure again"):
            Figures.from_json(broken)


def test_amounts_read_as_people_write_them():
    assert amount("latency_p95_ms", 8.0) == "8 ms"
    assert amount("latency_ms", 44.4213) == "44.4 ms"
    assert amount("latency_ms", 3000.0) == "3000 ms"
    assert amount("size_bytes", 5e6) == "5 MB"
