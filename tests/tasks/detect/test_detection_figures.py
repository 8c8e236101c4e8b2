"""COCO's figures: by hand, from the published files, and (peers) equal to pycocotools' on random cases."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from coco_made import made, written

from eyespot.data.coco import read_instances, read_results
from eyespot.errors import UsageError
from eyespot.tasks.detect.figures import detection_figures
from tolerances import SAME_FIGURE

COCO = Path(__file__).parents[4] / "shared/assets/datasets/coco_val2017_64"
FIGURES = (
    "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "recall_1", "recall_10", "recall_100", "recall_small", "recall_medium", "recall_large",
)  # fmt: skip


def figures(folder, annotations, detections, images=2, **options):
    instances = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(images)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"image_id": i, "category_id": c, "bbox": box, **more} for i, c, box, more in annotations],
    }
    results = [{"image_id": i, "category_id": c, "bbox": box, "score": score} for i, c, box, score in detections]
    known = read_instances(written(folder / "instances.json", instances))
    return detection_figures(read_results(written(folder / "results.json", results), known), known, **options)


def test_by_hand(tmp_path):
    cats = [(0, 7, [10, 10, 40, 40], {}), (1, 7, [10, 10, 40, 40], {})]
    found = [
        (0, 7, [10, 10, 40, 40], 0.9),  # right at every threshold
        (1, 7, [200, 200, 40, 40], 0.8),  # wrong
        (1, 7, [10, 10, 40, 30], 0.7),  # 0.75: right at 0.50 to 0.75
    ]
    got = figures(tmp_path, cats, found)
    half = 51 / 101  # recalls 0 to 0.5 at precision 1
    both = half + 50 / 101 * 2 / 3  # and the others at 2 of 3
    assert got.map50 == pytest.approx(both)
    assert got.map75 == pytest.approx(both)
    assert got.map == pytest.approx((6 * both + 4 * half) / 10)
    assert got.recall_1 == pytest.approx(0.5)
    assert got.recall_100 == pytest.approx((6 * 1 + 4 * 0.5) / 10)
    assert got.map_small is None  # 40 × 40 is medium
    assert got.map_medium == pytest.approx(got.map)
    assert got.per_class["cat"].objects == 2
    assert got.per_class["dog"].map is None
    assert (got.images, got.objects, got.detections) == (2, 2, 3)


def test_a_detection_without_objects_of_its_class_changes_nothing_and_one_more_wrong_does(tmp_path):
    cats = [(0, 7, [10, 10, 40, 40], {})]
    right = (0, 7, [10, 10, 40, 40], 0.5)
    assert figures(tmp_path, cats, [right]).map == pytest.approx(1)
    assert figures(tmp_path, cats, [right, (0, 9, [10, 10, 40, 40], 0.9)]).map == pytest.approx(1)
    assert figures(tmp_path, cats, [right, (1, 7, [10, 10, 40, 40], 0.9)]).map == pytest.approx(0.5)


def test_a_crowd_is_neither_right_nor_wrong(tmp_path):
    cats = [(0, 7, [10, 10, 40, 40], {}), (0, 7, [200, 200, 300, 300], {"iscrowd": 1, "area": 5000})]
    inside = [(0, 7, [210 + 50 * i, 210, 30, 30], 0.9) for i in range(5)]
    got = figures(tmp_path, cats, [*inside, (0, 7, [10, 10, 40, 40], 0.5)])
    assert got.map == pytest.approx(1)
    assert got.objects == 1


def test_nothing_annotated_and_nothing_detected(tmp_path):
    empty = figures(tmp_path, [], [(0, 7, [1, 1, 5, 5], 0.5)])
    assert [getattr(empty, name) for name in FIGURES] == [None] * 12
    assert empty.map_interval is None
    missed = figures(tmp_path, [(0, 7, [10, 10, 40, 40], {})], [])
    assert missed.map == missed.recall_100 == 0


def test_the_interval_holds_the_figure_and_narrows_with_more_images(tmp_path):
    random = np.random.default_rng(0)
    widths = []
    for images in (20, 320):
        cats = [(i, 7, [10, 10, 40, 40], {}) for i in range(images)]
        found = [(i, 7, [10, 10, 40, 40] if random.random() < 0.7 else [300, 300, 9, 9], random.random())
                 for i in range(images)]  # fmt: skip
        got = figures(tmp_path, cats, found, images=images)
        low, high = got.map_interval
        assert 0 <= low <= got.map <= high <= 1
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert figures(tmp_path, cats, found, images=images, interval=False).map_interval is None


def test_published_detections_have_the_published_figures():
    if not COCO.is_dir():
        pytest.skip("needs ../shared/assets/datasets/coco_val2017_64")
    known = read_instances(COCO / "instances.json")
    got = detection_figures(read_results(COCO / "reference_yolox_nano.json", known), known)
    want = (0.3395, 0.5124, 0.3609, 0.1297, 0.3453, 0.5475, 0.2491, 0.4370, 0.4420, 0.1698, 0.4441, 0.6483)
    assert [getattr(got, name) for name in FIGURES] == pytest.approx(want, abs=5.1e-5)
    assert got.objects == 461
    got = detection_figures(read_results(COCO / "reference_yolov3_tiny_letterbox.json", known), known)
    want = (0.2019, 0.3442, 0.2279, 0.0026, 0.0728, 0.4643, 0.1754, 0.2865, 0.3014, 0.0145, 0.1572, 0.5711)
    assert [getattr(got, name) for name in FIGURES] == pytest.approx(want, abs=5.1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("block", range(4))
def test_equal_to_pycocotools(block, tmp_path, capsys):
    try:
        from pycocotools import coco as peers
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("needs the extra 'peers': pycocotools is not installed")
    for seed in range(50 * block, 50 * block + 50):
        instances, results = made(seed, tmp_path)
        if not json.loads(results.read_text()):
            continue  # pycocotools cannot read an empty file of results
        known = read_instances(instances)
        got = detection_figures(read_results(results, known), known, interval=False)
        truth = peers.COCO(str(instances))
        peer = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
        want = [None if value == -1 else float(value) for value in peer.stats]
        ours = [getattr(got, name) for name in FIGURES]
        assert [value is None for value in ours] == [value is None for value in want], seed
        for name, a, b in zip(FIGURES, ours, want, strict=True):
            assert a is None or abs(a - b) <= SAME_FIGURE, (seed, name)
    capsys.readouterr()


BOX = {"image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({}, "expected a list of detections, each an object, got an object"),
        ([1], "expected a list of detections"),
        ([{**BOX, "bbox": [1, 2, 3]}], "expected a bbox of four numbers"),
        ([{**BOX, "bbox": [1, 2, float("nan"), 4]}], "expected finite boxes"),
        ([{**BOX, "bbox": [1, 2, -3, 4]}], "expected finite boxes"),
        ([BOX, {**BOX, "image_id": 5}], "expected a known image_id in each of detections, got 5 in number 1"),
        ([{**BOX, "category_id": "7"}], "expected a known category_id"),
        ([{**BOX, "score": None}], "expected a number as score"),
        ([{**BOX, "score": float("inf")}], "expected a number as score"),
    ],
)
def test_files_of_another_form_are_refused_in_one_line(rows, said, tmp_path):
    instances = {"images": [{"id": 0}], "categories": [{"id": 7, "name": "cat"}], "annotations": []}
    known = read_instances(written(tmp_path / "instances.json", instances))
    with pytest.raises(UsageError) as error:
        read_results(written(tmp_path / "results.json", rows), known)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "instances.json"
    for text in (
        "",
        "[" * 100_000,
        '{"images": []}',
        '{"images": [{"id": 1}, {"id": 1}], "annotations": [], "categories": []}',
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match="expected"):
            read_instances(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_instances(tmp_path / "nowhere.json")
