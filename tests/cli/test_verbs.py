"""import, show, verify and evaluate as a person and as a pipe see them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import make_pictures
from terminal import on_a_terminal


def eyespot(*args):
    done = subprocess.run(
        [sys.executable, "-m", "eyespot", *map(str, args)], capture_output=True, check=False, text=True
    )
    assert "Traceback" not in done.stderr
    return done


def terminal(*args):
    return on_a_terminal([sys.executable, "-m", "eyespot", *map(str, args)], env=dict(os.environ))


def test_show_a_bundle(tiny):
    data = json.loads(eyespot("show", tiny.path).stdout)
    assert data["name"] == "tiny.test"
    assert data["labels"]["count"] == 10
    assert data["preprocess"]["size"] == [32, 32]
    assert data["parameters"] == sum(layer["parameters"] for layer in data["layers"])
    assert data["macs"] == sum(layer["macs"] for layer in data["layers"])
    code, text = terminal("show", tiny.path)
    assert code == 0
    for word in (
        "tiny.test",
        "Apache-2.0",
        "licence",
        "shorter side to 32",
        "class 0",
        "block13.pointwise.conv",
        "MACs",
    ):
        assert word in text


def test_show_an_architecture():
    data = json.loads(eyespot("show", "mobilenet_v2_1.0", "--no-layers").stdout)
    assert data["parameters"] == 3_504_872
    assert "layers" not in data
    code, text = terminal("show", "mobilenet_v2_1.0")
    assert code == 0
    assert "3,504,872" in text


def test_verify(tiny, tmp_path):
    good = eyespot("verify", tiny.path)
    assert good.returncode == 0
    assert json.loads(good.stdout)["verified"] is True
    copy = shutil.copytree(tiny.path, tmp_path / "copy")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    bad = eyespot("verify", tiny.path, copy)
    first, second = map(json.loads, bad.stdout.splitlines())
    assert (bad.returncode, first["verified"], second["verified"]) == (1, True, False)
    assert "model.onnx has sha256" in second["checks"][0]["found"]
    code, text = terminal("verify", copy)
    assert code == 1
    assert "FAILS" in text


@pytest.mark.parametrize("classes", [5, 10, 13])
def test_verify_notices_a_model_that_is_not_its_weights(tmp_path, tiny, classes):
    """The hashes are right and the file is sound, but the network is another one: the goldens tell."""
    from conftest import make_bundle
    from eyespot.bundle.store import read, write
    from eyespot.errors import BundleError
    from eyespot.run.predict import load
    from eyespot.run.verify import verify

    other = make_bundle(tmp_path / "other", seed=5, classes=classes)
    mixed = write(
        tmp_path / "mixed",
        tiny.card,
        weights=tiny.weights(),
        labels=tiny.labels,
        model=other.model.read_bytes(),
        goldens=tiny.goldens(),
    )
    checks = {check.name: check.passed for check in verify(read(mixed.path))}
    assert checks["files"]
    assert not checks["logits"]
    assert {check.name: check.passed for check in verify(read(mixed.path), runtime="reference")}["logits"]
    with pytest.raises(BundleError, match=r"model\.onnx is not what the card's graph and the weights give"):
        load(mixed.path)


def test_evaluate(tiny, tmp_path):
    for k in range(3):
        make_pictures(tmp_path / "data" / f"class {k}", 2)
    data = json.loads(eyespot("evaluate", tiny.path, tmp_path / "data").stdout)
    assert data["pictures"] == 6
    assert data["top1_interval"][0] <= data["top1"] <= data["top1_interval"][1]
    code, text = terminal("evaluate", tiny.path, tmp_path / "data")
    assert code == 0
    assert "top-1" in text
    (tmp_path / "data" / "class 0" / "00000.jpg").write_bytes(b"junk")
    done = eyespot("evaluate", tiny.path, tmp_path / "data")
    assert done.returncode == 1
    assert "not counted" in done.stderr


def test_evaluate_with_a_report(tiny, tmp_path):
    for k in range(3):
        make_pictures(tmp_path / "data" / "test" / f"class {k}", 2)
        make_pictures(tmp_path / "data" / "train" / f"class {k}", 1)
    report = tmp_path / "r.html"
    done = eyespot("evaluate", tiny.path, tmp_path / "data", "--report", report, "--precision", "0.5", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["abstain"]["wanted_precision"] == 0.5
    assert (data["pictures"], data["about"]["data"]["path"]) == (6, str(tmp_path / "data"))
    assert {"macro", "ece", "calibration", "classes", "confusion", "mistakes"} <= data.keys()
    assert f'<data value="{data["top1"]!r}" data-figure="top1">' in report.read_text(encoding="utf-8")
    report.write_text("old")
    code, text = terminal("evaluate", tiny.path, tmp_path / "data", "--part", "train", "--report", report)
    assert code == 0
    for words in ("on 3 pictures", "macro F1", "calibration error", "class 2", "precision", "99 %", "r.html"):
        assert words in text
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_import(tmp_path):
    from safetensors.numpy import save_file

    from test_docs import keras_like_weights

    save_file(keras_like_weights(), tmp_path / "w.safetensors")
    (tmp_path / "names.txt").write_text("".join(f"thing {i}\n" for i in range(7)))
    out = tmp_path / "b"
    args = ("import", tmp_path / "w.safetensors", "--out", out, "--scheme", "timm.mobilenet_v1")
    done = eyespot(*args, "--labels", tmp_path / "names.txt", "--name", "mine.v1", "--set", "size=64")
    assert done.returncode == 0, done.stderr
    assert "7 classes" in done.stdout
    data = json.loads(eyespot("show", out).stdout)
    assert (data["name"], data["labels"]["names"][6], data["input"]) == ("mine.v1", "thing 6", [3, 64, 64])
    again = eyespot(*args)
    assert (again.returncode, again.stdout) == (2, "")
    assert "--replace" in again.stderr
    assert eyespot(*args, "--replace").returncode == 0


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["import", "none.pth"], 2, "not a file"),
        (["import", "google/mobilenet_v2_1.0_224"], 2, "run eyespot fetch mobilenet_v2_1.0.google and pass --model"),
        (["import", "nobody/no_net"], 2, "hf download nobody/no_net --local-dir no_net, and run eyespot import no_net"),
        (["show", "nobody/no_net"], 2, "hf download nobody/no_net --local-dir no_net, and run eyespot import no_net"),
        (["import", "CARD"], 1, ""),
        (["import", "none.pth", "--set", "size"], 2, "KEY=VALUE"),
        (["import", "none.pth", "--background"], 2, "--labels"),
        (["show", "nothing_like_it"], 2, "no model called"),
        (["verify", "nothing_like_it"], 2, "no model called"),
        (["evaluate", "BUNDLE", "nowhere"], 2, "neither"),
        (["evaluate", "BUNDLE"], 2, "DATA"),
        (["evaluate", "BUNDLE", "nowhere", "--report", "r.txt"], 2, "ends in .html"),
        (["evaluate", "BUNDLE", "nowhere", "--precision", "0"], 2, "0"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_wrong_usage_is_one_line(tiny, args, code, message):
    places = {"CARD": tiny.path / "card.json", "BUNDLE": tiny.path}
    done = eyespot(*(places.get(a, a) for a in args))
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ""


def test_a_terminal_shows_control_characters_and_obeys_none(tmp_path):
    """Labels, cards, names of files and servers' words come from strangers."""
    hostile = "\x1b]0;title\x07\x1b[2J\x1b[8m\x9b31m\u202egnp.exe\r"
    place = tmp_path / hostile
    place.mkdir()
    code, text = on_a_terminal([sys.executable, "-m", "eyespot", "classify", place / "x.jpg"])
    assert code == 1
    assert r"\x1b]0;title\x07\x1b[2J\x1b[8m\x9b31m\u202egnp.exe\r" in text.replace("\n", "")
    assert not set("\x07\x9b\u202e").intersection(text)


def test_pipes_devices_and_an_endless_input_end(tiny, tmp_path, monkeypatch):
    """None of them ever would."""
    os.mkfifo(tmp_path / "pipe.jpg")
    program = [sys.executable, "-m", "eyespot", "classify", "-m", tiny.path]
    done = subprocess.run(
        [*program, tmp_path / "pipe.jpg", "/dev/zero", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    rows = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert (done.returncode, len(rows)) == (1, 3)
    assert all("is a pipe or a device, expected a file; pipe one image into" in error for error in rows)
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run([*program, "-"], stdin=endless, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]
