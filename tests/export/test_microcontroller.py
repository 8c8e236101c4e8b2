"""``--to c``: a real CIFAR network answers like the integers it was written from, its figures, and which boards fit."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from conftest import make_bundle
from eyespot.bundle.adopt import adopt
from eyespot.bundle.build_quantized import build_quantized
from eyespot.errors import RuntimeFailure, UnknownName
from eyespot.export.export import export
from eyespot.export.microcontroller import boards, facts, find_board
from eyespot.lower.c.run_integer import run_integer
from eyespot.lower.c.to_c import SOURCE
from eyespot.lower.c.to_integer import to_integer
from eyespot.lower.int8.plan import make_ready
from eyespot.run.compiled_c import CompiledCSession, compiler
from eyespot.run.open import open_session
from quantizing import quantized

if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
    pytest.skip("needs a C compiler", allow_module_level=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small network's exported folder, and the bundle that it was made of."""
    place = tmp_path_factory.mktemp("c")
    parent = make_bundle(place / "tiny")
    ready = make_ready(parent.card.graph, parent.weights(), parent.card.preprocess)
    small = build_quantized(place / "int8", parent, quantized(ready), ready.preprocess)
    export(small, "c", place / "out", seconds=0)
    return place / "out", small


def thumbnails(archive, count):
    """Pictures of Tiny ImageNet's validation half, 32 by 32."""
    with zipfile.ZipFile(archive) as pictures:
        names = sorted(name for name in pictures.namelist() if "/val/" in f"/{name}" and not name.endswith("/"))
        chosen = names[:: len(names) // count][:count]
        images = [Image.open(io.BytesIO(pictures.read(name))).convert("RGB").resize((32, 32)) for name in chosen]
    return np.stack([np.asarray(image) for image in images])


def test_a_real_network_under_300_kb(assets, tmp_path):
    """ResNet-20: all integers are the reference's, all labels the quantized network's, the figures the compiler's."""
    parent = adopt(assets / "weights" / "torch" / "resnet20-12fca82f.th", tmp_path / "float")
    pixels = thumbnails(assets / "datasets" / "tiny_imagenet_200.zip", 20)
    ready = make_ready(parent.card.graph, parent.weights(), parent.card.preprocess)
    network = quantized(ready, pixels=pixels[:8])
    small = build_quantized(tmp_path / "int8", parent, network, ready.preprocess)
    done = export(small, "c", tmp_path / "out", seconds=0)
    assert done.facts["flash_bytes"] < 300_000
    assert done.facts["ram_bytes"] == done.facts["arena_bytes"] == 3 * 16 * 32 * 32 + 2 * 2 * 160  # two columns
    program = to_integer(small.quantized(), small.card.preprocess)
    with CompiledCSession(tmp_path / "out" / SOURCE) as session, open_session(small) as source:
        answers = session.integers(pixels[8:])
        np.testing.assert_array_equal(answers, run_integer(program, pixels[8:])[program.output])
        np.testing.assert_array_equal(answers.argmax(1), source.run(pixels[8:]).argmax(1))


def test_the_folder_says_what_it_takes(written):
    folder, _ = written
    report = json.loads((folder / "report.json").read_text())["facts"]
    assert report["flash_bytes"] == report["of which code"] + report["of which constants"]
    assert 215_000 < report["of which constants"] < 250_000
    assert report["ram_bytes"] == report["arena_bytes"] == 6144 + 2 * 2 * 32
    assert "pico" in report["boards with room"].split(", ")
    assert "blue-pill" not in report["boards with room"]
    assert report["counted by"].startswith("size, after ")


def test_the_example_program_agrees_with_the_bundle(written, tmp_path):
    """As the page says: pictures.py makes the pixels, the compiled program reads them."""
    folder, bundle = written
    program = tmp_path / "classify"
    subprocess.run(
        [*compiler(), "-std=c99", "-O2", "-o", program, folder / "main.c", folder / SOURCE],
        check=True,
    )
    prepare = "import sys; from pictures import prepare; sys.stdout.buffer.write(prepare('golden.jpg').tobytes())"
    pixels = subprocess.run([sys.executable, "-c", prepare], capture_output=True, check=True, cwd=folder).stdout
    said = subprocess.run([program], input=pixels, capture_output=True, check=True).stdout.decode()
    best = int(bundle.goldens().logits[0].argmax())
    assert said.split("  ")[0] == bundle.labels.names[best]


def test_boards(written):
    folder, _ = written
    assert len({board.name for board in boards()}) == len(boards()) > 8
    for board in boards():
        assert 16 <= board.ram < board.flash <= 16384
        assert 16 <= board.mhz <= 1000
        documents = ("data sheet", "specifications", "hardware description", "guide", "ST RM0", "board file")
        assert any(document in board.source for document in documents), board.name
    small, large = find_board("blue-pill"), find_board("nucleo-h743zi")
    assert facts(folder, board=small)["fits"] is False
    found = facts(folder, board=large, command=compiler()[0])
    assert found["fits"] is True
    assert found["nucleo-h743zi"].startswith("fits: ")
    assert small.fits(64 * 1024, 20 * 1024)
    assert not small.fits(64 * 1024 + 1, 0)
    assert not small.fits(0, 20 * 1024 + 1)
    with pytest.raises(UnknownName, match="there is no board 'abacus'; choose one of arduino"):
        find_board("abacus")


def test_a_given_compiler_must_work(written, tmp_path):
    folder, _ = written
    with pytest.raises(RuntimeFailure, match="'no-such-cc -O2' was not found"):
        facts(folder, command="no-such-cc -O2")


def test_without_size_the_figures_are_left_out(written, monkeypatch, tmp_path):
    folder, _ = written
    (tmp_path / "cc").symlink_to(shutil.which("cc") or shutil.which("gcc"))
    monkeypatch.setattr(shutil, "which", lambda name: None if "size" in name else "found")
    assert "not counted: the tool 'size' was not found" in facts(folder)["flash"]


def test_the_verb_asks_for_boards_of_c_alone(written, tiny, tmp_path):
    _, bundle = written
    asked = [sys.executable, "-m", "eyespot", "export", "--out", str(tmp_path / "out"), "--seconds", "0"]
    done = subprocess.run([*asked, "--to", "c", "--board", "blue-pill", bundle.path], capture_output=True, check=True)
    report = json.loads(done.stdout)["facts"]
    assert report["fits"] is False
    assert report["blue-pill"].startswith("does not fit: ")
    for words, said in (
        (["--to", "onnx", "--board", "pico", tiny.path], "are for --to c; onnx runs on no microcontroller"),
        (["--to", "c", "--board", "abacus", tiny.path], "there is no board 'abacus'"),
        (["--to", "c", "--replace", tiny.path], "c has no float32; quantize tiny.test first"),
    ):
        done = subprocess.run([*asked, *words], capture_output=True, check=False, text=True)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
