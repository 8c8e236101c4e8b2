"""Soft labels: a teacher's own answers, mapped to the pictures' classes, computed once whatever happens meanwhile."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from conftest import make_bundle, make_pictures
from eyespot.bundle.store import Bundle
from eyespot.core.labels import Labels
from eyespot.data.source import open_source
from eyespot.errors import PictureError, UsageError
from eyespot.run.predict import Model
from tolerances import PROBABILITY

pytest.importorskip("torch")
soft = import_module("eyespot.learn.soft")  # after the skip


@pytest.fixture
def source(tmp_path):
    """Three of the tiny teacher's ten classes, five pictures each."""
    for name in ("class 7", "class 2", "class 5"):
        make_pictures(tmp_path / "pictures" / name, 5)
    return open_source(tmp_path / "pictures")


def test_they_are_the_teachers_logits_of_the_pictures_classes(tiny, source, tmp_path):
    told = []
    got = soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache", step=lambda: told.append(1))
    assert len(told) == 15
    with Model(tiny, threads=1) as teacher:
        want = np.stack([teacher(source.read(sample)).logits for sample in source.samples])
    assert got.dtype == np.float32
    assert np.array_equal(got, want[:, [2, 5, 7]])  # the source's classes, sorted by name
    assert [file.suffix for file in sorted((tmp_path / "cache").iterdir())] == [".lock", ".npy"]


def test_they_are_computed_once(tiny, source, tmp_path, monkeypatch):
    first = soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache", workers=3)
    monkeypatch.setattr(soft, "_compute", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache"), first)
    for other in (
        (make_bundle(tmp_path / "other", seed=1), source.samples),
        (tiny, source.samples[1:]),
        (Bundle(tiny.path, replace(tiny.card, preprocess=replace(tiny.card.preprocess, resize=40)), tiny.labels), None),
    ):
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            soft.soft_labels(other[0], source, other[1] or source.samples, folder=tmp_path / "cache")


@pytest.mark.parametrize("torn", [0, 1, 7])
def test_an_interrupted_computation_goes_on_from_the_last_whole_picture(tiny, source, tmp_path, monkeypatch, torn):
    want = soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "whole")
    done = []

    def stop():
        done.append(1)
        if len(done) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache", step=stop)
    (partial,) = (tmp_path / "cache").glob("*.partial")
    os.truncate(partial, partial.stat().st_size - torn)
    read = []
    monkeypatch.setattr(type(source), "read", lambda self, sample: read.append(sample) or self.files.read(sample.name))
    got = soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache")
    assert np.array_equal(got, want)
    assert len(read) == (6 if torn == 0 else 7)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_killed_process_costs_only_what_it_had_not_written(tiny, source, tmp_path):
    """kill -9 at the ninth picture; nothing but whole rows is taken over."""
    code = """
import os, signal, sys
from pathlib import Path
from eyespot.bundle.store import read
from eyespot.data.source import open_source
from eyespot.learn import soft
soft._DURABLE = 1
source, done = open_source(Path(sys.argv[2])), []
def step():
    done.append(1)
    if len(done) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
soft.soft_labels(read(sys.argv[1]), source, source.samples, folder=Path(sys.argv[3]), step=step)
"""
    command = [sys.executable, "-c", code, str(tiny.path), str(source.root), str(tmp_path / "cache")]
    assert subprocess.run(command, check=False).returncode == -9
    told = []
    got = soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache", step=lambda: told.append(1))
    assert np.array_equal(got, soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "whole"))
    assert len(told) == 15


def test_a_damaged_file_is_computed_again(tiny, source, tmp_path):
    want = soft.soft_labels(tiny, source, source.samples, folder=tmp_path)
    (file,) = tmp_path.glob("soft.*.npy")
    for damage in (b"", file.read_bytes()[:-10], b"rubbish" * 100):
        file.write_bytes(damage)
        assert np.array_equal(soft.soft_labels(tiny, source, source.samples, folder=tmp_path), want)


def test_a_background_class_is_passed_over(source, tmp_path):
    labels = Labels(tuple(f"class {i}" for i in range(9)), background=True)
    plain = make_bundle(tmp_path / "teacher")
    teacher = Bundle(plain.path, plain.card, labels)
    with Model(plain, threads=1) as model:
        want = model(source.read(source.samples[0])).logits
    got = soft.soft_labels(teacher, source, source.samples[:1], folder=tmp_path / "cache")
    assert np.array_equal(got[0], want[[3, 6, 8]])


def test_an_unknown_class_and_a_broken_picture_are_one_line(tiny, tmp_path):
    for name in ("class 1", "tractor"):
        make_pictures(tmp_path / "pictures" / name, 1)
    source = open_source(tmp_path / "pictures")
    with pytest.raises(UsageError, match="does not know 1 of the 2 classes, the first is 'tractor'"):
        soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache")
    (tmp_path / "pictures" / "tractor").rename(tmp_path / "pictures" / "class 3")
    next((tmp_path / "pictures" / "class 3").iterdir()).write_bytes(b"no picture")
    source = open_source(tmp_path / "pictures")
    with pytest.raises(PictureError):
        soft.soft_labels(tiny, source, source.samples, folder=tmp_path / "cache")


def test_a_temperature_softens_and_keeps_the_order():
    logits = np.array([[2.0, 0.0, -1.0], [900.0, 0.0, -900.0]], np.float32)
    plain, warm = soft.soften(logits), soft.soften(logits, 4.0)
    assert np.abs(plain.sum(1) - 1).max() < PROBABILITY
    assert abs(plain[0, 0] / plain[0, 1] - np.exp(2)) < 10 * PROBABILITY
    assert abs(warm[0, 0] / warm[0, 1] - np.exp(0.5)) < 10 * PROBABILITY
    assert np.isfinite(warm).all()
