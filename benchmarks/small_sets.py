"""Small datasets for `small_data.py`, cut from data that lies at hand: folders of images per class and split.

Test images are the same for every seed and are never trained on; images of one source (a smear, a patient, some seconds
of a drive) are on one side. The seed draws what is learned from, and its validation split.
"""

import csv
import hashlib
import importlib.metadata
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from eyespot.data.source import Sample
from eyespot.data.split import split

SIDE = 128  # pixels of an image's shorter side at most: networks of 96 pixels need no more
VALIDATION = 0.2  # of the images that are learned from


class Absent(Exception):
    """What a dataset is made of is not at hand."""


@dataclass(frozen=True)
class Item:
    """One image. group: its source, which must not be divided; test: whether it may only be tested on."""

    name: str
    label: str
    open: Callable[[], Image.Image]
    group: str = ""
    test: bool | None = None


@dataclass(frozen=True)
class Dataset:
    """items: of the assets' folder. learn, test: how many images of each class at most, None for all of them."""

    items: Callable[[Path], Iterable[Item]]
    learn: int | None
    test: int | None


def prepare(name: str, seed: int, assets: Path, home: Path) -> Path:
    """HOME/NAME-SEED with `train`, `val` and `test`, each with a folder of PNG files per class; made once.

    Raises Absent with the reason when its source is not there.
    """
    path = home / f"{name}-{seed}"
    if path.exists():
        return path
    items = sorted(DATASETS[name].items(assets), key=lambda item: item.name)
    if not items:
        raise Absent(f"no images of {name} below {assets}")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for part, members in divide(items, DATASETS[name], seed).items():
        for item in members:
            target = partial / part / item.label / f"{_digest(item.name)}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            _small(item.open()).save(target)
    partial.rename(path)
    return path


def divide(items: list[Item], dataset: Dataset, seed: int) -> dict[str, list[Item]]:
    """The items to train on, to validate on (`val`) and to test on, each class at most as often as the dataset says."""
    pool, test = _hold_out(items, dataset)
    learn = _capped(pool, dataset.learn, seed)
    labels = sorted({item.label for item in learn})
    samples = [Sample(item.name, labels.index(item.label), group=item.group or None) for item in learn]
    names = {part: {s.name for s in found} for part, found in split(samples, validation=VALIDATION, seed=seed).items()}
    parts = {part: [item for item in learn if item.name in names[part]] for part in ("train", "val")}
    return parts | {"test": _capped([item for item in test if item.label in labels], dataset.test, 0)}


def _hold_out(items: list[Item], dataset: Dataset) -> tuple[list[Item], list[Item]]:
    """What may be learned from and what is tested on: as published, else whole sources until each class has enough."""
    if items[0].test is not None:
        return [item for item in items if not item.test], [item for item in items if item.test]
    units: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        units[item.group or item.name].append(item)
    counts: dict[str, int] = defaultdict(int)
    pool, test = [], []
    for _, unit in sorted(units.items(), key=lambda pair: _digest(pair[0])):
        wanted = any(counts[item.label] < (dataset.test or 0) for item in unit)
        (test if wanted else pool).extend(unit)
        for item in unit:
            counts[item.label] += wanted
    return pool, test


def _capped(items: Iterable[Item], most: int | None, seed: int) -> list[Item]:
    """At most so many of each class, drawn by the seed; the same ones for the same names."""
    counts: dict[str, int] = defaultdict(int)
    chosen = []
    for item in sorted(items, key=lambda item: _digest(f"{seed} {item.name}")):
        counts[item.label] += 1
        if most is None or counts[item.label] <= most:
            chosen.append(item)
    return sorted(chosen, key=lambda item: item.name)


def _small(image: Image.Image) -> Image.Image:
    image = image.convert("RGB")
    if min(image.size) <= SIDE:
        return image
    scale = SIDE / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise Absent(f"{path} is not there")
    return path


def _folder(root: Path, group: Callable[[Path], str] | None = None, test: bool | None = None) -> Iterator[Item]:
    """The images below `root`, each of the class that its folder names."""
    for path in sorted(_existing(root).rglob("*.jpg")):
        name = path.relative_to(root.parent).as_posix()
        yield Item(name, path.parent.name, lambda path=path: Image.open(path), group(path) if group else "", test)


def _apple(assets: Path) -> Iterator[Item]:
    return _folder(assets / "datasets/apple_leaves")


def _xray(assets: Path) -> Iterator[Item]:
    """Figures of one publication, and images of one ChestX-ray8 patient, are one source."""

    def patient(path: Path) -> str:
        if re.fullmatch(r"\d{8}_\d{3}", path.stem):
            return path.stem.split("_")[0]
        return re.sub(r"-?[a-d]?\d*$", "", path.stem.split(".pdf")[0])

    return _folder(assets / "datasets/xray3", patient)


def _grocery(assets: Path) -> Iterator[Item]:
    yield from _folder(assets / "datasets/grocery/train", test=False)
    yield from _folder(assets / "datasets/grocery/test", test=True)


def _cells(assets: Path) -> Iterator[Item]:
    """Boxes of the blood smears, a tenth wider on each side; the published split is by smear."""
    root = _existing(assets / "datasets/bccd/BCCD")
    for part in ("trainval", "test"):
        for stem in (root / f"ImageSets/Main/{part}.txt").read_text().split():
            objects = ElementTree.parse(root / f"Annotations/{stem}.xml").iter("object")
            for number, thing in enumerate(objects):
                box = thing.find("bndbox")
                kind = thing.findtext("name") or ""
                if box is None or not kind:
                    continue
                left, top, right, bottom = (int(box.findtext(k) or 0) for k in ("xmin", "ymin", "xmax", "ymax"))
                across, down = (right - left) // 10, (bottom - top) // 10
                area = (max(left - across, 0), max(top - down, 0), right + across, bottom + down)
                if right - left >= 12 and bottom - top >= 12:
                    path = root / f"JPEGImages/{stem}.jpg"
                    yield Item(f"{stem}-{number}", kind, _crop(path, area), stem, part == "test")


def _crop(path: Path, area: tuple[int, int, int, int]) -> Callable[[], Image.Image]:
    def opened() -> Image.Image:
        with Image.open(path) as image:
            return image.crop((area[0], area[1], min(area[2], image.width), min(area[3], image.height)))

    return opened


SCENES = {0: "sky", 1: "building", 3: "road", 5: "tree", 8: "car"}  # CamVid's classes as SegNet numbers them
TILE = 60  # pixels
HELD_DRIVE = "0006R0"


def _scenes(assets: Path) -> Iterator[Item]:
    """Tiles of the street scenes of which one class covers 60 %; one drive is tested on, a source is 20 frames."""
    root = _existing(assets / "datasets/camvid")
    for part in ("train", "val"):
        for number, path in enumerate(sorted((root / part).glob("*.jpg"))):
            classes = np.asarray(Image.open(root / f"{part}annot/{path.stem}.png"))
            drive = path.name.split("_")[0]
            for y in range(0, classes.shape[0] - TILE + 1, TILE):
                for x in range(0, classes.shape[1] - TILE + 1, TILE):
                    counts = np.bincount(classes[y : y + TILE, x : x + TILE].ravel(), minlength=max(SCENES) + 1)
                    kind = SCENES.get(int(counts.argmax()))
                    if kind and counts.max() >= 0.6 * TILE * TILE:
                        tile = _crop(path, (x, y, x + TILE, y + TILE))
                        name = f"{part}-{path.stem}-{y}-{x}"
                        yield Item(name, kind, tile, f"{part}-{drive}-{number // 20}", drive == HELD_DRIVE)


def _digits(assets: Path) -> Iterator[Item]:
    """scikit-learn's handwritten digits, 8×8, enlarged to 64×64."""
    del assets
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise Absent("scikit-learn, which brings the digits, is not installed") from None
    data = load_digits()
    for number, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
        pixels = np.clip(image * 16, 0, 255).astype(np.uint8)
        enlarged = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
        yield Item(f"{number:04d}", str(label), lambda enlarged=enlarged: enlarged)


def _solar(assets: Path) -> Iterator[Item]:
    """Electroluminescence of solar cells, those that experts were sure about; from the package elpv-dataset."""
    del assets
    try:
        files = importlib.metadata.distribution("elpv-dataset").files or []
    except importlib.metadata.PackageNotFoundError:
        raise Absent("the package elpv-dataset is not installed") from None
    table = next(file for file in files if file.name == "labels.csv")
    root = Path(str(table.locate())).parent
    for row in csv.reader(table.read_text().splitlines(), delimiter=" ", skipinitialspace=True):
        kind = {0.0: "intact", 1.0: "defective"}.get(float(row[1]))
        if kind:
            yield Item(row[0], kind, lambda path=root / row[0]: Image.open(path))


DATASETS: Mapping[str, Dataset] = {
    "apple 40": Dataset(_apple, learn=10, test=75),
    "apple 200": Dataset(_apple, learn=50, test=75),
    "apple 600": Dataset(_apple, learn=150, test=75),
    "grocery": Dataset(_grocery, learn=None, test=None),
    "xray": Dataset(_xray, learn=None, test=14),
    "blood cells": Dataset(_cells, learn=60, test=60),
    "street scenes": Dataset(_scenes, learn=30, test=60),
    "digits": Dataset(_digits, learn=15, test=30),
    "solar cells": Dataset(_solar, learn=100, test=100),
}
