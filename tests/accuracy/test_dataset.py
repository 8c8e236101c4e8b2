"""What is evaluated: which part of a collection, from folders and archives alike."""

from pathlib import Path

import pytest

from collections_made import fill, pack, picture
from eyespot.accuracy.dataset import examples
from eyespot.accuracy.evaluation import evaluate
from eyespot.core.labels import Labels
from eyespot.errors import PictureError, UsageError
from eyespot.run.predict import Model

LABELS = Labels(("cat", "dog"))
PARTED = {"train/cat/1.jpg": b"1", "train/dog/2.jpg": b"2", "val/cat/3.jpg": b"3", "test/dog/4.jpg": b"4"}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_the_test_part_is_what_counts(tmp_path, kind):
    data = fill(tmp_path / "x", PARTED) if kind == "folder" else pack(tmp_path / f"x.{kind}", PARTED)
    found = examples(data, LABELS)
    assert [(e.path, e.target) for e in found] == [(str(data / "test/dog/4.jpg"), 1)]
    picture = found[0].picture()
    assert (Path(picture).read_bytes() if kind == "folder" else picture) == b"4"
    assert [e.target for e in examples(data, LABELS, part="train")] == [0, 1]
    no_test = {name: content for name, content in PARTED.items() if "test" not in name}
    data = fill(tmp_path / "y", no_test) if kind == "folder" else pack(tmp_path / f"y.{kind}", no_test)
    assert [e.path for e in examples(data, LABELS)] == [str(data / "val/cat/3.jpg")]
    with pytest.raises(UsageError, match="has the parts train, val, test was asked for"):
        examples(data, LABELS, part="test")


def test_without_parts_everything_counts(tmp_path):
    data = fill(tmp_path, {"cat/1.jpg": b"", "dog/2.jpg": b""})
    assert len(examples(data, LABELS)) == 2
    with pytest.raises(UsageError, match="has no parts, val was asked for"):
        examples(data, LABELS, part="val")


def test_what_cannot_be_had_fails_in_its_place(tmp_path):
    data = fill(tmp_path, {"cat/1.jpg": b"1"})
    (data / "cat" / "2.jpg").symlink_to(data / "gone")
    found = examples(data, LABELS)
    assert [e.path for e in found] == [str(data / "cat" / "1.jpg"), str(data / "cat" / "2.jpg")]
    archive = pack(tmp_path / "x.zip", {"cat/1.jpg": b"picture"})
    example = examples(archive, LABELS)[0]
    archive.write_bytes(archive.read_bytes().replace(b"picture", b"Picture"))
    with pytest.raises(PictureError, match="Bad CRC"):
        example.picture()


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_is_evaluated_like_its_folder(tiny, tmp_path, suffix):
    files = {f"class {i % 3}/{i}.png": picture(i) for i in range(9)} | {"class 1/broken.jpg": b"junk"}
    with Model(tiny, threads=1) as model:
        whole = evaluate(model, examples(fill(tmp_path / "x", files), tiny.labels))
        packed = evaluate(model, examples(pack(tmp_path / f"x{suffix}", files), tiny.labels))
    assert whole.pictures == packed.pictures == 9
    assert (whole.top1, whole.top5) == (packed.top1, packed.top5)
    assert [Path(failure.image).name for failure in packed.failures] == ["broken.jpg"]
    assert packed.failures[0].error == whole.failures[0].error
