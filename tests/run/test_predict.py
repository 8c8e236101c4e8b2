"""The main job: whatever holds a picture gives its label, and the same picture gives the same label."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eyespot
from conftest import make_pictures
from eyespot.bundle.published import installed_file, published
from eyespot.errors import BundleError, PictureError, RuntimeFailure, UnknownName, UsageError
from eyespot.image.readout import softmax
from eyespot.run.predict import Model

# What undoes each EXIF orientation is what makes a file of it out of an upright picture, but for the two quarter turns.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def imagenet():
    if installed_file(published()["efficientnet_lite0.in1k"]) is None:
        pytest.skip("needs the extra 'imagenet'")
    with eyespot.load("efficientnet_lite0.in1k") as model:
        yield model


def test_every_kind_of_picture(imagenet, examples):
    path = examples / "coffee.jpg"
    picture = Image.open(path).convert("RGB")
    kinds = [str(path), path, path.read_bytes(), memoryview(path.read_bytes()), picture, np.asarray(picture)]
    results = imagenet(kinds)
    assert [r.label for r in results] == ["espresso"] * len(kinds)
    assert [r.image for r in results[:3]] == [str(path), str(path), "<bytes>"]
    assert all(np.array_equal(r.logits, results[0].logits) for r in results[1:4])
    assert imagenet(tuple(kinds[:2])) == results[:2]
    assert imagenet([]) == []


@pytest.mark.parametrize(("name", "label"), [("chelsea", "tiger cat"), ("coffee", "espresso"), ("rocket", "missile")])
def test_the_examples(imagenet, examples, name, label):
    assert imagenet(examples / f"{name}.jpg").label == label


def test_all_eight_orientations_are_one_picture(imagenet, examples):
    upright = Image.open(examples / "chelsea.jpg").convert("RGB")
    expected = imagenet(upright)
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = io.BytesIO()
        (upright if turn is None else upright.transpose(turn)).save(data, "PNG", exif=exif)
        result = imagenet(data.getvalue())
        assert np.array_equal(result.logits, expected.logits), f"orientation {orientation}"


def test_a_photograph_in_all_orientations_has_one_label(assets, tmp_path):
    """The nine files were saved as JPEG one by one and differ by up to 3.7 grey levels; torchvision's MobileNetV2 is
    sure enough of this picture for that not to matter."""
    from eyespot.bundle.adopt import adopt

    bundle = adopt(assets / "weights" / "torch" / "mobilenet_v2-b0353104.pth", tmp_path / "b")
    with eyespot.load(bundle.path) as model:
        files = sorted((assets / "awkward" / "exif_orientation").glob("Landscape_?.jpg"))
        assert len(files) == 9
        assert {model(file).label for file in files} == {"geyser"}


def test_known_photographs(imagenet, assets):
    known = {"hot_dog": "hotdog", "parrot": "macaw", "cat_720p": "Egyptian cat", "tabby": "tabby", "dog": "malamute"}
    for name, label in known.items():
        (file,) = (p for p in (assets / "photos").glob(f"{name}.*"))
        assert label in [p.label for p in imagenet(file).top(3)]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("nowhere.jpg", "nowhere.jpg cannot be read"),
        (b"", "an empty file"),
        (b"GIF89a", "GIF"),
        ("\0", "not a path"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        ("http://127.0.0.1:9/x.jpg", "online"),
    ],
)
def test_what_is_no_picture(tiny, picture, message):
    with eyespot.load(tiny.path) as model, pytest.raises(eyespot.EyespotError, match=message) as caught:
        model(picture)
    assert "\n" not in str(caught.value)
    if not isinstance(picture, str) or not picture.startswith("http"):
        assert isinstance(caught.value, PictureError)


def test_runtimes_agree_and_close(tiny, examples):
    path = examples / "rocket.jpg"
    with eyespot.load(tiny.path) as fast, eyespot.load(tiny.path, runtime="reference") as slow:
        import tolerances

        error = tolerances.relative_error(fast(path).logits, slow(path).logits)
        assert error <= tolerances.SAME_WEIGHTS
        assert fast.session.inputs == slow.session.inputs
        with pytest.raises(RuntimeFailure, match="needs uint8"):
            fast.session.run(np.zeros((1, 7, 7, 3), np.uint8))
    with pytest.raises(RuntimeFailure, match="closed"):
        fast(path)


def test_names_that_are_none(tmp_path):
    with pytest.raises(UnknownName, match=r"did you mean efficientnet_lite0\.in1k"):
        eyespot.load("efficientnet_lite0.in2k")
    with pytest.raises(BundleError, match=r"card\.json"):
        eyespot.load(tmp_path)
    with pytest.raises(UnknownName, match="no card of such a model on the Hugging Face hub"):
        eyespot.load("some/where")
    with pytest.raises(UnknownName):
        eyespot.load("../x" if Path("../x").exists() else "x")


@pytest.mark.parametrize(("arguments", "message"), [({"threads": 0}, "0 threads"), ({"runtime": "gpu"}, "'gpu'")])
def test_sessions_that_cannot_be(tiny, arguments, message):
    with pytest.raises(UsageError, match=message):
        eyespot.load(tiny.path, **arguments)


def test_the_cards_temperature_and_threshold_are_served(tiny, tmp_path):
    """The logits and the ONNX file stay as they are; the probabilities are those of the logits over the temperature."""
    plain = Model(tiny)(make_pictures(tmp_path, 1)[0])
    calibrated = replace(tiny, card=replace(tiny.card, temperature=2.0, threshold=plain.probability))
    result = Model(calibrated)(tmp_path / "00000.jpg")
    assert plain.certain is None
    assert np.array_equal(result.logits, plain.logits)
    assert np.array_equal(result.probabilities, softmax(plain.logits[None], 2.0)[0])
    assert (result.index, result.certain) == (plain.index, False)
