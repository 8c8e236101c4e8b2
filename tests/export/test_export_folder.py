"""Every format of the table: its folder answers as the bundle does, its example runs, and a broken one is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from conftest import make_pictures
from eyespot.bundle.build import build
from eyespot.bundle.build_quantized import build_quantized
from eyespot.bundle.store import read
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.pixels import torchvision_preprocess
from eyespot.core.sketch import Sketch
from eyespot.errors import ExportError, MissingExtra, UsageError
from eyespot.export import export as folder
from eyespot.export import formats, proof
from eyespot.export.export import export, pictures_of
from eyespot.export.formats import FORMATS, find_format
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.onnx import to_onnx
from eyespot.lower.tensors import random_weights
from eyespot.run.predict import load
from quantizing import quantized

FLOATS = [row.name for row in FORMATS if row.float32 and row.open]
INTEGERS = [row.name for row in FORMATS if row.int8 and row.open]
QUICK = 0.01  # seconds of timing


@pytest.fixture(scope="module")
def tiny_int8(tiny, tmp_path_factory):
    ready = make_ready(tiny.card.graph, tiny.weights(), tiny.card.preprocess)
    place = tmp_path_factory.mktemp("int8") / "tiny"
    return build_quantized(place, tiny, quantized(ready), ready.preprocess)


def installed(name):
    format = find_format(name)
    if format.module:
        pytest.importorskip(format.module, exc_type=ImportError)
    return format


def swap(monkeypatch, format, **changes):
    """The table with another row in the place of one."""
    rows = tuple(replace(row, **changes) if row.name == format.name else row for row in FORMATS)
    monkeypatch.setattr(formats, "FORMATS", rows)


@pytest.mark.parametrize("name", FLOATS)
def test_float32(name, tiny, tmp_path):
    format = installed(name)
    done = export(tiny, name, tmp_path / "out", seconds=QUICK)
    assert done.precision == "float32"
    assert 0 < done.proof.error <= format.budgets[0].logits
    assert min(done.proof.milliseconds) > 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {*done.sizes, "labels.txt", "preprocess.json", "golden.jpg", "goldens.safetensors", "report.json"} <= names
    assert format.example[1] in names
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["proof"]["pictures"] == 2
    assert report["files"][format.model]["bytes"] == (tmp_path / "out" / format.model).stat().st_size
    if format.example[1].endswith(".py"):
        check_example(tmp_path / "out", tiny)


@pytest.mark.parametrize("name", INTEGERS)
def test_int8(name, tiny_int8, tmp_path):
    format = installed(name)
    done = export(tiny_int8, name, tmp_path / "out", seconds=0)
    assert done.precision == "int8"
    assert done.proof.error <= format.budgets[1].logits
    if format.example[1].endswith(".py"):
        check_example(tmp_path / "out", tiny_int8)


def test_heads_for_training_are_left_out(tmp_path):
    s = Sketch((3, 32, 32))
    x = s.conv("stem", s.input, 8, kernel=3, stride=4, bias=True)
    with s.train_only():
        aux = s.linear("aux", s.flatten("aux.flatten", s.global_pool("aux.pool", x)), 10)
    head = s.linear("classifier", s.flatten("flatten", s.global_pool("pool", s.act("act", x, "relu"))), 10)
    graph = s.graph(head, aux)
    card = Card("aux.test", "aux", {}, graph, torchvision_preprocess(32, 32), licence="MIT")
    weights = random_weights(graph, 1)
    assert "aux.weight" in weights
    bundle = build(tmp_path / "bundle", card, weights=weights, labels=Labels.numbered(10))
    assert export(bundle, "onnx", tmp_path / "out", seconds=0).proof.error <= find_format("onnx").budgets[0].logits


def check_example(out, bundle):
    """The example program runs by itself, without eyespot, and finds the same label in the photograph."""
    program = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", str(out / "example.py")],
        capture_output=True, text=True, check=False, cwd=out.parent,
    )  # fmt: skip
    assert program.returncode == 0, program.stderr
    assert "eyespot" not in (out / "example.py").read_text() + (out / "pictures.py").read_text()
    with load(bundle.path) as model:
        assert program.stdout.split("  ")[1].splitlines()[0] == model(out / "golden.jpg").label


@pytest.mark.parametrize("name", FLOATS)
def test_a_broken_float32_is_refused(name, tiny, tmp_path):
    format = installed(name)

    def broken(graph, weights, *, preprocess, metadata):
        layer = "block4.pointwise.conv.weight"
        wrong = weights[layer].copy()
        wrong[5] += np.ptp(wrong)
        return format.float32(graph, {**weights, layer: wrong}, preprocess=preprocess, metadata=metadata)

    with pytest.raises(ExportError, match="is refused and nothing stays: logits differ by") as caught:
        export(tiny, name, tmp_path / "out", writer=broken)
    if format.inside:
        assert "they part first in block4.pointwise" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", INTEGERS)
def test_a_broken_int8_is_refused(name, tiny_int8, tmp_path, monkeypatch):
    format = installed(name)

    def broken(network, *, preprocess, metadata):
        layer = "block4.pointwise.conv.bias"
        wrong = network.tensors[layer] + np.int32(20_000)
        return format.int8(
            replace(network, tensors={**network.tensors, layer: wrong}), preprocess=preprocess, metadata=metadata
        )

    swap(monkeypatch, format, int8=broken)
    with pytest.raises(ExportError, match="is refused and nothing stays: logits differ by") as caught:
        export(tiny_int8, name, tmp_path / "out")
    if format.inside:
        assert "they part first in block4.pointwise" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_metadata_travel_in_the_file(tiny, tmp_path):
    onnx = pytest.importorskip("onnx")
    export(tiny, "onnx", tmp_path / "out", seconds=0)
    found = {each.key: each.value for each in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert json.loads(found["preprocess"]) == tiny.card.preprocess.to_json()
    assert found["labels"].splitlines() == list(tiny.labels.names)


def test_labelled_pictures_give_a_drop_and_agreement(tiny, tmp_path):
    paths = make_pictures(tmp_path / "pictures", 25)
    with load(tiny.path) as model:
        rows = [f"{path.name},{model(path).top(1)[0].index}" for path in paths]
    (tmp_path / "pictures" / "labels.csv").write_text("\n".join(["file,index", *rows]))
    shown = pictures_of(tmp_path / "pictures", tiny, most=100)
    done = export(tiny, "onnx", tmp_path / "out", pictures=shown, seconds=0)
    assert done.proof.accuracy.pictures == 25
    assert done.proof.accuracy.before == done.proof.accuracy.after == 1
    assert done.proof.pictures == 27
    assert done.proof.agreement == 1


def test_a_plain_folder_has_no_labels(tiny, tmp_path):
    paths = make_pictures(tmp_path / "pictures", 5)
    (tmp_path / "pictures" / "bad.jpg").write_bytes(b"no picture")
    shown = pictures_of(tmp_path / "pictures", tiny, most=100)
    assert shown.targets is None
    assert shown.pixels.shape == (5, 32, 32, 3)
    assert len(shown.unreadable) == 1
    assert len(pictures_of(tmp_path / "pictures", tiny, most=2).pixels) <= 2
    assert len(pictures_of(paths[0], tiny, most=2).pixels) == 1


def test_wrong_answers_on_pictures_are_refused(tiny, tmp_path):
    """What few logits show no more than labels do: a looser budget for logits, and labels that change."""
    format = find_format("onnx")

    def shuffled(graph, weights, *, preprocess, metadata):
        last = max(name for name in weights if weights[name].ndim == 1 and weights[name].shape == (10,))
        return to_onnx(graph, {**weights, last: -5 * weights[last]}, preprocess=preprocess, metadata=metadata)

    make_pictures(tmp_path / "pictures", 30)
    shown = pictures_of(tmp_path / "pictures", tiny, most=100)
    budget = format.budgets[0]._replace(logits=100.0)
    with pytest.raises(ExportError, match=r"% of the labels agree \(99 % were needed\)"):
        export(tiny, "onnx", tmp_path / "out", pictures=shown, budget=budget, writer=shuffled)


def test_the_picture_in_the_middle_has_a_budget_too(tiny, tmp_path):
    budget = find_format("onnx").budgets[0]._replace(middle=1e-12)
    with pytest.raises(ExportError, match="of their range in every other picture"):
        export(tiny, "onnx", tmp_path / "out", budget=budget)
    assert not (tmp_path / "out").exists()


def test_a_quantized_source_is_held_to_its_integers(tiny_int8, tmp_path, monkeypatch):
    """A few pictures are answered in numpy; the rest by ONNX Runtime only where it answered those alike."""
    make_pictures(tmp_path / "pictures", 4)
    shown = pictures_of(tmp_path / "pictures", tiny_int8, most=100)
    whole = export(tiny_int8, "onnx", tmp_path / "whole", pictures=shown, seconds=0)
    monkeypatch.setattr(proof, "_MEANT", 1)
    part = export(tiny_int8, "onnx", tmp_path / "part", pictures=shown, seconds=0)
    assert part.proof.pictures == whole.proof.pictures == 6
    assert part.proof.error <= whole.proof.error
    monkeypatch.setattr(proof, "INT8", proof.INT8._replace(logits=-1.0))
    with pytest.raises(ExportError, match="what its integers mean: logits differ by"):
        export(tiny_int8, "onnx", tmp_path / "none", pictures=shown, seconds=0)
    assert not (tmp_path / "none").exists()


def test_places(tiny, tmp_path):
    out = tmp_path / "deep" / "out"
    export(tiny, "onnx", out, seconds=0)
    with pytest.raises(UsageError, match="already holds an export; remove it"):
        export(tiny, "onnx", out)
    (out / "mine.txt").write_text("of the old one")
    export(tiny, "onnx", out, seconds=0, replace=True)
    assert not (out / "mine.txt").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is no export"):
        export(tiny, "onnx", tmp_path / "mine", replace=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_what_cannot_be_written(tiny, tiny_int8, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="there is no format 'gif'; choose one of onnx"):
        export(tiny, "gif", tmp_path / "out")
    onnx = find_format("onnx")
    swap(monkeypatch, onnx, int8=None)
    with pytest.raises(UsageError, match=r"in 8 bits, which eyespot does not write as onnx; export .* tiny.test"):
        export(tiny_int8, "onnx", tmp_path / "out")
    swap(monkeypatch, onnx, float32=None)
    with pytest.raises(UsageError, match=r"onnx has no float32; quantize tiny.test first"):
        export(tiny, "onnx", tmp_path / "out")
    swap(monkeypatch, onnx, module="no_such_runtime", extra="nothing")
    with pytest.raises(MissingExtra, match=r"eyespot\[nothing\]"):
        export(tiny, "onnx", tmp_path / "out")


def test_what_does_not_run_here_says_so(tiny, tmp_path, monkeypatch):
    swap(monkeypatch, find_format("onnx"), open=None, unproven="it runs elsewhere only")
    done = export(tiny, "onnx", tmp_path / "out")
    assert done.proof is None
    assert "it runs elsewhere only" in done.notes


def test_the_background_class_has_a_line():
    from eyespot.core.labels import Labels

    assert folder.lines_of(Labels(("cat", "dog"), ("n1", "n2"), background=True)) == "-\tbackground\nn1\tcat\nn2\tdog\n"
    assert folder.lines_of(Labels(("cat", "dog"))) == "cat\ndog\n"


def test_goldens_are_the_bundles(tiny, tmp_path):
    export(tiny, "onnx", tmp_path / "out", seconds=0)
    assert (tmp_path / "out" / "goldens.safetensors").read_bytes() == (
        read(tiny.path).path / "goldens.safetensors"
    ).read_bytes()
    assert (tmp_path / "out" / "golden.jpg").read_bytes() == tiny.goldens().jpeg
