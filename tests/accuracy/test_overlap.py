"""Images that a bundle was trained on: known by their bytes wherever they lie, and kept apart from the figures."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from conftest import make_bundle, make_pictures
from eyespot.accuracy.dataset import examples
from eyespot.accuracy.evaluation import evaluate
from eyespot.accuracy.overlap import OTHER, TRAINED, VALIDATED, known_images
from eyespot.bundle.pack import pack, unpack
from eyespot.bundle.store import CARD, read
from eyespot.bundle.training_images import MOST, TRAINING_IMAGES, TrainingImages, digest
from eyespot.errors import BundleError, HashMismatch
from eyespot.run.predict import Model
from terminal import on_a_terminal

IMAGES, TRAINED_ON, VALIDATED_ON = 20, 12, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(A bundle that was trained on 12 of 20 images and validated on 3, the folder of all of them)."""
    folder = tmp_path_factory.mktemp("overlap")
    paths = make_pictures(folder / "data" / "class 0", IMAGES // 2)
    for path in paths:
        (folder / "data" / "class 1").mkdir(exist_ok=True)
        other = folder / "data" / "class 1" / path.name
        other.write_bytes(path.read_bytes() + b"\0")  # the same pixels in another file
        paths = [*paths, other]
    names = [digest(path.read_bytes()) for path in paths]
    images = TrainingImages(frozenset(names[:TRAINED_ON]), frozenset(names[TRAINED_ON : TRAINED_ON + VALIDATED_ON]))
    return make_bundle(folder / "bundle", classes=2, training_images=images), folder / "data"


def kinds(bundle, data):
    counts = np.bincount(known_images(bundle, examples(data, bundle.labels)), minlength=3)
    return {OTHER: counts[OTHER], VALIDATED: counts[VALIDATED], TRAINED: counts[TRAINED]}


def test_images_are_known_by_their_bytes_under_any_name(place, tmp_path):
    bundle, data = place
    wanted = {OTHER: IMAGES - TRAINED_ON - VALIDATED_ON, VALIDATED: VALIDATED_ON, TRAINED: TRAINED_ON}
    assert kinds(bundle, data) == wanted
    for number, path in enumerate(sorted(data.rglob("*.jpg"))):
        (tmp_path / "copy" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "copy" / path.parent.name / f"renamed{number}.jpg")
    assert kinds(bundle, tmp_path / "copy") == wanted
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "copy")
    assert kinds(bundle, tmp_path / "packed.zip") == wanted


def test_the_figures_are_of_images_that_were_not_trained_on(place):
    bundle, data = place
    listed = examples(data, bundle.labels)
    known = known_images(bundle, listed)
    with Model(bundle, threads=1) as model:
        found = evaluate(model, listed)
        alone = evaluate(model, [e for e, kind in zip(listed, known, strict=True) if kind != TRAINED])
        trained = evaluate(model, [e for e, kind in zip(listed, known, strict=True) if kind == TRAINED])
    assert found.pictures == IMAGES - TRAINED_ON
    assert (found.top1, found.classes, found.ece) == (alone.top1, alone.classes, alone.ece)
    assert [listed[place].path for place in found.answers.places] == list(found.answers.names)
    overlap = found.overlap
    assert (overlap.trained, overlap.validated, overlap.counted) == (TRAINED_ON, VALIDATED_ON, False)
    assert overlap.top1 == trained.top1
    assert alone.overlap.trained == 0
    assert trained.overlap.counted
    assert trained.pictures == TRAINED_ON
    record = found.to_json()["training_images"]
    assert record == {
        "trained_on": TRAINED_ON, "counted": False, "top1": round(trained.top1, 6),
        "top1_interval": [round(v, 6) for v in overlap.top1_interval], "validated_on": VALIDATED_ON,
    }  # fmt: skip


def test_it_is_said_on_a_terminal_in_json_and_on_the_page(place, tmp_path):
    bundle, data = place
    asked = [sys.executable, "-m", "eyespot", "evaluate", str(bundle.path)]
    code, text = on_a_terminal([*asked, str(data)])
    assert code == 0
    assert f"on {IMAGES - TRAINED_ON} pictures of {data} that it was not trained on" in text
    assert text.index("top-1 ") < text.index(f"trained on {TRAINED_ON} more of the images, which are not counted")
    assert f"{VALIDATED_ON} of the images counted chose its epoch and temperature" in text
    done = subprocess.run(
        [*asked, str(data), "--report", str(tmp_path / "page.html")], capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout)["training_images"]["trained_on"] == TRAINED_ON
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    warnings = re.findall(r'<p class="warning">(.*?)</p>', written)
    assert warnings[0].startswith(f"It was trained on {TRAINED_ON} more of the images, which are not counted")
    assert warnings[1].startswith(f"{VALIDATED_ON} of the images counted chose its epoch")


def test_nothing_is_said_of_a_bundle_that_does_not_know(tiny, place):
    _, data = place
    with Model(tiny, threads=1) as model:
        found = evaluate(model, examples(data, tiny.labels))
    assert found.overlap is None
    assert found.pictures == IMAGES
    assert found.to_json()["training_images"] is None


def test_where_all_were_trained_on_they_count_and_it_is_said(place, tmp_path):
    bundle, data = place
    known = known_images(bundle, examples(data, bundle.labels))
    for example, kind in zip(examples(data, bundle.labels), known, strict=True):
        if kind == TRAINED:
            (tmp_path / f"class {example.target}").mkdir(exist_ok=True)
            shutil.copy(example.path, tmp_path / f"class {example.target}")
    code, text = on_a_terminal([sys.executable, "-m", "eyespot", "evaluate", str(bundle.path), str(tmp_path)])
    assert code == 0
    assert "that it was not trained on" not in text
    assert "It was trained on all of these images: on others it is less accurate." in text


def test_the_digests_travel_with_the_bundle_and_are_hashed(place, tmp_path):
    bundle, _ = place
    assert TRAINING_IMAGES in json.loads((bundle.path / CARD).read_text())["files"]
    pack([bundle], tmp_path / "packed.zip")
    (unpacked,) = unpack(tmp_path / "packed.zip", tmp_path / "unpacked")
    assert unpacked.training_images() == bundle.training_images()
    with (unpacked.path / TRAINING_IMAGES).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(HashMismatch):
        read(unpacked.path)


def test_the_file_is_small_and_holds_digests_alone(place, tmp_path):
    bundle, _ = place
    assert (bundle.path / TRAINING_IMAGES).stat().st_size < 300 + 8 * IMAGES
    many = TrainingImages(frozenset(number.to_bytes(8, "big") for number in range(MOST + 1)))
    assert many.to_bytes() is None
    assert TrainingImages().to_bytes() is None
    full = TrainingImages(frozenset(number.to_bytes(8, "big") for number in range(1000)))
    (tmp_path / "x").write_bytes(full.to_bytes())
    assert TrainingImages.read(tmp_path / "x") == full


@pytest.mark.parametrize("data", [b"", b"no safetensors", bytes(MOST * 8 + 65537)])
def test_a_file_of_something_else_is_one_line(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(BundleError, match="cannot be read") as error:
        TrainingImages.read(tmp_path / "x")
    assert "\n" not in str(error.value)


def test_a_network_that_starts_from_another_knows_the_images_of_both():
    a, b, c = (bytes([n]) * 8 for n in range(3))
    first = TrainingImages(frozenset([a]), frozenset([b]))
    second = TrainingImages(frozenset([b]), frozenset([a, c]))
    assert first | second == TrainingImages(frozenset([a, b]), frozenset([c]))
    assert first | None == first
