"""Accuracy: which label a picture has, how often the model says it, and how sure that share is."""

import shutil

import pytest

from conftest import make_pictures
from eyespot.core.labels import Labels
from eyespot.errors import UsageError
from eyespot.measure.accuracy import evaluate
from eyespot.measure.dataset import examples
from eyespot.measure.interval import wilson
from eyespot.run.predict import Model

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
        assert [e.target for e in found] == [2, 0]
        assert [e.path for e in found] == [str(tmp_path / "images" / "a.jpg"), str(tmp_path / "b.jpg")]


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


def test_wilson():
    """Figures of Newcombe 1998 (Statistics in Medicine 17), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for hits, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert [round(v, 4) for v in wilson(hits, count)] == [low, high]
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(5, 5)[1] == 1.0
