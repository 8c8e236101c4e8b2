"""Results: what they say, how they compare, print, turn into JSON and draw themselves."""

import json

import made
import numpy as np
import pytest
from PIL import Image

from eyespot.core.labels import Labels
from eyespot.errors import BundleError, PictureError, RuntimeFailure, UsageError
from eyespot.image.drawing import LONGEST, SHORTEST, annotate
from eyespot.image.readout import readout, softmax
from eyespot.image.results import Classification, Prediction
from tolerances import PROBABILITY

LABELS = Labels(("tench", "goldfish", "shark", "ray"), ("n1", "n2", "n3", "n4"))
LONG = "a label that goes on and on, with every synonym that anybody ever thought of, and its Latin name as well"


def result(logits=(1.0, 3.0, 2.0, 0.0), labels=LABELS, picture=None, image="owl.jpg", threshold=None):
    rows, probabilities = readout(np.array([logits], np.float32), labels)
    return Classification(image, "net.test", labels, rows[0], probabilities[0], picture, threshold)


def test_readout_by_hand():
    logits, probabilities = readout(np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]], np.float32), Labels(("a", "b")))
    assert np.abs(probabilities - [[0.25, 0.75], [0.5, 0.5]]).max() < PROBABILITY
    assert (logits.dtype, probabilities.dtype) == (np.float32, np.float32)


def test_readout_drops_the_background_first():
    labels = Labels(("a", "b"), background=True)
    logits, probabilities = readout(np.array([[9.0, 0.0, np.log(3.0)]], np.float32), labels)
    assert logits.shape == (1, 2)
    assert np.abs(probabilities - [[0.25, 0.75]]).max() < PROBABILITY


def test_the_temperature_is_in_the_probabilities_only():
    """At a temperature of 2, log 9 counts as log 3."""
    raw = np.array([[5.0, 0.0, np.log(9.0)]], np.float32)
    logits, probabilities = readout(raw, Labels(("a", "b"), background=True), temperature=2.0)
    assert np.array_equal(logits, raw[:, 1:])
    assert np.abs(probabilities - [[0.25, 0.75]]).max() < PROBABILITY
    assert np.array_equal(probabilities, softmax(logits, 2.0))


@pytest.mark.parametrize("shape", [(1, 4), (1, 2), (3,), (1, 3, 1)])
def test_readout_of_too_many_or_too_few(shape):
    with pytest.raises(BundleError, match=r"need \(pictures, 3\)"):
        readout(np.zeros(shape, np.float32), Labels(("a", "b"), background=True))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_readout_of_no_numbers(value):
    with pytest.raises(RuntimeFailure, match="picture 1 of the batch"):
        readout(np.array([[0, 1], [value, 0]], np.float32), Labels(("a", "b")))


def test_the_first_is_the_most_probable():
    got = result()
    assert (got.index, got.id, got.label) == (1, "n2", "goldfish")
    assert abs(got.probability - 0.643914) < PROBABILITY
    assert str(got) == "owl.jpg: goldfish (64.4 %)"
    assert "array" not in repr(got)


def test_top_is_sorted_and_stable():
    assert [p.index for p in result().top(3)] == [1, 2, 0]
    assert [p.index for p in result((0, 5, 5, 0)).top(4)] == [1, 2, 0, 3]
    assert len(result().top(99)) == 4
    assert isinstance(result().top(1)[0], Prediction)
    with pytest.raises(UsageError, match="top 0"):
        result().top(0)


def test_json_has_these_keys_and_plain_numbers():
    data = json.loads(json.dumps(result().to_json(2)))
    assert data == {
        "image": "owl.jpg",
        "model": "net.test",
        "top": [
            {"index": 1, "id": "n2", "label": "goldfish", "probability": 0.643914},
            {"index": 2, "id": "n3", "label": "shark", "probability": 0.236883},
        ],
    }
    assert all(type(row["probability"]) is float for row in result().to_json()["top"])


def test_an_answer_below_the_threshold_is_not_certain():
    assert result().certain is None
    for threshold, certain in ((0.6, True), (result().probability, True), (0.65, False)):
        assert result(threshold=threshold).certain is certain
        assert result(threshold=threshold).to_json(1)["certain"] is certain
    assert str(result(threshold=0.65)) == "owl.jpg: goldfish (64.4 %, not certain)"
    assert result(threshold=0.65) != result()
    unsure, sure = (result(picture=made.scene(), threshold=t).draw() for t in (0.65, 0.6))
    assert unsure != sure
    assert sure == result(picture=made.scene()).draw()


def test_labels_without_ids_use_their_names():
    assert result(labels=Labels(("a", "b", "c", "d"))).to_json(1)["top"][0]["id"] == "b"


def test_results_compare_by_what_they_say():
    assert result() == result(picture=b"other")
    assert hash(result()) == hash(result(picture=b"other"))
    assert result() != result((1.0, 3.0, 2.0, 0.5))
    assert result() != result(image="other.jpg")
    assert result() != "owl.jpg"


def test_a_result_of_the_wrong_length():
    with pytest.raises(UsageError, match=r"\(3,\)"):
        Classification("x", "m", LABELS, np.zeros(3, np.float32), np.zeros(4, np.float32))


def test_draw_from_every_kind_of_picture(tmp_path):
    path = tmp_path / "scene.png"
    path.write_bytes(made.files()["png"])
    array = np.asarray(made.scene())
    drawn = result(picture=path).draw()
    assert drawn.mode == "RGB"
    for picture in (str(path), path.read_bytes(), bytearray(path.read_bytes()), made.scene(), array):
        assert result(picture=picture).draw() == drawn
    assert result(picture=path).draw(top=2).height < drawn.height


@pytest.mark.parametrize("picture", [None, "https://host/cat.jpg", "no/such/file.jpg", b"not a picture"])
def test_draw_without_the_picture(picture):
    with pytest.raises(PictureError) as caught:
        result(picture=picture).draw()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2), (640, 427), (427, 640), (5000, 300), (3000, 4000)])
def test_a_drawing_of_any_size_can_be_read(size):
    picture = Image.new("RGB", size, "green")
    rows = [
        Prediction(0, "n1", LONG, 1.0),
        Prediction(1, "n2", "猫 · Kätzchen\n\x07", 0.5),
        Prediction(2, "n3", "", 0.0),
    ]
    drawn = annotate(picture, rows, LONG)
    assert SHORTEST <= max(drawn.size) <= LONGEST + 800
    pixels = np.asarray(drawn)
    bar = (pixels == (0x1F, 0x6F, 0xEB)).all(-1)
    assert bar.any(axis=0).sum() > 120  # the full bar: wide enough to compare with
    ink = (pixels.astype(int).sum(-1) < 200).sum()
    assert ink > 50  # the best label, in dark letters
    border = np.concatenate([pixels[-3:].reshape(-1, 3), pixels[-200:, -3:].reshape(-1, 3)])
    assert ((border == 255).all(-1) | (border == (0, 128, 0)).all(-1)).all()  # nothing runs over the edge


def test_bars_are_as_long_as_their_probabilities():
    rows = [Prediction(i, "", "", p) for i, p in enumerate((1.0, 0.5, 0.25))]
    pixels = np.asarray(annotate(Image.new("RGB", (600, 400), "green"), rows, "")).astype(int)
    best = (pixels == (0x1F, 0x6F, 0xEB)).all(-1).any(0).sum()
    others = (pixels == (0x9D, 0xB4, 0xC9)).all(-1)
    lengths = sorted({int(row.sum()) for row in others if row.any()})
    assert lengths == [round(best * 0.25), round(best * 0.5)]


def test_drawing_does_not_change_the_picture():
    scene = made.scene().copy()
    result(picture=scene).draw()
    assert scene == made.scene()
