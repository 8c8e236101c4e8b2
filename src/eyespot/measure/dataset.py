"""Pictures with known labels: a folder of class folders, or a CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eyespot.core.labels import Labels
from eyespot.errors import UsageError
from eyespot.run.pictures import walk


class Example(NamedTuple):
    """One picture and the index of its label."""

    path: str
    target: int


def examples(data: Path, labels: Labels) -> list[Example]:
    """The labelled pictures of ``data``, in an order that is the same every time.

    A folder: each folder in it is a class, called by a label's id or name (spaces, underscores and case do not
    matter). A CSV: a column ``file``, and ``index`` (of the label, from 0) or ``label`` (its id or name); the pictures
    lie beside it or in ``images/``. UsageError says which class or line does not fit.
    """
    if data.is_dir():
        listing = data / "labels.csv"
        found = _from_csv(listing, labels) if listing.is_file() else _from_folders(data, labels)
    elif data.is_file() and data.suffix.lower() == ".csv":
        found = _from_csv(data, labels)
    else:
        raise UsageError(f"{data} is neither a folder of class folders nor a .csv with the columns file and index")
    if not found:
        raise UsageError(f"{data} holds no labelled pictures; it needs a folder per class with pictures in it")
    return found


def _from_folders(data: Path, labels: Labels) -> list[Example]:
    known = _known(labels)
    folders = sorted(entry for entry in data.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    unknown = [folder.name for folder in folders if _plain(folder.name) not in known]
    if unknown:
        raise UsageError(
            f"{data}: the class {unknown[0]!r} ({len(unknown)} of {len(folders)} folders) is none of the model's "
            f"{len(labels)} labels ({', '.join(labels.names[:3])}, …); rename the folders, or evaluate another model"
        )
    return [
        Example(path, known[_plain(folder.name)])
        for folder in folders
        for path in walk(os.fspath(folder), recursive=True)
    ]


def _from_csv(listing: Path, labels: Labels) -> list[Example]:
    known = _known(labels)
    with listing.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        if "file" not in columns or not {"index", "label"}.intersection(columns):
            raise UsageError(f"{listing} has the columns {', '.join(columns)}; it needs file, and index or label")
        return list(_rows(rows, listing, known, len(labels)))


def _rows(rows: csv.DictReader[str], listing: Path, known: dict[str, int], count: int) -> Iterator[Example]:
    for number, row in enumerate(rows, 2):
        index = row.get("index")
        if index is not None:
            if not index.isdecimal() or int(index) >= count:
                raise UsageError(f"{listing} line {number}: index {index!r} is not one of 0 to {count - 1}")
            at = int(index)
        else:
            label = row["label"] or ""
            if _plain(label) not in known:
                raise UsageError(f"{listing} line {number}: {label!r} is none of the model's {count} labels")
            at = known[_plain(label)]
        yield Example(os.fspath(_beside(listing, row["file"] or "")), at)


def _beside(listing: Path, name: str) -> Path:
    direct = listing.parent / name
    return direct if direct.exists() else listing.parent / "images" / name


def _plain(text: str) -> str:
    return text.replace("_", " ").replace("-", " ").casefold().strip()


def _known(labels: Labels) -> dict[str, int]:
    return {_plain(text): index for text, index in labels.index_of.items()}
