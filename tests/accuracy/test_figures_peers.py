"""Figures, curves, calibration and intervals against scikit-learn's and SciPy's."""

import importlib
import os

import numpy as np
import pytest

from evaluations import evaluation
from eyespot.accuracy.calibrate import fit_temperature, reliability
from eyespot.accuracy.curves import curves
from eyespot.accuracy.interval import wilson
from eyespot.core.labels import Labels
from eyespot.image.readout import softmax
from tolerances import PROBABILITY, SMOOTHED

pytestmark = pytest.mark.peers


def library(name):
    """A module of the extra 'peers'; CI has it, elsewhere its tests are skipped."""
    return importlib.import_module(name) if os.environ.get("CI") else pytest.importorskip(name)


@pytest.fixture(scope="module")
def metrics():
    return library("sklearn.metrics")


@pytest.fixture(scope="module")
def drawn():
    """Logits of 12 classes, targets of ten of them, drawn at a temperature of 2."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (3000, 12)).astype(np.float32)
    shares = np.cumsum(softmax(logits, 2.0), axis=1)
    targets = (random.random((3000, 1)) > shares).sum(axis=1).clip(max=9)
    return logits, targets


def test_classes_and_averages(metrics, drawn):
    result = evaluation(*drawn, labels=Labels.numbered(12))
    targets, predicted = result.answers.targets, result.predictions
    wanted = metrics.precision_recall_fscore_support(targets, predicted, labels=range(12), zero_division=np.nan)
    for count in result.classes:
        expected = [figures[count.label] for figures in wanted]
        got = [count.precision, count.recall, count.f1 if count.support else np.nan, count.support]
        got = [np.nan if value is None else value for value in got]
        if not count.support:  # scikit-learn's F1 without pictures is that of a recall of nought
            got[2] = expected[2] = 0
        assert got == pytest.approx(expected, abs=PROBABILITY, nan_ok=True)
    present = np.unique(targets)
    average = metrics.precision_recall_fscore_support(
        targets, predicted, labels=present, average="macro", zero_division=0
    )
    assert result.macro == pytest.approx(average[:3], abs=PROBABILITY)
    assert result.macro.recall == pytest.approx(
        metrics.recall_score(targets, predicted, labels=present, average="macro")
    )
    assert np.array_equal(result.matrix, metrics.confusion_matrix(targets, predicted, labels=range(12)))
    best = metrics.top_k_accuracy_score(targets, result.answers.logits, k=5, labels=range(12))
    assert result.top5 == pytest.approx(best, abs=PROBABILITY)
    assert result.top1 == pytest.approx(metrics.accuracy_score(targets, predicted), abs=PROBABILITY)


@pytest.mark.parametrize("digits", [1, 6])
def test_curves_of_two_classes(metrics, digits):
    """With one digit many scores are equal."""
    random = np.random.default_rng(1)
    positive = random.random(2000) < 0.2
    scores = np.round(random.normal(size=2000) + positive, digits)
    got = curves(scores, positive)
    assert got.auc == pytest.approx(metrics.roc_auc_score(positive, scores), abs=PROBABILITY)
    assert got.average_precision == pytest.approx(metrics.average_precision_score(positive, scores), abs=PROBABILITY)
    false, true, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert got.false_positives == pytest.approx(false, abs=PROBABILITY)
    assert got.recall == pytest.approx(true, abs=PROBABILITY)
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    assert got.precision == pytest.approx(precision[::-1], abs=PROBABILITY)
    assert got.recall == pytest.approx(recall[::-1], abs=PROBABILITY)


def test_the_temperature_is_the_minimum_of_the_log_loss(drawn):
    optimise, special = library("scipy.optimize"), library("scipy.special")
    logits, targets = drawn

    def loss(temperature):
        return -special.log_softmax(logits.astype(float) / temperature, axis=1)[np.arange(len(targets)), targets].mean()

    found = optimise.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6}).x
    assert fit_temperature(logits, targets) == pytest.approx(found, rel=SMOOTHED)


def test_the_reliability_diagram(drawn):
    calibration = library("sklearn.calibration")
    result = evaluation(*drawn, labels=Labels.numbered(12))
    confidences, right = result.answers.confidences.astype(float), result.answers.right
    accuracy, confidence = calibration.calibration_curve(right, confidences, n_bins=15)
    bins = [b for b in reliability(confidences, right) if b.pictures]
    assert [b.accuracy for b in bins] == pytest.approx(accuracy, abs=PROBABILITY)
    assert [b.confidence for b in bins] == pytest.approx(confidence, abs=PROBABILITY)


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (3, 17), (50, 50), (4540, 10_000)])
def test_the_interval_of_a_share(hits, count):
    stats = library("scipy.stats")
    expected = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=PROBABILITY)
