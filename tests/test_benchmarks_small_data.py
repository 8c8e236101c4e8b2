"""The small-data benchmark: nothing is tested on what was trained on, and its tables compare like with like."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyespot.accuracy.paired import difference_interval
from libraries import imported

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
WAYS = ["eyespot probe", "eyespot finetune", "other"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for folder in (BENCHMARKS / "peers", BENCHMARKS):
        monkeypatch.syspath_prepend(str(folder))
    import small_data

    yield small_data
    for name in ("small_data", "small_sets", "small_table", "finetune", "networks"):
        sys.modules.pop(name, None)


def made(sets: ModuleType, *, groups: int = 12, published: bool = False) -> Any:
    """Red and blue images, three to a group."""

    def items(_: Path) -> Iterator[Any]:
        for number in range(3 * groups):
            label, colour = (("blue", (20, 20, 200)), ("red", (200, 20, 20)))[number % 2]
            image = Image.new("RGB", (40, 40 + number), colour)  # its height says which one it is
            test = number >= 2 * groups if published else None
            yield sets.Item(f"{number:03d}", label, lambda image=image: image, f"source {number // 3}", test)

    return sets.Dataset(items, learn=8, test=4)


def numbers(folder: Path) -> set[int]:
    heights = set()
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            heights.add(image.height)
    return {height - 40 for height in heights}


def test_test_images_are_fixed_and_no_source_is_divided(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = sys.modules["small_sets"]
    monkeypatch.setattr(sets, "DATASETS", {"made": made(sets)})
    tests = []
    for seed in range(3):
        folder = sets.prepare("made", seed, tmp_path, tmp_path)
        parts = {part: numbers(folder / part) for part in ("train", "val", "test")}
        tests.append(parts["test"])
        assert len(parts["test"]) == 8
        assert len(parts["train"]) + len(parts["val"]) == 16
        assert parts["val"]
        sources = [{number // 3 for number in parts[part]} for part in parts]
        assert sum(map(len, sources)) == len(set.union(*sources))
    assert tests[0] == tests[1] == tests[2]


def test_a_published_split_is_kept(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = sys.modules["small_sets"]
    monkeypatch.setattr(sets, "DATASETS", {"made": made(sets, published=True)})
    folder = sets.prepare("made", 0, tmp_path, tmp_path)
    assert numbers(folder / "test")
    assert min(numbers(folder / "test")) >= 24
    assert max(numbers(folder / "train") | numbers(folder / "val")) < 24


def test_blood_cells_are_cut_from_their_boxes(benchmark: ModuleType, tmp_path: Path) -> None:
    sets = sys.modules["small_sets"]
    root = tmp_path / "datasets/bccd/BCCD"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem, part in (("a", "trainval"), ("b", "test")):
        pixels = np.zeros((100, 100, 3), np.uint8)
        pixels[50:70, 20:40] = 255
        Image.fromarray(pixels).save(root / f"JPEGImages/{stem}.jpg", quality=100)
        box = "<xmin>20</xmin><ymin>50</ymin><xmax>40</xmax><ymax>70</ymax>"
        things = f"<object><name>WBC</name><bndbox>{box}</bndbox></object>"
        (root / f"Annotations/{stem}.xml").write_text(f"<annotation>{things}</annotation>")
        (root / f"ImageSets/Main/{part}.txt").write_text(f"{stem}\n")
    items = {item.name: item for item in sets.DATASETS["blood cells"].items(tmp_path)}
    assert {name: item.test for name, item in items.items()} == {"a-0": False, "b-0": True}
    crop = np.asarray(items["a-0"].open())
    assert crop.shape == (24, 24, 3)
    assert crop[2:22, 2:22].mean() > 250


def test_what_is_not_at_hand_is_left_out_with_its_reason(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [str(tmp_path / "nothing"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["small_data.py", *places, "--datasets", "xray", "--seeds", "0"])
    benchmark.main()
    out, err = capsys.readouterr()
    assert "0 trainings" in out
    assert "nothing/datasets/xray3 is not there" in err


def test_a_training_is_a_line_and_is_not_repeated(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    sets = sys.modules["small_sets"]
    monkeypatch.setitem(sets.DATASETS, "xray", made(sets))
    command = ["small_data.py", str(tmp_path), "--work", str(tmp_path / "work"), "--datasets", "xray", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", [*command, "--starts", "eyelet_1.0", "--ways", "eyespot probe"])
    for _ in range(2):
        benchmark.main()
        (line,) = (tmp_path / "work/results.jsonl").read_text().splitlines()
    run = benchmark.read(tmp_path / "work/results.jsonl")[0]
    assert run.right == "1" * 8
    assert run.curve[-1][1] == 1.0
    assert not run.error
    assert run.seconds > 0
    assert json.loads(line)["images"] == list(run.images)
    assert sum(run.images) == 24


def run(table: ModuleType, way: str, right: str, *, seed: int = 0, dataset: str = "a", **more: Any) -> Any:
    return table.Run(dataset, "net", seed, way, "1", (8, 2, len(right)), right, **more)


def test_a_difference_is_that_of_paired_images(benchmark: ModuleType) -> None:
    table = sys.modules["small_table"]
    ours, theirs = np.array([1, 1, 1, 0, 1, 0.0]), np.array([1, 0, 0, 1, 1, 0.0])
    mean, low, high = table.difference(ours, theirs)
    assert mean == pytest.approx(1 / 6)
    assert (low, high) == pytest.approx(difference_interval(2, 1, 6))


def test_equal_ways_share_their_ranks(benchmark: ModuleType) -> None:
    assert sys.modules["small_table"].ranks({"a": 0.9, "b": 0.9, "c": 1.0, "d": 0.1}) == {
        "a": 2.5,
        "b": 2.5,
        "c": 1,
        "d": 4,
    }


def test_only_what_every_way_has_done_is_compared(benchmark: ModuleType) -> None:
    table = sys.modules["small_table"]
    facts = {"cpu": "a", "cores": 2, "system": "b", "python": "c"}
    curve = {"curve": [(10.0, 0.5), (20.0, 1.0)], "seconds": 30.0}
    fast = {"curve": [(4.0, 0.5), (5.0, 1.0)], "seconds": 6.0}
    runs = [
        run(table, "eyespot probe", "1100", **fast),
        run(table, "eyespot finetune", "1110", **fast),
        run(table, "other", "1000", **curve),
        run(table, "eyespot probe", "0000", seed=1, **fast),
        run(table, "eyespot finetune", "0000", seed=1, **fast),
        run(table, "other", "", seed=1, error="ValueError: no"),
    ]
    lines = table.render(runs, facts, [*WAYS, "never run"]).splitlines()
    rows = {line.split(" | ")[0]: line for line in lines}
    assert rows["| a"] == "| a | net | 1 | 50.0 (15–85) | **75.0** (30–95) | 25.0 (5–70) |"
    assert any("| +50.0 [" in line and "| +25.0 [" in line for line in lines)
    assert rows["| eyespot finetune"].startswith("| eyespot finetune | 6 | 5 |")
    assert rows["| other"] == "| other | 30 | 20 | 1 of 1 | 0.25× |"
    assert "| other | 3.00 | 3.00 | 0 of 1 |" in lines
    assert "- other on a from net, seed 1, failed: ValueError: no" in lines
    assert not any("never run" in line for line in lines)


@pytest.mark.peers
def test_a_frozen_phase_moves_the_classifier_alone_and_the_best_epoch_is_kept(benchmark: ModuleType) -> None:
    torch = imported("torch")
    import finetune
    from torch import nn

    torch.manual_seed(0)
    base = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(base, nn.Linear(4, 2))
    start = finetune.Start(network, network[1], (0.5,) * 3, (0.5,) * 3)
    images = [Image.new("RGB", (20, 24), ((200, 0, 0), (0, 0, 200))[i % 2]) for i in range(34)]
    split = finetune.Split(images, torch.arange(34) % 2)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    seen = []
    usual = finetune.METHODS["Keras' two phases"]
    frozen = finetune.Method(usual.phases[:1], usual.train, usual.test)
    for _, top1 in finetune.fit(frozen, start, split, split, 16, 0):
        seen.append(top1)
    assert len(seen) == finetune.epochs_for(34) == 30
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert (finetune.predict(frozen, start, split, 16).argmax(1) == split.targets).float().mean() == max(seen)
    seen = [top1 for _, top1 in finetune.fit(finetune.METHODS["SGD 1e-2, cosine"], start, split, split, 16, 0)]
    assert not torch.equal(base[1].running_mean, before["1.running_mean"])
    assert not torch.equal(base[0].weight, before["0.weight"])
    assert max(seen) == 1.0
