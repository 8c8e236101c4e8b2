"""``eyespot prune`` as a person and as a pipe see it, without torch and with it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module

import pytest
from click.testing import CliRunner

from conftest import ROOT, make_bundle
from eyespot.errors import MissingExtra, UsageError
from eyespot.shrink import timing
from labelled import colours
from terminal import on_a_terminal

command = import_module("eyespot.cli.prune").command
told = import_module("eyespot.cli.prune")._told
PLAIN = ("--threads", "1", "--device", "cpu", "--set", "speed.precision=float32", "--set", "speed.channels_last=off",
         "--set", "speed.compile=off", "--set", "batch=8", "--epochs", "1")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, and a network for their classes with random weights."""
    from eyespot.bundle.build import build
    from eyespot.core.labels import Labels

    folder = tmp_path_factory.mktemp("verb")
    colours(folder / "leaves")
    colours(folder / "more", each=25, seed=1)
    tiny = make_bundle(folder / "numbered", classes=3)
    build(folder / "tiny", tiny.card, weights=tiny.weights(), labels=Labels(tuple(f"class {i} ü" for i in range(3))))
    return folder


def run(*words):
    return CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_without_torch_one_line_says_what_to_install(place, monkeypatch, system):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("eyespot.errors.sys.platform", system)
    found = run(place / "tiny", "--data", place / "leaves", "--out", place / "none")
    assert isinstance(found.exception, MissingExtra)
    text, _, cpu = str(found.exception).partition("; without an NVIDIA GPU, run first: ")
    assert text == "eyespot prune needs an optional dependency; run: pip install 'eyespot[train]'"
    assert cpu == ("pip install torch --index-url https://download.pytorch.org/whl/cpu" if system == "linux" else "")


def test_epochs_and_minutes_are_one_too_many(place):
    found = run(place / "tiny", "--data", place / "leaves", "--out", place / "none", "--epochs", 1, "--minutes", 1)
    assert isinstance(found.exception, UsageError)
    assert "give one of them" in str(found.exception)


def test_every_event_is_a_line_for_a_person():
    assert told({"event": "cut", "macs": 12_300_000, "top1": 0.5}) == "cut to 12.3M MACs           top-1 50.00 %"
    epoch = {"event": "epoch", "epoch": 2, "loss": 0.5, "top1": 0.9, "best": True}
    assert told(epoch).endswith("top-1 90.00 %  best so far")
    assert told({"event": "of a newer version"}) is None


@pytest.mark.slow
def test_on_a_terminal_and_what_is_done_with_the_result(place, tmp_path):
    pytest.importorskip("torch")
    eyespot = [sys.executable, "-m", "eyespot"]
    words = [*eyespot, "prune", str(place / "tiny"), "--data", str(place / "leaves"), "--out", str(tmp_path / "half")]
    code, text = on_a_terminal([*words, *PLAIN])
    assert code == 0, text
    for word in (
        "tiny.test → tiny.test-pruned", "7 pictures of the validation part measured on, 29 others", "cut to",
        "top-1 %, cut alone", "MACs, millions", "× 0.", "channels of", "stem.conv", "holds tiny.test-pruned",
    ):  # fmt: skip
        assert word in text
    picture = next((place / "leaves").rglob("*.png"))
    for verb in (
        ["verify", tmp_path / "half"],
        ["show", tmp_path / "half"],
        ["evaluate", tmp_path / "half", place / "leaves"],
        ["measure", tmp_path / "half", "--quick"],
        ["classify", picture, "--model", tmp_path / "half"],
        ["quantize", tmp_path / "half", "--data", place / "more", "--out", tmp_path / "h", "--precision", "float16",
         "--calibrate", 10, "--max-drop", 100, "--min-agreement", 0],
        ["export", tmp_path / "half", "--to", "onnx", "--out", tmp_path / "exported"],
    ):  # fmt: skip
        done = subprocess.run([*eyespot, *map(str, verb)], capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stderr


def test_in_a_pipe_and_too_large_a_loss(place, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(timing, "_SECONDS", 0.02)
    monkeypatch.setattr(timing, "_TURNS", 2)
    found = run(place / "tiny", "--data", place / "leaves", "--out", tmp_path / "s", "--max-drop", "-100", *PLAIN)
    assert found.return_value == 1
    report = json.loads(found.stdout)
    assert (report["bundle"], report["pictures"], report["learned_from"]) == (None, 7, 29)
    assert report["macs"]["after"] <= 0.5 * report["macs"]["before"]
    assert report["why_not"].endswith("best")
    assert "eyespot: no bundle was written: it loses" in found.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_the_page_is_true(place, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    page = (ROOT / "docs" / "prune.md").read_text(encoding="utf-8")
    python = "\n".join(re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    (tmp_path / "leaves").symlink_to(place / "leaves")
    (tmp_path / "mine").symlink_to(place / "tiny")
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, check=False, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    options = {name for parameter in command.params for name in parameter.opts}
    for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("eyespot prune"):
                assert set(re.findall(r"--[a-z-]+", line)) <= options, line
