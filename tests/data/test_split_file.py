"""``data split``: one CSV that every verb reads, the same every time, with groups and duplicates on one side."""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict

import pytest

from collections_made import fill, pack, picture
from eyespot.accuracy.dataset import examples
from eyespot.core.labels import Labels
from eyespot.data.check import check
from eyespot.data.source import open_source
from eyespot.data.split_file import write_split
from eyespot.errors import UsageError
from terminal import on_a_terminal

PATIENT = r"/(p\d+)_"


def eyespot(*args):
    return subprocess.run(
        [sys.executable, "-m", "eyespot", *map(str, args)], capture_output=True, check=False, text=True
    )


@pytest.fixture(scope="module")
def x_rays(tmp_path_factory):
    """Two classes of 30 images of 10 patients each; one image lies there twice, under two patients."""
    files = {f"{label}/p{10 * (label == 'ill') + n % 10:02}_{n}.png": picture(n + 100 * (label == "ill"))
             for label in ("ill", "sound") for n in range(30)}  # fmt: skip
    files["sound/p03_copy.png"] = files["sound/p07_7.png"]
    return fill(tmp_path_factory.mktemp("split") / "x rays", files)


def sides(source):
    found = defaultdict(set)
    for sample in source.samples:
        found[sample.group].add(sample.part)
    return found


def test_patients_and_duplicates_stay_on_one_side_and_classes_keep_their_shares(x_rays, tmp_path):
    source = open_source(x_rays, group=PATIENT)
    written = write_split(source, tmp_path / "split.csv", validation=0.2, test=0.2)
    again = open_source(tmp_path / "split.csv")
    assert len(again) == len(source) == 61
    assert all(len(parts) == 1 for parts in sides(again).values())
    assert sides(again)["p03"] == sides(again)["p07"]  # which share an image
    assert written.duplicates == (("sound/p03_copy.png", "sound/p07_7.png"),)
    assert written.groups.keys() == {"train", "val", "test"}
    assert sum(written.groups.values()) == 20
    for label in (0, 1):
        counts = written.counts(label)
        assert 15 <= counts["train"] <= 21
        assert 3 <= counts["val"] <= 9
        assert 3 <= counts["test"] <= 9
    report = check(again)
    assert (report.across_parts, report.groups_across_parts) == ((), ())
    assert report.parts == ["train", "val", "test"]


def test_without_groups_the_same_patients_would_be_torn_apart(x_rays, tmp_path):
    """So the test above can fail."""
    write_split(open_source(x_rays), tmp_path / "split.csv")
    again = open_source(tmp_path / "split.csv", group=PATIENT)
    assert any(len(parts) > 1 for parts in sides(again).values())


def test_the_same_question_has_the_same_answer(x_rays, tmp_path):
    source = open_source(x_rays, group=PATIENT)
    for name, seed in (("a.csv", 0), ("b.csv", 0), ("c.csv", 1)):
        write_split(source, tmp_path / name, seed=seed)
    first, second, third = ((tmp_path / name).read_bytes() for name in ("a.csv", "b.csv", "c.csv"))
    assert first == second != third


def test_evaluate_takes_the_test_split_and_train_the_others(x_rays, tmp_path):
    written = write_split(open_source(x_rays, group=PATIENT), tmp_path / "elsewhere" / "split.csv")
    labels = Labels(("ill", "sound"), ("ill", "sound"))
    listed = examples(written.path, labels)
    assert len(listed) == written.counts()["test"]
    assert all(os.path.isfile(example.path) for example in listed)  # noqa: PTH113
    assert len(examples(written.path, labels, part="val")) == written.counts()["val"]


def test_the_csv_moves_with_the_images_beside_it(x_rays, tmp_path):
    shutil.copytree(x_rays, tmp_path / "one" / "data")
    write_split(open_source(tmp_path / "one" / "data"), tmp_path / "one" / "split.csv")
    (tmp_path / "one").rename(tmp_path / "two")
    assert len(open_source(tmp_path / "two" / "split.csv")) == 61


def test_splits_that_are_there_are_kept_and_those_that_lack_are_taken_from_training(tmp_path):
    names = [
        f"{part}/{label}/{n}.png"
        for part, count in (("train", 20), ("test", 5))
        for label in "ab"
        for n in range(count)
    ]
    files = {name: picture(number) for number, name in enumerate(names)}
    source = open_source(fill(tmp_path / "data", files))
    written = write_split(source, tmp_path / "split.csv", validation=0.2, test=0.4)
    assert written.counts() == {"train": 32, "val": 8, "test": 10}


@pytest.mark.parametrize("leak", ["group", "duplicate"])
def test_splits_that_leak_are_refused(tmp_path, leak):
    files = {f"{part}/{label}/{n}{part[0]}.png": picture(n + 10 * i + 100 * (label == "b"))
             for i, part in enumerate(("train", "test")) for label in "ab" for n in range(4)}  # fmt: skip
    if leak == "duplicate":
        files["test/a/again.png"] = files["train/a/0t.png"]
    source = open_source(fill(tmp_path / "data", files), group=r"/(\d)t" if leak == "group" else None)
    with pytest.raises(UsageError, match=r"brings splits that leak: test/a/.* in test and train/a/.* in train are of"):
        write_split(source, tmp_path / "split.csv")
    assert not (tmp_path / "split.csv").exists()


def test_numbered_classes_keep_their_order(tmp_path):
    folder = fill(tmp_path / "data", {f"{n}.png": picture(n) for n in range(24)})
    rows = "".join(f"{n}.png,{n % 12}\n" for n in range(24))
    (folder / "all.csv").write_text(f"file,index\n{rows}")
    source = open_source(folder / "all.csv")
    write_split(source, folder / "split.csv")
    assert open_source(folder / "split.csv").labels.names == source.labels.names


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"nan/1.png": picture(1), "b/2.png": picture(2)}, "reads the same"),
        ({"a/\udcff.png": picture(1), "b/2.png": picture(2)}, "is no Unicode"),
    ],
)
def test_names_that_a_csv_cannot_carry_are_refused_and_nothing_stays(tmp_path, files, said):
    source = open_source(fill(tmp_path / "data", files))
    with pytest.raises(UsageError, match=said):
        write_split(source, tmp_path / "split.csv")
    assert not (tmp_path / "split.csv").exists()


def test_what_cannot_be_is_refused_in_one_line(x_rays, tmp_path):
    packed = open_source(pack(tmp_path / "x.zip", {"a/1.png": picture(1), "b/2.png": picture(2)}))
    with pytest.raises(UsageError, match=r"got the archive .*unpack it first"):
        write_split(packed, tmp_path / "split.csv")
    source = open_source(x_rays)
    with pytest.raises(UsageError, match=r"ends in \.csv"):
        write_split(source, tmp_path / "split.txt")
    (tmp_path / "taken.csv").write_text("")
    with pytest.raises(UsageError, match="exists; remove it"):
        write_split(source, tmp_path / "taken.csv")
    with pytest.raises(UsageError, match="cannot be written"):
        write_split(source, tmp_path / "x.zip" / "split.csv")
    with pytest.raises(UsageError, match="together below 1"):
        write_split(source, tmp_path / "split.csv", validation=0.6, test=0.5)


def test_the_verb(x_rays, tmp_path):
    asked = ["data", "split", x_rays, "--group", PATIENT, "--out"]
    done = eyespot(*asked, tmp_path / "pipe.csv")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert sum(data["images"].values()) == 61
    assert [row["label"] for row in data["classes"]] == ["ill", "sound"]
    code, text = on_a_terminal([sys.executable, "-m", "eyespot", *map(str, asked), str(tmp_path / "seen.csv")])
    assert code == 0
    assert (tmp_path / "seen.csv").read_bytes() == (tmp_path / "pipe.csv").read_bytes()
    assert "class" in text
    assert "groups" in text
    assert "holds the split; 1 set of duplicates kept together: eyespot train " in text
    done = eyespot(*asked, tmp_path / "seen.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("eyespot: ")
    assert "exists; remove it or choose another name" in done.stderr
