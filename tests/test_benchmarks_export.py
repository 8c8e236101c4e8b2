"""The tables of the exporting benchmark, and a short run of it."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eyespot.accuracy.paired import paired
from eyespot.core.timing import Ratio
from eyespot.export.formats import FLOAT32, INT8
from eyespot.export.proof import Proof

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import export

    return export


def test_the_table_shows_what_misses_its_budget(benchmark: ModuleType) -> None:
    right = np.zeros(100, np.int64)
    now = right.copy()
    now[:4] = 1
    rows = [
        benchmark.Row("net", "float32", "LiteRT", Proof(FLOAT32, 102, 2e-6, 1.0, None, (2.0, 3.0), 1.5, 1), 4_000_000),
        benchmark.Row(
            "net", "int8", "ncnn", Proof(INT8, 102, 0.4, 0.96, paired(right, now, right), None, None, 1), 990_000, "far"
        ),
    ]
    lines = benchmark.render(rows).splitlines()
    assert lines[2] == "| net | float32 | LiteRT | 2.0e-06 | 100.0 % |  | 4.00 | 3.00 | 1.50 | yes |"
    assert lines[3] == "| net | int8 | ncnn | 4.0e-01 | 96.0 % | +4.00 [-0.3, +8.2] | 0.99 |  |  | no |"


def test_beside_google_more_right_answers_are_a_plus(benchmark: ModuleType) -> None:
    targets = np.zeros(100, np.int64)
    theirs, ours = targets.copy(), targets.copy()
    theirs[:10], ours[:4] = 1, 1
    found = benchmark.Beside(
        paired(theirs, ours, targets), (4.0, 3.9), Ratio(0.975, (0.96, 0.99), 30), (4_100_000, 3_900_000)
    )
    lines = benchmark.render_beside(found).splitlines()
    assert lines[2] == "| Google's | 90.00 | 4.00 | 4.10 |"
    assert lines[3] == "| ours | 96.00 | 3.90 | 3.90 |"
    assert "ours is right +6.00 points more often" in lines[5]
    assert "takes 0.975 [0.960, 0.990] times as long" in lines[5]


def test_a_short_run(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARKS / "export.py", "--networks", "resnet20_cifar", "--formats", "onnx", "ncnn"]
    done = subprocess.run([*command, "--seconds", "0.05", "--json", out], check=True, capture_output=True, text=True)
    rows = json.loads(out.read_text())["rows"]
    assert [row["precision"] for row in rows if row["format"] == "ONNX Runtime"] == ["float32", "int8"]
    assert rows[-1]["size"] < 0.5 * rows[0]["size"]
    assert "- ncnn is absent" in done.stdout or "| ncnn |" in done.stdout
    assert not any(row["why"] for row in rows)
