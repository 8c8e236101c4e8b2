"""The table of the quantizing benchmark, and a short run of it."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eyespot.accuracy.paired import paired
from eyespot.core.timing import Ratio

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import quantize

    return quantize


def test_the_table_shows_the_drop_with_its_interval_and_the_ratio(benchmark: ModuleType) -> None:
    right = np.zeros(100, np.int64)
    now = right.copy()
    now[:4] = 1
    rows = [
        benchmark.Row("net", benchmark.FLOAT, paired(right, right, right), 4.0, Ratio(1, (1, 1), 15), 4_000_000),
        benchmark.Row("net", benchmark.OURS, paired(right, now, right), 2.0, Ratio(0.5, (0.4, 0.6), 15), 1_000_000),
        benchmark.Row("other", benchmark.OURS, None, 1.0, Ratio(0.7, None, 3), 500_000),
    ]
    lines = benchmark.render(rows).splitlines()
    assert lines[2] == "| net | float32 | 100.00 |  |  | 4.00 | 1 | 4.0 |"
    assert lines[3] == "| net | eyespot | 96.00 | +4.00 [-0.3, +8.2] | 96.0 % | 2.00 | 0.50 [0.40, 0.60] | 1.0 |"
    assert lines[4] == "| other | eyespot |  |  |  | 1.00 | 0.70 | 0.5 |"


@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    out = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARKS / "quantize.py", "--only", "shufflenet_v2_1.0", "--seconds", "0.2"]
    done = subprocess.run([*command, "--threads", "1", "--json", out], check=True, capture_output=True, text=True)
    assert "| shufflenet_v2_1.0 | eyespot |" in done.stdout
    rows = json.loads(out.read_text())["rows"]
    assert [row["way"] for row in rows] == ["float32", "ORT per channel", "eyespot"]
    assert rows[2]["size"] < 0.5 * rows[0]["size"]
