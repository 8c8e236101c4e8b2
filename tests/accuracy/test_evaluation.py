"""Accuracy: which label a picture has, how often the model says it, and how sure that share is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import make_pictures
from evaluations import evaluation
from eyespot.accuracy.dataset import Example, examples
from eyespot.accuracy.evaluation import evaluate
from eyespot.core.labels import Labels
from eyespot.errors import UsageError
from eyespot.image.readout import softmax
from eyespot.run.predict import Model
from tolerances import FITTED, PROBABILITY

LABELS = Labels(("red fox", "grey-wolf", "Egyptian cat"), ("n1", "n2", "n3"))


@pytest.fixture
def folder(tmp_path):
    for name in ("n1", "Grey_Wolf", "egyptian cat"):
        make_pictures(tmp_path / "data" / name, 2)
    return tmp_path / "data"


def test_folders_are_classes_by_id_or_name(folder):
    found = examples(folder, LABELS)
    assert [e.target for e in found] == [1, 1, 2, 2, 0, 0]
    assert found == examples(folder, LABELS)


@pytest.mark.parametrize("columns", ["file,index\na.jpg,2\nb.jpg,0\n", "file,label\na.jpg,n3\nb.jpg,Red Fox\n"])
def test_a_csv_and_its_pictures(tmp_path, columns):
    make_pictures(tmp_path / "images", 1)
    (tmp_path / "images" / "00000.jpg").rename(tmp_path / "images" / "a.jpg")
    shutil.copy(tmp_path / "images" / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / "labels.csv").write_text(columns)
    for data in (tmp_path, tmp_path / "labels.csv"):
        found = examples(data, LABELS)
        assert [e.target for e in found] == [0, 2]
        assert [e.path for e in found] == [str(tmp_path / "b.jpg"), str(tmp_path / "images" / "a.jpg")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\nx\n", "it needs file, and index or label"),
        ("file,index\na.jpg,3\n", "line 2: index '3' is not one of 0 to 2"),
        ("file,index\na.jpg,-1\n", "line 2"),
        ("file,label\na.jpg,dog\n", "'dog' is none of the model's 3 labels"),
        ("file,index\n", "no labelled pictures"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path, content, message):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(UsageError, match=message):
        examples(tmp_path / "x.csv", LABELS)


def test_a_class_that_the_model_does_not_know(folder):
    make_pictures(folder / "dog", 1)
    with pytest.raises(UsageError, match=r"'dog'.*1 of 4 folders"):
        examples(folder, LABELS)


def test_neither_folder_nor_csv(tmp_path):
    with pytest.raises(UsageError, match="neither"):
        examples(tmp_path / "nothing", LABELS)


def test_counts_what_the_model_says(tiny, tmp_path):
    """A data set labelled by the model itself is right every time, one shifted by one label never; a broken file
    is not counted."""
    paths = make_pictures(tmp_path / "all", 12)
    with Model(tiny, threads=1) as model:
        for path in paths:
            right = tmp_path / "right" / f"class {model(path).index}"
            wrong = tmp_path / "wrong" / f"class {(model(path).top(10)[9]).index}"
            for place in (right, wrong):
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        (right / "broken.jpg").write_bytes(b"no picture")
        steps = []
        good = evaluate(model, examples(tmp_path / "right", tiny.labels), step=lambda: steps.append(1))
        bad = evaluate(model, examples(tmp_path / "wrong", tiny.labels))
    assert (good.pictures, good.top1, good.top5, len(good.failures), len(steps)) == (12, 1.0, 1.0, 1, 13)
    assert (bad.pictures, bad.top1, bad.top5) == (12, 0.0, 0.0)
    assert good.to_json()["unreadable"][0]["image"].endswith("broken.jpg")


def test_every_figure_by_hand():
    """At a temperature of 2, a margin of log 81 is 0.9 to 0.05 and 0.05 of the others (nearly: 9 to 1 to 1)."""
    high = 2 * np.log(9)
    rows = [[high, 0, 0], [high, 0, 0], [0, high, 0], [0, 0, high], [0.2, 0.1, 0]]
    result = evaluation(rows, [0, 0, 1, 1, 2], temperature=2.0, threshold=0.5, wanted=0.7)
    sure, unsure = 9 / 11, float(softmax(np.array([[0.2, 0.1, 0]]), 2.0).max())
    data = result.to_json()
    assert (data["pictures"], data["top1"], data["top5"]) == (5, 0.6, 1.0)
    assert result.predictions.tolist() == [0, 0, 1, 2, 0]
    assert data["macro"] == {"precision": round((2 / 3 + 1) / 3, 6), "recall": 0.5, "f1": round((0.8 + 2 / 3) / 3, 6)}
    assert data["confusion"] == [[2, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert [(c["label"], c["predicted"], c["pictures"]) for c in data["confused"]] == [
        ("grey-wolf", "Egyptian cat", 1),
        ("Egyptian cat", "red fox", 1),
    ]
    assert data["ece"] == pytest.approx((4 * (sure - 0.75) + unsure) / 5, abs=PROBABILITY)
    assert data["calibration"]["temperature"] == 2.0
    assert data["calibration"]["ece_untempered"] > data["ece"]
    assert data["abstain"]["card"]["precision"] == data["abstain"]["chosen_here"]["precision"] == 0.75
    assert data["abstain"]["card"]["coverage"] == 0.8
    assert [m["image"] for m in data["mistakes"]] == ["3.jpg", "4.jpg"]
    assert data["mistakes"][0]["probability"] == pytest.approx(sure, abs=PROBABILITY)
    assert data["mistakes"][0]["probability_of_label"] == pytest.approx(1 / 11, abs=PROBABILITY)
    assert "curves" not in data
    assert json.loads(json.dumps(data)) == data


def test_two_labels_have_curves():
    labels = Labels(("sick", "well"))
    result = evaluation([[3, 0], [40, 0], [50, 0], [0, 1]], [0, 1, 0, 1], labels=labels)
    data = result.to_json()["curves"]
    assert data["auc"] == 0.75, "40 and 50 both give a probability that rounds to 1"
    assert data["average_precision"][0] == round((1 + 2 / 3) / 2, 6)
    assert evaluation([[3, 0], [4, 0]], [0, 0], labels=labels).curves is None


def test_a_temperature_fitted_here_is_judged_on_the_other_half():
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (4000, 3)).astype(np.float32)
    targets = (random.random((4000, 1)) > np.cumsum(softmax(logits, 3.0), axis=1)).sum(axis=1).clip(max=2)
    result = evaluation(logits, targets)
    temperature, error = result.fitted
    assert temperature == pytest.approx(3.0, rel=3 * FITTED)
    assert error < 0.04 < 0.15 < result.ece
    assert result.ece == result.ece_untempered
    assert evaluation(logits, targets, temperature=temperature).ece_untempered == result.ece


def test_many_classes_have_no_matrix():
    labels = Labels.numbered(40)
    result = evaluation(np.eye(40), np.arange(40), labels=labels)
    assert result.matrix is None
    assert "confusion" not in result.to_json()
    assert result.certain is None


def test_nothing_could_be_read(tiny, tmp_path):
    (tmp_path / "class 1").mkdir()
    (tmp_path / "class 1" / "a.jpg").write_bytes(b"")
    with Model(tiny, threads=1) as model:
        result = evaluate(model, examples(tmp_path, tiny.labels))
    data = json.loads(json.dumps(result.to_json()))
    assert (data["pictures"], data["top1"], data["ece"], data["classes"], data["mistakes"]) == (0, 0.0, 0.0, [], [])
    assert data["top1_interval"] == [0.0, 1.0]


def test_answers_are_those_of_classify_in_the_order_of_the_pictures(tiny, tmp_path):
    paths = make_pictures(tmp_path, 6)
    data = [Example(str(path), 1) for path in paths]
    data.insert(2, Example(str(tmp_path / "missing.jpg"), -1))
    with Model(tiny, threads=1) as model:
        result = evaluate(model, data)
        expected = [model(path) for path in paths]
    assert result.predictions.tolist() == [one.index for one in expected]
    assert np.array_equal(result.answers.logits, np.stack([one.logits for one in expected]))
    assert result.answers.confidences.tolist() == [one.probability for one in expected]
    assert result.answers.best.tolist() == [[p.index for p in one.top(5)] for one in expected]
    assert result.answers.names == tuple(map(str, paths))
    assert result.answers.places.tolist() == [0, 1, 3, 4, 5, 6]
    assert [Path(f.image).name for f in result.failures] == ["missing.jpg"]


def test_no_precision(tiny):
    with Model(tiny, threads=1) as model, pytest.raises(UsageError, match="must lie above 0"):
        evaluate(model, [], precision=1.5)
