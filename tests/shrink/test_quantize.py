"""Shrinking a bundle: the loss is measured on pictures of its own, and nothing is written that loses too much."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from conftest import make_bundle, make_pictures
from eyespot.accuracy.dataset import examples
from eyespot.accuracy.paired import difference_interval, paired
from eyespot.bundle.store import read
from eyespot.bundle.training_images import TrainingImages, digest
from eyespot.core.timing import Ratio
from eyespot.errors import UsageError
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.int8.run import run_quantized
from eyespot.run.pictures import read_bytes
from eyespot.run.predict import load
from eyespot.run.verify import verify
from eyespot.shrink import quantize as verb
from eyespot.shrink import timing
from eyespot.shrink.ladder import Limits, Shown, _Climber, climb, divergence, layer_noise
from eyespot.shrink.quantize import Wish, quantize
from eyespot.shrink.timing import Timed
from quantizing import pictures
from tolerances import QUANTIZED_LOGITS, relative_error

ANYTHING = Limits(drop=1.0, agreement=0.0)
NOTHING = Limits(drop=-1.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "small", classes=5)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, bundle):
    """90 pictures whose labels are mostly what the float network says, so that a bad step shows."""
    folder = tmp_path_factory.mktemp("labelled")
    paths = make_pictures(folder, 90)
    with load(bundle.path) as model, (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "index"])
        for number, path in enumerate(paths):
            rows.writerow([path.name, 0 if number % 9 == 0 else model(path).top(1)[0].index])
    return examples(folder, bundle.labels)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(timing, "_SECONDS", 0.02)
    monkeypatch.setattr(timing, "_TURNS", 2)
    monkeypatch.setattr(verb, "leave_slow", lambda _, ladder, *__, **___: ladder)  # test_slow_layers.py tries it


@pytest.fixture
def few_steps(monkeypatch):
    """A ladder of ranges, bias correction and what is handed over."""
    for slow in ("equalize", "leave_float", "round", "each_range"):
        monkeypatch.setattr(_Climber, slow, lambda self, recipe: recipe)


def test_the_difference_of_paired_shares():
    targets = np.zeros(100, np.int64)
    before, after = np.zeros(100, np.int64), np.zeros(100, np.int64)
    before[:10], after[5:20] = 1, 1  # both wrong on 5; 5 won, 10 lost
    found = paired(before, after, targets)
    assert (found.before, found.after, found.drop) == (0.9, 0.85, pytest.approx(0.05))
    assert found.agreement == 0.85
    low, high = found.drop_interval
    assert low < 0 < 0.05 < high
    # Agresti and Min (2005), by hand: (10.5 - 5.5) / 102 ± 1.96 · sqrt(16 - 25 / 102) / 102
    assert (low, high) == (pytest.approx(-0.02725, abs=1e-4), pytest.approx(0.12529, abs=1e-4))
    assert difference_interval(0, 0, 400)[1] < 0.01


def test_divergence_is_zero_for_the_same_answers_only():
    logits = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    assert divergence(logits, logits + 3) == pytest.approx(0, abs=1e-6)
    assert divergence(logits, logits[::-1]) > 0.1


def test_the_ladder_stops_at_the_first_step_that_holds(bundle):
    shown = Shown(pictures(50, 32, seed=1), np.zeros(50, np.int64))
    ladder = climb(bundle, pictures(16, 32), shown, limits=ANYTHING)
    assert ladder.held
    assert len(ladder.steps) == 1
    assert ladder.network.float_layers() == []


def test_the_ladder_goes_to_its_end_and_keeps_what_helps(bundle):
    shown = Shown(pictures(50, 32, seed=1), np.zeros(50, np.int64))
    said = []
    ladder = climb(bundle, pictures(16, 32), shown, limits=NOTHING, say=said.append)
    assert not ladder.held
    names = " ".join(step.name for step in ladder.steps)
    for word in ("ranges", "bias correction", "equalisation", "rounding"):
        assert word in names
    kept = [step.divergence for step in ladder.steps if step.kept]
    assert kept == sorted(kept, reverse=True)
    assert all((step.found is not None) == step.kept for step in ladder.steps)
    assert "ranges" in said
    noise = layer_noise(ladder, pictures(2, 32))
    assert len(noise) == len(ladder.network.int8_layers()) + len(ladder.network.float_layers()) - 1  # not the last one
    assert all(5 < layer.decibels < 80 for layer in noise)


def test_a_fine_tune_is_the_last_step_and_judged_on_pictures_that_it_did_not_see(bundle, few_steps):
    shown, calibration = Shown(pictures(50, 32, seed=1), np.zeros(50, np.int64)), pictures(16, 32)
    asked = []

    def nothing(ready, network, seen, *, step):
        asked.append(len(seen))
        step(7)
        return network

    said = []
    ladder = climb(bundle, calibration, shown, limits=NOTHING, tune=nothing, say=said.append)
    assert asked == [12]
    assert "fine-tune, step 7" in said
    last = ladder.steps[-1]
    assert (last.name, last.kept, last.found) == ("quantisation-aware fine-tune", False, None)  # no nearer

    def perfect(ready, network, seen, *, step):
        return Quantized(ready.graph, {}, ready.weights)

    ladder = climb(bundle, calibration, shown, limits=NOTHING, tune=perfect)
    assert ladder.steps[-1].kept
    assert ladder.steps[-1].divergence < min(step.divergence for step in ladder.steps[:-1])
    assert ladder.found is ladder.steps[-1].found


def test_what_the_processor_gets_wrong_is_not_written(bundle, labelled, tmp_path, monkeypatch):
    def elsewhere(network, x):
        return {name: value[:, ::-1] for name, value in run_quantized(network, x).items()}

    monkeypatch.setattr(verb, "run_quantized", elsewhere)
    report = quantize(bundle, labelled, tmp_path / "out", wish=Wish(limits=ANYTHING, calibrate=20, slower=True))
    assert report.bundle is None
    assert "not what its integers mean" in report.why
    assert not (tmp_path / "out").exists()


def test_a_bundle_in_8_bits_verifies_and_serves(bundle, labelled, tmp_path):
    report = quantize(bundle, labelled, tmp_path / "out", wish=Wish(limits=ANYTHING, calibrate=20, slower=True))
    assert (report.calibration, report.found.pictures) == (20, 70)
    assert report.found.before == pytest.approx(8 / 9, abs=0.06)
    small = read(tmp_path / "out")
    assert (small.card.precision, small.card.parent, small.card.name) == ("int8", "tiny.test", "tiny.test-int8")
    assert small.card.metrics[0].value == round(100 * report.found.after, 3)
    assert small.model.stat().st_size == pytest.approx(report.sizes[1], abs=300)  # its metadata
    assert report.sizes[1] < 0.5 * report.sizes[0]
    for runtime in ("onnxruntime", "reference"):
        assert [check.name for check in verify(small, runtime=runtime) if not check.passed] == []
    logits = {}
    for runtime in ("onnxruntime", "reference"):
        with load(small.path, runtime=runtime) as model:
            logits[runtime] = model(labelled[0].path).logits
    assert relative_error(logits["onnxruntime"], logits["reference"]) < QUANTIZED_LOGITS
    assert small.weights().keys() == small.card.graph.parameters.keys()
    assert report.to_json()["float_layers"] == []
    with pytest.raises(UsageError, match="is int8 already"):
        quantize(small, labelled, tmp_path / "again")


@pytest.mark.parametrize(("precision", "most"), [("float16", 0.6), ("bfloat16", 0.6), ("int8-weights", 0.45)])
def test_smaller_files_that_compute_in_float(bundle, labelled, tmp_path, precision, most):
    report = quantize(bundle, labelled, tmp_path / "out", wish=Wish(precision, limits=ANYTHING, calibrate=20))
    assert report.bundle is not None
    assert report.sizes[1] < most * report.sizes[0]
    assert report.found.agreement > 0.9
    assert [check.name for check in verify(report.bundle) if not check.passed] == []


def test_a_loss_that_is_too_large_writes_nothing(bundle, labelled, tmp_path):
    report = quantize(bundle, labelled, tmp_path / "out", wish=Wish("float16", limits=NOTHING, calibrate=20))
    assert report.bundle is None
    assert report.why.startswith("no step held: the best loses")
    assert report.untuned == ""  # nothing would be trained
    assert not (tmp_path / "out").exists()


def test_what_would_be_slower_stays_in_float(bundle, labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "time_both", lambda *_: timed(1.1, 1.4))
    report = quantize(bundle, labelled, tmp_path / "out", wish=Wish(limits=ANYTHING, calibrate=20))
    assert report.bundle is None
    assert "1.25 of the float network's time" in report.why


def test_why_no_fine_tune_was_tried(bundle, labelled, tmp_path, monkeypatch, few_steps):
    monkeypatch.setattr(verb, "time_both", lambda *_: timed(0.4, 0.5))
    wish = Wish(limits=NOTHING, calibrate=16)
    report = quantize(bundle, labelled[:66], tmp_path / "out", wish=wish, untuned="it needs torch")
    assert (report.bundle, report.untuned) == (None, "it needs torch")
    assert report.to_json()["untuned"] == "it needs torch"


def timed(low, high, threads=2):
    return Timed(1.0, (low + high) / 2, Ratio((low + high) / 2, (low, high), 15), threads)


def test_when_threads_leave_it_open_one_decides(monkeypatch):
    asked = []

    def fake(before, after, picture, threads):
        asked.append(threads)
        return timed(0.4, 3.0, threads) if threads > 1 else timed(0.6, 0.7, 1)

    monkeypatch.setattr(timing, "_timed", fake)
    monkeypatch.setattr(timing, "cores", lambda: 2)
    found = timing.time_both(b"", b"", np.zeros((1, 8, 8, 3), np.uint8))
    assert asked == [2, 1]
    assert (found.faster, found.slower) == (True, False)
    assert (timed(0.9, 1.2).faster, timed(0.9, 1.2).slower) == (False, False)
    assert timed(1.01, 1.2).slower


def test_too_few_pictures(bundle, labelled, tmp_path):
    with pytest.raises(UsageError, match="40 labelled pictures came, at least 66 are needed"):
        quantize(bundle, labelled[:40], tmp_path / "out")


def test_pictures_that_cannot_be_read_do_not_count(bundle, labelled, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    data = [*labelled, labelled[0]._replace(path=str(broken))]
    report = quantize(bundle, data, tmp_path / "out", wish=Wish("float16", limits=ANYTHING, calibrate=20))
    assert report.found.pictures == 70
    assert len(report.unreadable) == 1


def trained_on(bundle, labelled, count, path):
    """The same bundle, which says that it was trained on the first so many of the pictures."""
    names = [digest(read_bytes(example.path)) for example in labelled[:count]]
    return make_bundle(path, classes=5, training_images=TrainingImages(frozenset(names)))


def test_the_loss_is_measured_on_pictures_that_were_not_trained_on(bundle, labelled, tmp_path, few_steps):
    """And ranges are chosen on training images first; the new bundle knows them as its parent does."""
    parent = trained_on(bundle, labelled, 30, tmp_path / "parent")
    order = verb._in_order(parent, labelled, 20)
    assert [trained for _, trained in order] == [True] * 20 + [False] * 60
    assert {example for example, trained in order if not trained} == set(labelled[30:])
    report = quantize(parent, labelled, tmp_path / "out", wish=Wish(limits=ANYTHING, calibrate=20, slower=True))
    assert (report.trained_on, report.others) == (0, None)
    assert (report.calibration, report.found.pictures) == (20, 60)
    assert report.to_json()["trained_on"] == 0
    assert read(tmp_path / "out").training_images() == parent.training_images()


def test_where_too_few_others_are_there_their_figure_stands_first(bundle, labelled, tmp_path, few_steps):
    parent = trained_on(bundle, labelled, 80, tmp_path / "parent")
    report = quantize(parent, labelled, tmp_path / "out", wish=Wish(limits=ANYTHING, calibrate=20, slower=True))
    assert (report.trained_on, report.others.pictures, report.found.pictures) == (60, 10, 70)
    both = [load(place) for place in (parent.path, tmp_path / "out")]
    before, after = ([model(e.path).top(1)[0].index == e.target for e in labelled[80:]] for model in both)
    assert (report.others.before, report.others.after) == (np.mean(before), np.mean(after))
    assert report.to_json()["others"]["pictures"] == 10
    (metric,) = report.bundle.card.metrics
    assert (metric.value, metric.data) == (round(100 * report.others.after, 3), "10 pictures")
    report = quantize(bundle, labelled, tmp_path / "other", wish=Wish(limits=ANYTHING, calibrate=20, slower=True))
    assert (report.trained_on, report.others) == (None, None)
    assert report.bundle.card.metrics[0].data == "70 pictures"
