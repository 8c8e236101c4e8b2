"""Which folders look like splits: no dataset of splits becomes one of classes without a question."""

import pytest

from collections_made import fill, pack
from eyespot.data.source import open_source
from eyespot.data.split_names import split_like
from eyespot.errors import UsageError

LAYOUTS = {
    "a test part without labels": "train/cat/1.jpg train/dog/2.jpg test1/3.jpg",
    "years": "train2017/cat/1.jpg val2017/cat/2.jpg",
    "named twice": "seg_train/seg_train/sea/1.jpg seg_test/seg_test/sea/2.jpg seg_pred/seg_pred/3.jpg",
    "one of them": "seg_train/sea/1.jpg seg_train/ice/2.jpg",
    "named twice by the usual words": "train/train/sea/1.jpg test/test/sea/2.jpg",
    "masks beside": "train/good/1.jpg test/good/2.jpg test/hole/3.jpg ground_truth/hole/4.jpg",
    "preview": "train/a/1.jpg valid/a/2.jpg preview/all/3.jpg",
    "no classes at all": "train/1.jpg test/2.jpg",
    "one split without classes": "test/1.jpg",
    "a split beside classes": "cat/1.jpg dog/2.jpg test/3.jpg",
    "hold-out": "Train_Set/a/1.jpg Hold-Out/a/2.jpg",
    "evaluation": "TrainImages/a/1.jpg EvalImages/a/2.jpg",
    "own words": "chest_xray_train/a/1.jpg chest_xray_test/a/2.jpg",
    "a folder around": "dataset/train/a/1.jpg dataset/val/a/2.jpg",
    "inside classes": "cat/train/1.jpg cat/test/2.jpg dog/train/3.jpg dog/test/4.jpg",
    "inside one class": "cat/1.jpg cat/2.jpg dog/1.jpg dog/val/2.jpg",
    "dev": "dev/a/1.jpg rest/a/2.jpg",
    "far below": "Data/CLS-LOC/train/n1/1.jpg Data/CLS-LOC/val/n1/2.jpg",
    "folds": "fold1/a/1.jpg fold2/a/2.jpg",
    "unlabelled": "cat/1.jpg dog/2.jpg unlabeled/3.jpg",
    "signs": "Meta/0.png Test/00000.png Train/0/1.png",
    "a copy inside": "train/a/1.jpg test/a/2.jpg x/train/a/1.jpg x/test/a/2.jpg",
}


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar"])
def test_splits_do_not_become_classes(tmp_path, names, kind):
    files = dict.fromkeys(names.split(), b"")
    if kind != "folder" and names.startswith(
        ("dataset/", "seg_train/sea", "Data/")
    ):  # what is around all is looked through
        assert "train" not in open_source(pack(tmp_path / f"x{kind}", files)).labels.names
        return
    path = fill(tmp_path / "x", files) if kind == "folder" else pack(tmp_path / f"x{kind}", files)
    with pytest.raises(
        UsageError, match=r"look like splits.* call splits train, val and test.* and give the folder they lie in"
    ) as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        "train bus car",
        "bullet_train steam_train",
        "train_station train_interior",
        "test tube|crash test dummy|vial",
        "valid invalid",
        "Val d'Isere|Zermatt",
        "trainers sandals",
        "value testudo device",
        "development evaluation",
        "training meeting",
        "fold hem crease",
    ],
)
def test_classes_that_only_sound_like_splits(tmp_path, names):
    classes = names.split("|") if "|" in names else names.split()
    source = open_source(fill(tmp_path, {f"{name}/1.jpg": b"" for name in classes}))
    assert source.labels.names == tuple(sorted(classes))


def test_one_that_may_be_a_class_is_a_question_when_it_holds_classes():
    assert split_like({"train": False, "car": True}) == []
    assert split_like({"train": True, "car": True}) == ["train"]
    assert split_like({"train 1": False, "valid": False}) == ["train 1", "valid"]
