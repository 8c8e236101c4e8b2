"""Annotated boxes and detections in COCO's form, made at random, with everything that its rules speak of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def made(seed: int, folder: Path) -> tuple[Path, Path]:
    """Files of instances and results: crowds, masks' areas, ties, boxes of every size, more than 100 detections."""
    random = np.random.default_rng(seed)
    images = random.choice(1000, random.integers(1, 8), replace=False).tolist()
    categories = random.choice(90, random.integers(1, 5), replace=False).tolist()
    annotations, detections = [], []
    for image in images:
        for _ in range(random.integers(0, 9)):
            box = [*random.uniform(0, 300, 2), *np.exp(random.uniform(1, 5.5, 2))]
            category = int(random.choice(categories))
            area = box[2] * box[3] * random.uniform(0.4, 1)
            crowd = int(random.random() < 0.15)
            row = {"image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": crowd}
            annotations.append({"id": len(annotations) + 1, **row})
            for _ in range(random.integers(0, 4)):
                moved = np.array(box) + random.normal(0, 0.12, 4) * [box[2], box[3], box[2], box[3]]
                moved[2:] = np.maximum(moved[2:], 1)
                detections.append((image, category, moved.tolist()))
        for _ in range(int(random.choice([0, 3, 30, 250], p=[0.3, 0.4, 0.2, 0.1]))):
            box = [*random.uniform(0, 300, 2), *np.exp(random.uniform(1, 5.5, 2))]
            detections.append((image, int(random.choice(categories)), box))
    order = random.permutation(len(detections))
    scores = np.round(random.random(len(detections)), int(random.choice([1, 2, 6])))  # many equal ones
    results = [
        {"image_id": image, "category_id": category, "bbox": box, "score": float(score)}
        for (image, category, box), score in zip((detections[i] for i in order), scores, strict=True)
    ]
    instances = {
        "images": [{"id": image, "file_name": f"{image}.jpg", "height": 600, "width": 600} for image in images],
        "categories": [{"id": category, "name": f"class {category}"} for category in categories],
        "annotations": annotations,
    }
    return written(folder / "instances.json", instances), written(folder / "results.json", results)


def written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path
