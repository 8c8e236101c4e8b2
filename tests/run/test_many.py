"""Many pictures: the order is kept, failures stand in their places, and only a few are ever under way."""

import os
import threading

import numpy as np
import pytest

import eyespot
from conftest import make_pictures
from eyespot.run.many import Failure, classify_many
from eyespot.run.pictures import walk


@pytest.fixture(scope="module")
def model(tiny):
    with eyespot.load(tiny.path, threads=1) as model:
        yield model


def test_equals_one_by_one(model, tmp_path):
    paths = [str(p) for p in make_pictures(tmp_path, 40)]
    together = list(classify_many(model, paths, workers=3))
    assert [o.image for o in together] == paths
    for outcome, path in zip(together, paths, strict=True):
        assert np.array_equal(outcome.logits, model(path).logits)


def test_failures_stand_in_their_places(model, tmp_path):
    good = str(make_pictures(tmp_path, 1)[0])
    outcomes = list(classify_many(model, [good, "missing.jpg", good, b"junk", good], workers=2))
    assert [isinstance(o, Failure) for o in outcomes] == [False, True, False, True, False]
    assert outcomes[1].to_json() == {
        "image": "missing.jpg",
        "error": "missing.jpg cannot be read: No such file or directory",
    }


def test_other_protocols_are_named(model):
    (outcome,) = classify_many(model, ["s3://bucket/a.jpg"], workers=1)
    assert outcome.error == "expected http:// or https://, got s3://bucket/a.jpg; download the image first"


def test_only_a_few_are_under_way(model):
    black = np.zeros((8, 8, 3), np.uint8)
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield black

    outcomes = classify_many(model, endless(), workers=2)
    for seen in range(1, 200):
        next(outcomes)
        assert taken - seen <= 2 * 8 + 1
    outcomes.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("eyespot") and t.is_alive() and not t.daemon][2:]


def test_a_bug_is_raised_and_not_written_down_as_a_failure(model):
    class Broken:
        session = property(lambda self: 1 / 0)

        def __call__(self, picture):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(classify_many(Broken(), [b"x"], workers=1))


def test_walk_is_sorted_and_leaves_hidden_files_out(tmp_path):
    for name in ("b.jpg", "a.PNG", ".hidden.jpg", "c.txt", "d/e.webp", "d/.git/f.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "to a pipe.jpg").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "to a pipe").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "to a device.jpg").symlink_to("/dev/zero")
    short = [p.removeprefix(f"{tmp_path}/") for p in walk(str(tmp_path), recursive=True)]
    assert short == ["a.PNG", "b.jpg", "d/e.webp", "gone.jpg"]
    passed: list[str] = []
    assert len(list(walk(str(tmp_path), recursive=False, passed_over=passed.append))) == 3
    assert [p.removeprefix(f"{tmp_path}/") for p in passed if p.endswith("/")] == ["d/", "link/"]
    assert f"{tmp_path}/to a pipe.jpg" in passed


def test_a_folder_that_cannot_be_read_fails_in_its_place(model, tmp_path):
    missing = str(tmp_path / "removed meanwhile")
    (outcome,) = classify_many(model, walk(missing, recursive=True))
    assert outcome.error == f"{missing} cannot be read: No such file or directory"
