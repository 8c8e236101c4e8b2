"""COCO's JSON files: annotated boxes (instances) and detections (results), checked and as arrays.

    instances = read_instances(Path("instances.json"))
    results = read_results(Path("results.json"), instances)

Boxes are COCO's own: x, y of the top left corner, width and height, in image pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import UsageError

MAX_BYTES = 1 << 30  # instances_train2017.json, the largest published one, has 450 MB


@dataclass(frozen=True, eq=False, slots=True)
class Instances:
    """The annotated boxes of a dataset.

    Attributes:
        images: File names of the images, by ascending id.
        categories: Names of the categories, by ascending id.
        image: Index into ``images`` of each box, (n,).
        category: Index into ``categories`` of each box, (n,).
        boxes: (n, 4) float64: x, y, width, height.
        areas: (n,) float64, in square pixels: of the object's mask where there is one, else of its box.
        crowds: (n,) bool: whether a box stands for a crowd, which any number of detections may lie in.
        image_ids, category_ids: The file's own ids, ascending.
    """

    images: tuple[str, ...]
    categories: tuple[str, ...]
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Results:
    """Detections on the images of some ``Instances``, in the file's order.

    Attributes:
        image: Index of each detection's image, (n,).
        category: Index of its category, (n,).
        boxes: (n, 4) float64: x, y, width, height.
        scores: (n,) float64.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


def read_instances(path: Path) -> Instances:
    """Reads a file of COCO's instances form.

    Raises:
        UsageError: The file cannot be read or is not of that form.
    """
    data = _read(path)
    if not isinstance(data, dict) or not {"images", "annotations", "categories"} <= data.keys():
        raise UsageError(f"{path}: expected an object with images, annotations and categories, got {_kind(data)}")
    images, categories = _by_id(path, data, "images", "file_name"), _by_id(path, data, "categories", "name")
    rows = _rows(path, data["annotations"], "annotations")
    boxes = _boxes(path, rows, "annotations")
    areas = np.array(
        [_number(path, "annotations", i, row, "area", boxes[i, 2] * boxes[i, 3]) for i, row in _each(rows)]
    )
    return Instances(
        images=tuple(images.values()),
        categories=tuple(categories.values()),
        image=_indices(path, rows, "annotations", "image_id", images),
        category=_indices(path, rows, "annotations", "category_id", categories),
        boxes=boxes,
        areas=areas.astype(np.float64),
        crowds=np.array([bool(row.get("iscrowd")) for row in rows], np.bool_),
        image_ids=np.array(list(images), np.int64),
        category_ids=np.array(list(categories), np.int64),
    )


def read_results(path: Path, instances: Instances) -> Results:
    """Reads a file of COCO's results form: a list of image_id, category_id, bbox and score.

    Raises:
        UsageError: The file cannot be read, is not of that form, or names images or categories that ``instances``
            does not have.
    """
    rows = _rows(path, _read(path), "detections")
    images = dict.fromkeys(instances.image_ids.tolist(), "")
    categories = dict.fromkeys(instances.category_ids.tolist(), "")
    return Results(
        image=_indices(path, rows, "detections", "image_id", images),
        category=_indices(path, rows, "detections", "category_id", categories),
        boxes=_boxes(path, rows, "detections"),
        scores=np.array([_number(path, "detections", i, row, "score", None) for i, row in _each(rows)], np.float64),
    )


def _read(path: Path) -> Any:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UsageError(f"{path}: expected at most {MAX_BYTES >> 20} MB, got {size >> 20} MB; divide it")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{path}: expected JSON, got something else ({reason[:120]})") from None


def _kind(data: object) -> str:
    return f"an object with {', '.join(sorted(data)[:5])}" if isinstance(data, dict) else f"a {type(data).__name__}"


def _rows(path: Path, data: object, what: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise UsageError(f"{path}: expected a list of {what}, each an object, got {_kind(data)}")
    return data


def _each(rows: Sequence[Mapping[str, Any]]) -> enumerate[Mapping[str, Any]]:
    return enumerate(rows)


def _by_id(path: Path, data: Mapping[str, Any], key: str, name: str) -> dict[int, str]:
    """Names by ascending id."""
    named: dict[int, str] = {}
    for row in _rows(path, data[key], key):
        number = row.get("id")
        if not isinstance(number, int) or number in named:
            raise UsageError(f"{path}: expected {key} with an integer id each, all different, got {number!r}")
        named[number] = str(row.get(name, number))
    return dict(sorted(named.items()))


def _indices(
    path: Path, rows: Sequence[Mapping[str, Any]], what: str, key: str, named: Mapping[int, str]
) -> NDArray[np.int64]:
    place = {number: index for index, number in enumerate(named)}
    for i, row in _each(rows):
        if not isinstance(row.get(key), int) or row[key] not in place:
            raise UsageError(f"{path}: expected a known {key} in each of {what}, got {row.get(key)!r} in number {i}")
    return np.array([place[row[key]] for row in rows], np.int64)


def _boxes(path: Path, rows: Sequence[Mapping[str, Any]], what: str) -> NDArray[np.float64]:
    boxes = np.empty((len(rows), 4))
    for i, row in _each(rows):
        try:
            boxes[i] = row["bbox"]
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{path}: expected a bbox of four numbers in each of {what}, got {row.get('bbox')!r} in number {i}"
            ) from None
    wrong = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < 0).any(1)
    if wrong.any():
        i = int(wrong.argmax())
        raise UsageError(f"{path}: expected finite boxes (x, y, width, height), got {boxes[i].tolist()} in number {i}")
    return boxes


def _number(path: Path, what: str, i: int, row: Mapping[str, Any], key: str, otherwise: float | None) -> float:
    value = row.get(key, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UsageError(f"{path}: expected a number as {key} in each of {what}, got {value!r} in number {i}")
    return float(value)
