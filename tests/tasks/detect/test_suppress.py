"""Suppression against the definition, ties, and Darknet's maps against boxes computed by hand and published figures."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyespot.core.pixels import Preprocess
from eyespot.data.coco import Results, read_instances
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower.onnx import to_onnx
from eyespot.lower.reparam import reparam
from eyespot.run.probe import Probe
from eyespot.tasks.detect.darknet import darknet_candidates
from eyespot.tasks.detect.figures import detection_figures
from eyespot.tasks.detect.suppress import MOST_CANDIDATES, Candidates, suppress
from eyespot.weights.darknet_cfg import DarknetHead, read_cfg
from eyespot.weights.darknet_weights import read_weights

ASSETS = Path(__file__).parents[4] / "shared/assets"


def candidates(seed, count, classes=3, digits=2):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, 60, (count, 2))], 1).astype(np.float32)
    scores = np.round(random.random(count), digits).astype(np.float32)
    return Candidates(boxes, scores, random.integers(0, classes, count), random.permutation(count))


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 80), iou=st.sampled_from([0.1, 0.45, 0.7]))
def test_what_stays_is_what_no_better_box_covers(seed, count, iou):
    given = candidates(seed, count)
    kept = suppress(given, iou=iou, most=1000).tolist()
    order = sorted(range(count), key=lambda i: (-given.scores[i], given.place[i]))
    want = []
    for i in order:
        same = [j for j in want if given.classes[j] == given.classes[i]]
        if all(overlap(given.boxes[j].astype(float), given.boxes[i].astype(float)) <= iou for j in same):
            want.append(i)
    assert kept == want
    assert suppress(given, iou=iou, most=5).tolist() == want[:5]


def test_equal_scores_are_ordered_by_their_place_whatever_order_they_come_in():
    given = candidates(1, 60, digits=1)
    shuffled = np.random.default_rng(2).permutation(60)
    again = Candidates(*(part[shuffled] for part in given))
    assert given.place[suppress(given)].tolist() == again.place[suppress(again)].tolist()


def test_ten_thousand_candidates_are_bounded():
    given = candidates(0, 10_000, digits=6)
    best = set(np.argsort(-given.scores)[:MOST_CANDIDATES].tolist())
    assert set(suppress(given, most=10_000).tolist()) <= best


def logit(share):
    return np.log(share / (1 - share))


def test_a_yolo_map_by_hand():
    head = DarknetHead("yolo", "maps", ((30, 60), (10, 20)), 2, 1.2)
    maps = np.full((14, 3, 4), -9.0, np.float32)
    maps[7:, 1, 2] = [logit(0.25), logit(0.5), np.log(2), np.log(3), logit(0.8), logit(0.9), logit(0.75)]
    got = darknet_candidates({"maps": maps}, [head], (96, 128), confidence=0.5)
    assert got.classes.tolist() == [0, 1]
    assert got.scores == pytest.approx([0.72, 0.6], abs=1e-6)
    x, y = (2 + 0.25 * 1.2 - 0.1) * 32, (1 + 0.5 * 1.2 - 0.1) * 32
    assert got.boxes[0] == pytest.approx([x - 10, y - 30, x + 10, y + 30], abs=1e-4)
    assert got.place.tolist() == [(12 + 6) * 2, (12 + 6) * 2 + 1]
    assert not len(darknet_candidates({"maps": maps}, [head], (96, 128), confidence=0.73).scores)


def test_a_region_map_by_hand():
    head = DarknetHead("region", "maps", ((1.5, 2),), 2, softmax=True)
    maps = np.full((7, 2, 2), -9.0, np.float32)
    maps[:, 0, 1] = [0, 0, 0, 0, logit(0.8), np.log(3), 0]
    got = darknet_candidates({"maps": maps}, [head], (64, 64), confidence=0.3)
    assert got.scores == pytest.approx([0.8 * 0.75], abs=1e-6)
    assert got.boxes[0] == pytest.approx([48 - 24, 16 - 32, 48 + 24, 16 + 32], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "published"),
    [("yolo-fastest-1.1", (0.1743, 0.3847, 0.1415)), ("yolo-fastest-1.1-xl", (0.2356, 0.4501, 0.2158))],
)
def test_real_networks_have_the_figures_that_opencv_gives_them(name, published):
    folder, weights = ASSETS / "datasets/coco_val2017_64", ASSETS / f"weights/darknet/{name}.weights"
    if not folder.is_dir():
        pytest.skip("needs ../shared/assets")
    network = read_cfg(weights.with_suffix(".cfg").read_text())
    size = network.graph.input[1:]
    preprocess = Preprocess(size, "stretch", antialias=False)
    _, tensors = read_weights(weights.read_bytes(), network.graph)
    probe = Probe(to_onnx(*reparam(network.graph, tensors), preprocess=preprocess))
    instances = read_instances(folder / "instances.json")
    rows = []
    for number, image in enumerate(instances.images):
        pixels, placement = decode_and_prepare((folder / "images" / image).read_bytes(), preprocess)
        maps = dict(zip(network.graph.outputs, (output[0] for output in probe(pixels[None])), strict=True))
        found = darknet_candidates(maps, network.heads, size, confidence=0.001)
        kept = suppress(found, iou=0.45)
        height, width = placement.size
        corners = placement.to_image(found.boxes[kept].reshape(-1, 2, 2)).clip(0, (width, height)).reshape(-1, 4)
        corners[:, 2:] -= corners[:, :2]
        rows.append((np.full(len(kept), number), found.classes[kept], corners, found.scores[kept].astype(float)))
    results = Results(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
    got = detection_figures(results, instances, interval=False)
    assert (got.map, got.map50, got.map75) == pytest.approx(published, abs=0.005)
