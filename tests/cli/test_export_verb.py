"""``eyespot export`` as a person and as a pipe see it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from conftest import make_pictures
from eyespot.cli.export import command as verb
from eyespot.export.formats import FORMATS
from terminal import on_a_terminal


def command(*args):
    return [sys.executable, "-m", "eyespot", "export", *map(str, args)]


def test_on_a_terminal(tiny, tmp_path):
    code, text = on_a_terminal(command(tiny.path, "--to", "onnx", "--out", tmp_path / "out", "--seconds", 0.01))
    assert code == 0, text
    for words in (
        "tiny.test → onnx, float32",
        "2 pictures through ONNX Runtime",
        "of their range",
        "1e-04",
        "top-1 agreement",
        "1 thread",
        "model.onnx 0.86 MB",
    ):
        assert words in text
    assert (tmp_path / "out" / "example.py").exists()


def test_in_a_pipe(tiny, tmp_path):
    make_pictures(tmp_path / "pictures", 3)
    (tmp_path / "pictures" / "bad.jpg").write_bytes(b"no picture")
    asked = command(tiny.path, "--to", "onnx", "--out", tmp_path / "out", "--data", tmp_path / "pictures")
    done = subprocess.run([*asked, "--seconds", "0"], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["proof"]["pictures"] == 5
    assert report["proof"]["accuracy"] is None
    assert report["proof"]["latency_ms"] is None
    assert "not counted: " in done.stderr
    del report["out"]
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())


def test_what_misses_its_budget_is_one_line_and_no_folder(tiny, tmp_path):
    asked = command(tiny.path, "--to", "onnx", "--out", tmp_path / "out", "--max-error", "1e-12")
    done = subprocess.run(asked, capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "is refused and nothing stays: logits differ by" in done.stderr.splitlines()[-1]
    assert "they part first in stem.conv" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_wrong_usage(tmp_path):
    done = subprocess.run(
        command("no such bundle", "--to", "gif", "--out", tmp_path / "out"), capture_output=True, check=False, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("eyespot: there is no format 'gif'; choose one of onnx, ")


@pytest.mark.parametrize("name", [row.name for row in FORMATS])
def test_help_names_every_format(name):
    (to,) = (option for option in verb.params if option.name == "to")
    assert name in to.help.rstrip(".").split(", ")
