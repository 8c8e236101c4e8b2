"""``eyespot data check`` as a person and as a pipe see it."""

import json
import os
import subprocess
import sys

import pytest

from collections_made import fill, pack, picture
from terminal import on_a_terminal


def eyespot(*args):
    done = subprocess.run(
        [sys.executable, "-m", "eyespot", *map(str, args)], capture_output=True, check=False, text=True
    )
    assert "Traceback" not in done.stderr
    return done


def terminal(*args):
    return on_a_terminal([sys.executable, "-m", "eyespot", *map(str, args)], env=dict(os.environ))


@pytest.fixture
def leaves(tmp_path):
    files = {f"{['rot', 'scab', 'Ärger mit 葉'][i % 3]}/{i}.png": picture(i) for i in range(30)}
    return fill(tmp_path / "my leaves", files)


def test_a_sound_collection(leaves, tiny):
    done = eyespot("data", "check", leaves, "--model", tiny.path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["pictures"], len(data["classes"]), data["suspicious"]["model"]) == (30, 3, "tiny.test")
    code, text = terminal("data", "check", leaves, "--quick")
    assert code == 0
    assert "30 pictures in 3 classes" in text
    assert "Ärger mit 葉" in text
    assert "Nothing stands in the way of training." in text


def test_faults_and_a_page(leaves, tmp_path):
    (leaves / "rot" / "broken.jpg").write_bytes(b"")
    (leaves / "scab" / "a rather long name for a copy of the picture number zero, as people give them.png").write_bytes(
        picture(0)
    )
    code, text = terminal("data", "check", leaves, "--quick", "--html", tmp_path / "page.html")
    assert code == 1
    assert "broken.jpg: this is an empty file" in text
    assert "duplicates across classes" in text
    assert max(map(len, text.splitlines())) <= 100
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_full_disk_is_one_line(leaves, tmp_path):
    resource = pytest.importorskip("resource")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "eyespot",
            "data",
            "check",
            str(leaves),
            "--quick",
            "--html",
            str(tmp_path / "page.html"),
        ],
        capture_output=True,
        check=False,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "page.html cannot be written: File too large" in done.stderr


def test_names_cannot_move_the_cursor(tmp_path):
    name = os.fsdecode(b"a\n\x1b[2J\xff.jpg")
    code, text = terminal(
        "data", "check", fill(tmp_path / "x", {f"rot/{name}": b"", "rot/1.png": picture(1)}), "--quick"
    )
    assert code == 1
    assert "a\ufffd\ufffd[2J\ufffd.jpg: this is an empty file" in text


def test_many_classes_are_cut_in_the_middle(tmp_path):
    files = {f"class {c:03}/{i}.png": picture(100 * c + i, size=(16, 16)) for c in range(40) for i in range(1 + c % 3)}
    code, text = terminal("data", "check", pack(tmp_path / "x.tar", files), "--quick")
    assert code == 0
    assert "… 16 more" in text
    assert "40 classes have fewer than 10 pictures" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none"], "does not exist"),
        (["LEAVES", "--html", "page.txt"], "ends in .html"),
        (["LEAVES", "--group", "("], "not a regular expression"),
        (["LEAVES", "--model", "nothing_like_it"], "no model called"),
        ([], "DATA"),
    ],
)
def test_wrong_usage_is_one_line(leaves, args, message):
    done = eyespot("data", "check", *(leaves if a == "LEAVES" else a for a in args))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
