"""``eyespot classify`` as a person and as a pipe see it."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading

import pytest

from conftest import make_pictures
from terminal import on_a_terminal


def eyespot(*args, stdin=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "eyespot", *map(str, args)],
        input=stdin,
        capture_output=True,
        env={**os.environ, **(env or {})},
        check=False,
    )


def terminal(*args):
    return on_a_terminal([sys.executable, "-m", "eyespot", *map(str, args)])


def records(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    make_pictures(folder, 12)
    (folder / "00005.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")
    make_pictures(folder / "inside", 2)
    return folder


def test_one_object_per_picture_in_the_order_given(tiny, pictures):
    names = [str(pictures / f"{i:05}.jpg") for i in (3, 1, 2)]
    done = eyespot("classify", *names, "-m", tiny.path)
    assert (done.returncode, done.stderr) == (0, b"")
    rows = records(done)
    assert [row["image"] for row in rows] == names
    for row in rows:
        assert list(row) == ["image", "model", "top"]
        assert row["model"] == "tiny.test"
        assert len(row["top"]) == 5
        assert list(row["top"][0]) == ["index", "id", "label", "probability"]
        shares = [p["probability"] for p in row["top"]]
        assert shares == sorted(shares, reverse=True)


def test_an_unreadable_picture_stands_in_its_place(tiny, pictures):
    done = eyespot("classify", pictures, "-m", tiny.path, "--top", 2)
    rows = records(done)
    assert done.returncode == 1
    assert len(rows) == 12
    assert [list(r) for r in rows] == [["image", "error"] if i == 5 else ["image", "model", "top"] for i in range(12)]
    assert "an image" in rows[5]["error"]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_answers_below_the_cards_threshold_are_marked(tiny, pictures, tmp_path, threshold):
    from dataclasses import replace
    from shutil import copytree

    copytree(tiny.path, tmp_path / "b")
    (tmp_path / "b" / "card.json").write_text(replace(tiny.card, threshold=threshold).to_text())
    first = pictures / "00001.jpg"
    (row,) = records(eyespot("classify", first, "-m", tmp_path / "b"))
    assert list(row) == ["image", "model", "certain", "top"]
    assert row["certain"] is (threshold == 0)
    for shown in ((first,), (pictures,)):
        _, text = terminal("classify", *shown, "-m", tmp_path / "b")
        assert ("not certain" in text) == (threshold == 1)
        assert all(len(re.sub(r"\x1b\[\d*m", "", line)) <= 100 for line in text.splitlines() if "% " in line)
    assert eyespot("classify", first, "-m", tmp_path / "b", "--out", tmp_path / "o.csv").returncode == 0
    header, line = (tmp_path / "o.csv").read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["certain"] == str(threshold == 0).lower()


def test_recursive(tiny, pictures):
    assert len(records(eyespot("classify", pictures, "-m", tiny.path, "-r"))) == 14


def test_standard_input(tiny, pictures):
    data = (pictures / "00001.jpg").read_bytes()
    done = eyespot("classify", "-", pictures / "00001.jpg", "-m", tiny.path, stdin=data)
    first, second = records(done)
    assert (done.returncode, first["image"]) == (0, "-")
    assert first["top"] == second["top"]


def test_a_url(tiny, pictures):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(pictures))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        done = eyespot("classify", f"{base}/00001.jpg", f"{base}/none.jpg", pictures / "00001.jpg", "-m", tiny.path)
        server.shutdown()
        thread.join()
    first, missing, local = records(done)
    assert first["image"] == f"{base}/00001.jpg"
    assert first["top"] == local["top"]
    assert "404" in missing["error"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-m", "no_such_model", "x.jpg"], "no model called"),
        (["-m", "/no/such/bundle", "x.jpg"], "not a bundle"),
        (["-m", "mobilenet_v2_1.O.tf", "x.jpg"], "mobilenet_v2_1.0.tf"),
        ([], "Missing argument"),
        (["x.jpg", "--top", "0"], "--top"),
        (["-", "-"], "once"),
    ],
)
def test_wrong_usage_is_one_line_and_two(args, message):
    done = eyespot("classify", *args)
    text = done.stderr.decode()
    assert message in text
    assert "Traceback" not in text
    assert done.stdout == b""
    assert done.returncode == (1 if "bundle" in message else 2)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["EMPTY"], "no images in"),
        (["PICTURES", "--out", "o.txt"], "must end in"),
        (["PICTURES", "--out", "no/o.csv"], "does not exist"),
        (["-", "--out", "o.csv"], "only once"),
    ],
)
def test_wrong_places_are_one_line_and_two(tiny, pictures, tmp_path, args, message):
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": tmp_path / "empty", "PICTURES": pictures}
    done = eyespot("classify", *(places.get(a, a) for a in args), "-m", tiny.path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_out_goes_on_and_lists_what_failed(tiny, pictures, tmp_path):
    out = tmp_path / "o.jsonl"
    done = eyespot("classify", pictures, "-m", tiny.path, "-o", out)
    whole = out.read_bytes()
    assert done.returncode == 1
    assert b"1 picture could not be read" in done.stderr
    assert b"00005.jpg" in done.stderr
    out.write_bytes(whole[: len(whole) // 2])
    again = eyespot("classify", pictures, "-m", tiny.path, "-o", out)
    assert b"going on" in again.stderr
    assert again.returncode == 1
    assert out.read_bytes() == whole


def test_on_a_terminal(tiny, pictures):
    code, text = terminal("classify", pictures / "00001.jpg", "-m", tiny.path)
    assert code == 0
    assert "class " in text
    assert "█" in text
    assert "%" in text
    assert "{" not in text
    code, text = terminal("classify", pictures, "-m", tiny.path)
    assert code == 1
    assert "12 images in" in text
    assert "1 picture could not be read" in text
    code, text = terminal("classify", pictures / "00001.jpg", "-m", tiny.path, "--json")
    assert json.loads(text)["model"] == "tiny.test"


def test_a_closed_pipe_is_quiet(tiny, pictures):
    done = subprocess.run(
        f"{sys.executable} -m eyespot classify {pictures}/0000*.jpg -m {tiny.path} | head -n 1",
        shell=True,
        capture_output=True,
        check=False,
    )
    assert json.loads(done.stdout)["image"].endswith("00000.jpg")
    assert done.stderr == b""


def shell(command):
    done = subprocess.run(command, shell=True, capture_output=True, check=False, executable="/bin/bash")
    assert b"Traceback" not in done.stderr
    return done


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(("to", "cause"), [("/dev/full", b"No space left"), ("&-", b"Bad file descriptor")])
def test_output_that_cannot_be_written_is_one_line(tiny, pictures, tmp_path, to, cause):
    program = f"{sys.executable} -m eyespot"
    for verb in (f"classify {pictures}/00001.jpg -m {tiny.path}", "models", f"show {tiny.path}"):
        done = shell(f"{program} {verb} >{to}")
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
        assert b"standard output cannot be written: " + cause in done.stderr
        assert b"a file" not in done.stderr
    done = shell(f"{program} classify {pictures}/00001.jpg -m {tiny.path} --out {tmp_path}/o.csv >&- 2>&- <&-")
    assert done.returncode == 0
    assert (tmp_path / "o.csv").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "eyespot: a file cannot be written: No space left on device; "),
        (OSError(30, "Read-only file system", "o.npz"), "eyespot: o.npz cannot be written: Read-only file system; "),
        (OSError(2, "No such file or directory", "x"), None),
    ],
)
def test_a_disk_that_fails_is_one_line_wherever_it_does(monkeypatch, capfd, error, message):
    """Other errors of the system are bugs, and are shown whole."""
    from eyespot.cli import main

    def verb(*, standalone_mode):
        def write():
            raise error

        write()

    monkeypatch.setattr(main.cli, "main", verb)
    monkeypatch.setattr(main, "_give_up_stdout", lambda: None)
    with pytest.raises(OSError if message is None else SystemExit) as caught:
        main.main()
    if message is not None:
        assert caught.value.code == 1
        said = capfd.readouterr().err
        assert said.startswith(message)
        assert said.count("\n") == 1


def test_what_is_passed_over_is_counted(tiny, pictures, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    data = (pictures / "00001.jpg").read_bytes()
    for name in ("a.jpg", "blob0001", "b.jpg_large", "c.jpg?w=640", "d.jpeg~", "e.html", ".hidden.jpg", "._a.jpg"):
        (folder / name).write_bytes(data)
    for name in ("notes.txt", "raw.nef", "Thumbs.db", "empty"):
        (folder / name).write_bytes(b"II*\0" if name == "raw.nef" else b"")
    (folder / "inside").mkdir()
    (folder / "__MACOSX").mkdir()
    for out in (folder / "o.csv", folder / "o.jsonl", folder / "o.parquet"):
        done = eyespot("classify", folder, "-m", tiny.path, "--out", out)
        said = done.stderr.decode().splitlines()
        assert done.returncode == 0
        assert said[0].startswith("6 images in")
        assert said[2] == "1 folder inside not looked into; --recursive does (links to folders are never followed)"
    assert said[1] == "5 files passed over, no images by their names or first bytes: empty, notes.txt, o.csv, …"
    done = eyespot("classify", folder, "-m", tiny.path)
    assert len(records(done)) == 6
    assert b"passed over" in done.stderr
    assert "passed over" in terminal("classify", folder, "-m", tiny.path)[1]


def test_what_failed_is_tried_again(tiny, pictures, tmp_path):
    folder, out = tmp_path / "p", tmp_path / "o.jsonl"
    make_pictures(folder, 3)
    good = (folder / "00001.jpg").read_bytes()
    (folder / "00001.jpg").write_bytes(good[:50])
    assert eyespot("classify", folder, "-m", tiny.path, "--out", out).returncode == 1
    before = out.read_bytes()
    done = eyespot("classify", folder, "-m", tiny.path, "--out", out)
    assert (done.returncode, out.read_bytes()) == (1, before)
    assert b"00001.jpg" in done.stderr
    (folder / "00001.jpg").write_bytes(good)
    done = eyespot("classify", folder, "-m", tiny.path, "--out", out)
    assert done.returncode == 0
    assert b"holds 2 results, and 1 failure (retried if among these images); going on from there" in done.stderr
    assert sorted(json.loads(line)["image"][-9:] for line in out.read_bytes().splitlines()) == [
        "00000.jpg",
        "00001.jpg",
        "00002.jpg",
    ]
    assert b"error" not in out.read_bytes()


def test_a_retrained_model_of_the_same_name_is_refused(tiny, pictures, tmp_path):
    from dataclasses import replace
    from shutil import copytree

    out = tmp_path / "o.csv"
    for name, temperature in (("first", 1.0), ("again", 1.5)):
        copytree(tiny.path, tmp_path / name)
        (tmp_path / name / "card.json").write_text(replace(tiny.card, temperature=temperature).to_text())
    first = pictures / "00001.jpg"
    assert eyespot("classify", first, "-m", tmp_path / "first", "--out", out).returncode == 0
    before = out.read_bytes()
    for options in (("-m", tmp_path / "again"), ("-m", tmp_path / "first", "--runtime", "reference")):
        done = eyespot("classify", pictures / "00002.jpg", *options, "--out", out)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert b"results of another version of tiny.test" in done.stderr
        assert out.read_bytes() == before


def test_nothing_to_do_leaves_nothing_and_is_said(tiny, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    for suffix in ("jsonl", "csv", "parquet"):
        done = eyespot("classify", tmp_path / "empty", "-m", tiny.path, "--out", tmp_path / f"o.{suffix}")
        assert (done.returncode, [p.name for p in tmp_path.iterdir()]) == (2, ["empty"])
        assert b"there are no images in" in done.stderr
        assert b"(1 file passed over, no images by their names or first bytes: notes.txt)" in done.stderr
    code, text = terminal("classify", tmp_path / "empty", "-m", tiny.path)
    assert (code, "1 file passed over" in text) == (2, True)
    out = tmp_path / "o.csv"
    assert eyespot("classify", pictures / "00001.jpg", "-m", tiny.path, "--out", out).returncode == 0
    done = eyespot("classify", pictures / "00002.jpg", "-m", tiny.path, "--out", out)
    assert b"none of the 1 results that" in done.stderr


@pytest.mark.parametrize(("runtime", "threads"), [("onnxruntime", "1"), ("reference", "None")])
def test_numpy_starts_no_threads_that_only_the_reference_needs(tiny, examples, runtime, threads):
    code = (
        "import os, sys; os.environ.pop('OPENBLAS_NUM_THREADS', None); from eyespot.cli.main import cli\n"
        f"cli(['classify', {str(examples / 'coffee.jpg')!r}, '-m', {str(tiny.path)!r}, '--runtime', {runtime!r}],"
        " standalone_mode=False)\nprint(os.environ.get('OPENBLAS_NUM_THREADS'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == threads
