"""Every process that eyespot starts runs its own code, whatever lies in the folder it is started in."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eyespot
from eyespot.core.child import python_child
from eyespot.measure.fresh import cold_program, fresh
from eyespot.weights.keras_h5 import read_keras_h5

SOURCE = Path(eyespot.__file__).parent
NAMES = ("numpy", "eyespot", "json", "runpy", "zipfile", "h5py", "onnxruntime", "PIL", "tempfile", "sitecustomize")


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """The current folder holds modules that leave a file when they are imported."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(3)\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PYTHONPATH", "")
    yield folder
    assert not (folder / "ran").exists()


def test_the_fixture_would_notice(hostile):
    subprocess.run([sys.executable, "-m", "eyespot"], capture_output=True, check=False)
    assert (hostile / "ran").read_text()
    (hostile / "ran").unlink()


@pytest.mark.parametrize("path", [[""], ["."], ["here"]])
def test_the_current_folder_is_not_searched(hostile, monkeypatch, path):
    monkeypatch.setattr(sys, "path", [str(hostile) if one == "here" else one for one in path] + sys.path)
    done = subprocess.run(python_child("eyespot", "--version"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_a_source_tree_still_works_from_inside(monkeypatch):
    monkeypatch.chdir(SOURCE.parent)
    monkeypatch.setattr(sys, "path", [str(SOURCE.parent), *sys.path[1:]])
    done = subprocess.run(python_child("eyespot", "--version"), capture_output=True, text=True, check=False)
    assert done.returncode == 0


def test_reading_keras_files(hostile, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"dense"])
        group = file.create_group("dense")
        group.attrs["weight_names"] = np.array([b"dense/kernel:0"])
        group.create_dataset("dense/kernel:0", data=np.ones((2, 3), np.float32))
    assert {name: tensor.shape for name, tensor in read_keras_h5(path).tensors.items()} == {"dense/kernel": (2, 3)}


def test_measuring_a_cold_start(hostile, tiny, tmp_path):
    picture = tmp_path / "x.npy"
    np.save(picture, tiny.goldens().pixels[:1])
    found = fresh(cold_program(tiny.path, runtime="onnxruntime", threads=1, picture=picture), times=1)
    assert len(found.milliseconds) == 1


def test_the_program_itself(hostile, tiny):
    program = Path(sys.executable).parent / "eyespot"
    if not program.exists():
        pytest.skip("eyespot's program is not installed beside this Python")
    done = subprocess.run(
        [program, "show", tiny.path], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr


def test_no_child_is_started_another_way():
    """`-m` puts the current folder first; here is one helper for it, and the two lines that run elsewhere say -P."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "child.py":
            assert not re.search(r"sys\.executable, \"-[mc]\"", text), path
        for line in text.splitlines():
            if re.search(r"python, .*\"-m\"", line):
                assert '"-P", "-m"' in line, line
