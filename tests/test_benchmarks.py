"""The benchmark's table: its ratios come from the same turns, what is absent is said, and a short run of it works."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import report

    return report


def figures(report: ModuleType, turns: list[float], **more: Any) -> Any:
    seconds = {picture: [[turn] * 3 for turn in turns] for picture in report.COLUMNS}
    return report.Figures(True, seconds=seconds, cold=[0.5], rates=[100.0], peak_bytes=100_000_000, **more)


def test_the_ratio_is_taken_within_turns(report: ModuleType) -> None:
    # The machine was ten times slower in one turn; of the same turn, the other way always took three times as long.
    table = report.render(
        {"eyespot": figures(report, [0.01, 0.1, 0.01]), "other": figures(report, [0.03, 0.3, 0.03])}, facts(0.1)
    )
    row = next(line for line in table.splitlines() if line.startswith("| other"))
    assert "30.0 ms (3.0×)" in row
    assert "Caution" not in table


def test_absent_ways_and_a_busy_machine_are_said(report: ModuleType) -> None:
    gone = report.Figures(True, absent="No package metadata was found for keras")
    table = report.render({"eyespot": figures(report, [0.01]), "keras-torch": gone}, facts(4.0))
    assert "- keras-torch is absent: No package metadata was found for keras" in table
    assert "| keras-torch" not in table
    assert "Caution" in table


def test_the_tables_go_where_they_belong(report: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- classify -->\nearlier\n<!-- /classify -->\nafter\n")
    ways = {"eyespot": figures(report, [0.004]), "transformers": figures(report, [0.02])}
    report.put(page, "classify", report.render_readme(ways, facts(0.1)))
    text = page.read_text()
    assert "| transformers | 20 ms (5.0×) |" in text
    assert text.startswith("before\n<!-- classify -->\nMobileNetV2")
    assert text.endswith("|\n<!-- /classify -->\nafter\n")
    assert "earlier" not in text
    with pytest.raises(SystemExit, match="has no <!-- other -->"):
        report.put(page, "other", "")
    for page in (BENCHMARKS / "RESULTS.md", BENCHMARKS.parent / "README.md"):
        assert "<!-- classify -->\n" in page.read_text(encoding="utf-8")
        assert "<!-- /classify -->" in page.read_text(encoding="utf-8")


def test_the_table_of_threads(report: ModuleType) -> None:
    found = {"quiet": {"found": [[0.01]], "1 thread": [[0.02]]}, "busy": {"found": [[0.03]], "1 thread": [[0.03]]}}
    table = report.render_search(found)
    assert "| nothing else runs | 10.0 ms | 20.0 ms |" in table


def facts(load: float) -> dict[str, Any]:
    sizes = {"small": 1, "large": 2, "detailed": 3}
    common = {"cpu": "a", "cores": 2, "system": "b", "python": "c", "photograph": "d.jpg", "picture_bytes": sizes}
    return common | {"load_before": (load, 0, 0), "load_after": (load, 0, 0)}


@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARKS / "classify.py", "--only", "onnxruntime", "--rounds", "1", "--cold", "1"]
    done = subprocess.run([*command, "--json", out], check=True, capture_output=True, text=True)
    assert "| eyespot |" in done.stdout
    ways = json.loads(out.read_text())["ways"]
    assert set(ways) == {"eyespot", "onnxruntime", "floor: decode", "floor: network"}
    assert all(seconds > 0 for seconds in ways["eyespot"]["cold"])
    assert ways["eyespot"]["peak_bytes"] > 30_000_000
