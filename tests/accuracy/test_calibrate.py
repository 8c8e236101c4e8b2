"""Calibration: the temperature that fits, within its bounds, and the error that it mends; small cases by hand."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from conftest import make_bundle, make_pictures
from eyespot.accuracy.abstain import at_threshold
from eyespot.accuracy.calibrate import (
    COOLEST,
    HOTTEST,
    calibrated,
    expected_error,
    fit_temperature,
    reliability,
    write_calibrated,
)
from eyespot.accuracy.dataset import examples
from eyespot.accuracy.evaluation import evaluate
from eyespot.accuracy.overlap import Overlap
from eyespot.bundle.store import read
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.errors import UsageError
from eyespot.image.readout import softmax
from eyespot.run.predict import Model
from eyespot.run.verify import verify
from terminal import on_a_terminal
from tolerances import FITTED, PROBABILITY


def drawn(temperature, *, count=20_000, classes=5, seed=0):
    """Logits, and targets drawn with the probabilities of softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, classes)).astype(np.float32)
    probabilities = np.cumsum(softmax(logits, temperature), axis=1)
    return logits, (random.random((count, 1)) > probabilities).sum(axis=1).clip(max=classes - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_targets_comes_back(temperature):
    logits, targets = drawn(temperature)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=FITTED)
    assert fit_temperature(logits * 2, targets) == pytest.approx(2 * temperature, rel=FITTED)


def test_two_classes_by_hand():
    """Three of four right at a margin of 2. The target counts right by 5/6, so 3 · 11/12 + 1/12 of four are right:
    17/24, and log(17/7) / 2 is the sharpness."""
    logits = np.array([[2, 0]] * 4, np.float32)
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2 / np.log(17 / 7), rel=PROBABILITY)


def test_rows_that_are_all_right_do_not_make_it_sure_of_everything():
    random = np.random.default_rng(0)
    targets = random.integers(0, 9, 100)
    logits = random.normal(0, 1, (100, 9)).astype(np.float32)
    logits[np.arange(100), targets] += 15
    left = 1 - softmax(logits, fit_temperature(logits, targets)).max(axis=1).mean()
    assert 0.3 / 102 < left < 3 / 102


@pytest.mark.parametrize(
    ("logits", "targets", "expected"),
    [
        (np.zeros((0, 3)), [], 1.0),
        (np.ones((4, 1)), [0, 0, 0, 0], 1.0),
        (np.ones((3, 3)), [0, 1, 2], 1.0),
        (np.eye(3) * 10, [1, 2, 0], HOTTEST),
        (np.eye(3) * 1e-6, [0, 1, 2], COOLEST),
        (np.eye(3) * 1e30, [0, 1, 2], HOTTEST),
    ],
)
def test_where_nothing_can_be_fitted_it_is_bounded(logits, targets, expected):
    got = fit_temperature(logits.astype(np.float32), np.array(targets, np.int64))
    assert got == pytest.approx(expected, rel=PROBABILITY)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (np.zeros((2, 3)), [0], r"\(2, 3\), targets \(1,\)"),
        (np.zeros((2, 3)), [0, 3], "from 0 to 3; there are 3 classes"),
        (np.zeros((2, 3)), [0, -1], "from -1 to 0"),
        (np.full((2, 3), np.nan), [0, 1], "not-a-number"),
    ],
)
def test_arrays_that_do_not_belong_together(logits, targets, message):
    with pytest.raises(UsageError, match=message):
        fit_temperature(logits, np.array(targets))


def test_bins_by_hand():
    """(0, 0.5] holds 0.5 and 0.25, (0.5, 1] holds 0.9 three times: the gaps are 0.125 and 0.2333."""
    confidences = np.array([0.5, 0.25, 0.9, 0.9, 0.9], np.float32)
    bins = reliability(confidences, np.array([True, False, True, False, True]), bins=2)
    assert [(b.low, b.high, b.pictures) for b in bins] == [(0, 0.5, 2), (0.5, 1, 3)]
    assert [b.confidence for b in bins] == pytest.approx([0.375, 0.9], abs=PROBABILITY)
    assert [b.accuracy for b in bins] == pytest.approx([0.5, 2 / 3], abs=PROBABILITY)
    assert expected_error(bins) == pytest.approx((2 * 0.125 + 3 * (0.9 - 2 / 3)) / 5, abs=PROBABILITY)


def test_fifteen_bins_from_nought_to_one():
    bins = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert len(bins) == 15
    assert (bins[0].pictures, bins[-1].pictures, expected_error(bins)) == (1, 1, 0.0)
    assert expected_error(reliability(np.zeros(0), np.zeros(0, bool))) == 0.0


def test_scaling_mends_the_error():
    logits, targets = drawn(2.5)
    errors = []
    for temperature in (1.0, fit_temperature(logits, targets)):
        probabilities = softmax(logits, temperature)
        errors.append(expected_error(reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)))
    assert errors[0] > 0.1
    assert errors[1] < 0.01


def test_a_card_gets_a_temperature_and_the_threshold_at_that_temperature(tiny):
    logits, targets = drawn(2.5)
    card = calibrated(tiny.card, logits, targets, precision=0.9)
    assert card.temperature == fit_temperature(logits, targets)
    probabilities = softmax(logits, card.temperature)
    kept = at_threshold(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets, card.threshold)
    assert kept.precision >= 0.9
    assert 0 < kept.coverage < 1
    assert calibrated(tiny.card, logits, targets).threshold is None
    assert calibrated(tiny.card, logits[:0], targets[:0], precision=0.9) == tiny.card
    assert Card.from_text(card.to_text()) == card


def test_no_probabilities():
    with pytest.raises(UsageError, match="between 0 and 1"):
        reliability(np.array([1.5]), np.array([True]))
    with pytest.raises(UsageError, match=r"\(pictures,\)"):
        reliability(np.zeros(2), np.zeros(3, bool))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A bundle, 40 images of which it names most rightly, and their evaluation."""
    folder = tmp_path_factory.mktemp("calibrating")
    bundle = make_bundle(folder / "bundle", classes=3)
    with Model(bundle, threads=1) as model:
        for number, path in enumerate(make_pictures(folder / "pictures", 40)):
            label = (model(path).top(1)[0].index + (number % 5 == 0)) % 3
            (folder / "data" / f"class {label}").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / "data" / f"class {label}")
        return bundle, folder / "data", evaluate(model, examples(folder / "data", bundle.labels), precision=0.9)


def test_a_calibrated_bundle_is_whole_and_serves_what_was_fitted(answered, tmp_path):
    bundle, data, result = answered
    written = write_calibrated(bundle, result, tmp_path / "new")
    opened = read(tmp_path / "new")
    assert opened.card == written.card
    assert opened.card.temperature == result.fitted[0] != 1
    assert opened.card.threshold is not None
    assert opened.card.files == bundle.card.files
    assert all(check.passed for check in verify(opened))
    assert read(bundle.path).card.temperature == 1  # as it was
    with Model(opened, threads=1) as model:
        again = evaluate(model, examples(data, opened.labels), precision=0.9)
    assert again.certain is not None
    assert again.certain.precision >= 0.9
    assert again.top1 == result.top1


def test_in_place_the_card_alone_is_replaced(answered, tmp_path):
    bundle, _, result = answered
    shutil.copytree(bundle.path, tmp_path / "own")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "own").iterdir()}
    own = read(tmp_path / "own")
    write_calibrated(own, result, tmp_path / "own")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "own").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"card.json"}
    assert before.keys() == after.keys()  # nothing is left behind
    assert read(tmp_path / "own").card.temperature == result.fitted[0]
    assert all(check.passed for check in verify(read(tmp_path / "own")))


def test_what_nothing_can_be_calibrated_on_is_refused(answered, tmp_path):
    bundle, _, result = answered
    few = replace(result, answers=result.answers.only(np.arange(40) < 19))
    with pytest.raises(UsageError, match="expected 20 images or more to calibrate on, got 19"):
        write_calibrated(bundle, few, tmp_path / "out")
    trained = replace(result, overlap=Overlap(trained=40, right=40, counted=True, validated=0))
    with pytest.raises(UsageError, match="every image was trained on"):
        write_calibrated(bundle, trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="is not a bundle"):
        write_calibrated(bundle, result, tmp_path / "taken")


def test_the_option_of_evaluate(answered, tmp_path):
    bundle, data, result = answered
    asked = [sys.executable, "-m", "eyespot", "evaluate", str(bundle.path), str(data), "--precision", "0.9"]
    done = subprocess.run([*asked, "--calibrate", str(tmp_path / "new")], capture_output=True, check=True, text=True)
    assert json.loads(done.stdout)["calibrated"] == str(tmp_path / "new")
    assert read(tmp_path / "new").card.temperature == result.fitted[0]
    code, text = on_a_terminal([*asked, "--calibrate", str(tmp_path / "seen")])
    assert code == 0
    assert f"seen has temperature {result.fitted[0]:.4g} and threshold " in text
    done = subprocess.run([*asked, "--calibrate", str(data)], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists and is not a bundle" in done.stderr


def test_calibrating_takes_the_validation_split_and_evaluating_the_test_split(tmp_path):
    for part, count in (("train", 1), ("val", 2), ("test", 3)):
        make_pictures(tmp_path / part / "class 0", count)
    labels = Labels.numbered(1)
    assert len(examples(tmp_path, labels)) == 3
    assert len(examples(tmp_path, labels, usual=("val", "test"))) == 2
