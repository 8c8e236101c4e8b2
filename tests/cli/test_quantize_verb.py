"""``eyespot quantize`` as a person and as a pipe see it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib import import_module

import pytest

from conftest import make_pictures
from eyespot.run.predict import load
from terminal import on_a_terminal

LOOSE = ("--max-drop", 100, "--min-agreement", 0, "--slower", "--calibrate", 20)


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("labelled")
    paths = make_pictures(folder, 75)
    with load(tiny.path) as model, (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "index"])
        rows.writerows([path.name, model(path).top(1)[0].index] for path in paths)
    return folder


def command(*args):
    return [sys.executable, "-m", "eyespot", *map(str, args)]


def test_on_a_terminal(tiny, data, tmp_path):
    code, text = on_a_terminal(command("quantize", tiny.path, "--data", data, "--out", tmp_path / "small", *LOOSE))
    assert code == 0, text
    for word in (
        "tiny.test → int8",
        "55 pictures measured on, 20 others",
        "top-1 %",
        "ranges",
        "holds",
        "tiny.test-int8",
    ):
        assert word in text
    code, text = on_a_terminal(command("verify", tmp_path / "small"))
    assert code == 0, text


def test_in_a_pipe(tiny, data, tmp_path):
    asked = command(
        "quantize", tiny.path, "--data", data, "--out", tmp_path / "s", "--max-drop", -100, "--calibrate", 20
    )
    done = subprocess.run([*asked, "--precision", "float16"], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["bundle"] is None
    assert report["pictures"] == 55
    assert done.stderr.splitlines()[-1].startswith("eyespot: no bundle was written: no step held")
    assert not (tmp_path / "s").exists()


def test_the_fine_tune_is_named_where_it_was_left_out(monkeypatch):
    verb = import_module("eyespot.cli.quantize")
    assert verb.tuner(0) == (None, "--fine-tune is 0")
    monkeypatch.setattr(verb, "find_spec", lambda _: None)
    assert verb.tuner(300) == (None, "it needs torch; run: pip install 'eyespot[train]'")
    monkeypatch.setattr(verb, "find_spec", lambda _: object())
    tune, why = verb.tuner(300)
    assert callable(tune)
    assert why == ""


def test_too_few_pictures(tiny, tmp_path):
    make_pictures(tmp_path / "class 0", 3)
    done = subprocess.run(
        command("quantize", tiny.path, "--data", tmp_path, "--out", tmp_path / "small"),
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "3 labelled pictures came, at least 66 are needed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
