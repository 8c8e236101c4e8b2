"""The training benchmark's table: time to the accuracy that a peer reached, never to another one."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FACTS: dict[str, Any] = {"cpu": "a", "cores": 2, "system": "b", "python": "c", "pictures": [80, 20]}


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "train", raising=False)
    import train

    return train


def test_the_ratio_is_to_the_first_moment_at_which_as_much_was_reached(train: ModuleType) -> None:
    ours = train.Curve([(20.0, 30.0, 0.9), (40.0, 60.0, 0.97), (80.0, 120.0, 0.99)])
    theirs = train.Curve([(100.0, 150.0, 0.8), (300.0, 450.0, 0.95), (400.0, 600.0, 0.94)])
    table = train.render({train.OURS: ours, "other": theirs}, FACTS)
    row = next(line for line in table.splitlines() if line.startswith("| other"))
    assert row == "| other | 95.00 % | 300 s | 450 s | 40 s | 60 s | 7.5× (7.5× by processor) |"


def test_what_eyespot_did_not_reach_and_what_is_absent_is_said(train: ModuleType) -> None:
    ways = {
        train.OURS: train.Curve([(20.0, 0.0, 0.9)]),
        "better": train.Curve([(100.0, 0.0, 0.95)]),
        "gone": train.Curve(absent="keras is not installed"),
    }
    table = train.render(ways, FACTS)
    assert "| better | 95.00 % | 100 s | 0 s | never | | |" in table
    assert "- gone is absent: keras is not installed" in table
    assert "| gone" not in table


def test_lines_that_are_no_validation_are_passed_over(train: ModuleType) -> None:
    lines = [
        "Found 10 images\n",
        '{"event": "start", "epochs": 5}\n',
        '{"event": "probe", "top1": 0.5}\n',
        '{"epoch": 1, "top1": 0.75}\n',
        '{"event": "done", "top1": 0.75}\n',
    ]
    assert list(train._told(iter(lines))) == [0.5, 0.75]
