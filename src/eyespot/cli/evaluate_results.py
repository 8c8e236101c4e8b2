"""``eyespot evaluate results.json instances.json``: detections scored from files, without a network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal

if TYPE_CHECKING:
    from eyespot.tasks.detect.figures import DetectionFigures


def evaluate_results(results: Path, instances: Path, *, as_json: bool) -> None:
    """Prints COCO's figures of a file of results: a table on a terminal, JSON in a pipe."""
    from eyespot.data.coco import read_instances, read_results
    from eyespot.tasks.detect.figures import detection_figures

    annotated = read_instances(instances)
    figures = detection_figures(read_results(results, annotated), annotated)
    if as_json or not sys.stdout.isatty():
        click.echo(json.dumps(figures.to_json(), ensure_ascii=False))
        return
    click.echo(
        f"{results}: {figures.detections:,} detections of {figures.objects:,} objects in {figures.images:,} images"
    )
    click.echo(_table(figures))
    click.echo("\n" + _classes(figures))


def _table(figures: DetectionFigures) -> str:
    between = ""
    if figures.map_interval:
        between = " – ".join(f"{100 * bound:.1f}" for bound in figures.map_interval)
    rows = [
        ["", "%", "95 % interval", ""],
        ["mAP@50:95", _percent(figures.map), between, terminal.bar(figures.map or 0)],
        *(
            [name, _percent(value), "", terminal.bar(value or 0)]
            for name, value in (
                ("mAP@50", figures.map50),
                ("mAP@75", figures.map75),
                ("mAP small", figures.map_small),
                ("mAP medium", figures.map_medium),
                ("mAP large", figures.map_large),
                ("recall@1", figures.recall_1),
                ("recall@10", figures.recall_10),
                ("recall@100", figures.recall_100),
            )
        ),
    ]
    return terminal.table(rows, right=(1, 2))


def _classes(figures: DetectionFigures) -> str:
    rows = [["class", "objects", "mAP@50:95", "mAP@50", ""]]
    for name, one in figures.per_class.items():
        if one.objects:
            shares = [_percent(one.map), _percent(one.map50)]
            rows.append([name, f"{one.objects:,}", *shares, terminal.bar(one.map or 0, 12)])
    return terminal.table(rows, right=(1, 2, 3))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
