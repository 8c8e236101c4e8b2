"""From the rows of a CSV to images with their classes, groups and splits."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from eyespot.core.labels import Labels
from eyespot.data.containers import Files, Skipped
from eyespot.data.label_doubts import MISSING
from eyespot.data.layout import Found, LabelLookup, one_form
from eyespot.data.split_names import PARTS
from eyespot.errors import PictureError, UsageError
from eyespot.run.pictures import SUFFIXES

# Columns by what they say; the first one that is there counts.
_FILE = (
    "file", "path", "filename", "file_name", "filepath", "file_path", "fname", "image", "image_path", "image_name",
    "image_id", "id",
)  # fmt: skip
_CLASS = ("label", "class", "category", "class_name", "label_name", "target", "labels")
_INDEX = "index"
_PART = ("split", "part")
_MAYBE_PART = ("set", "subset", "partition", "fold")  # where every value is a split's name
_IS_VALID = "is_valid"
_TRUTH = {
    "true": "val", "1": "val", "1.0": "val", "yes": "val", "false": "train", "0": "train", "0.0": "train", "no": "train"
}  # fmt: skip
_COMMON_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".tif", ".tiff", ".bmp", ".webp", ".gif")


class _Columns(NamedTuple):
    """Which column of a CSV says what; None where none does."""

    file: str
    label: str
    part: str | None
    group: str | None

    @property
    def is_index(self) -> bool:
        return self.label == _INDEX


def by_rows(title: str, listing: str, files: Files, labels: Labels | None, group: str | None) -> Found:
    """The classes by a CSV, the file ``listing`` of ``files``; ``title`` is what messages call it."""
    text = _text(title, listing, files)
    delimiter, columns = _columns(title, text, group)
    found = Found(
        is_numbered=columns.is_index,
        targets={} if labels is not None else None,
        groups={} if columns.group else None,
        skipped=list(files.listing.skipped),
    )
    if columns.group == "fold" and group is None:
        found.notes.append("The column fold says which images stay on one side of a split: validation is whole folds.")
    reader = _Rows(title, listing.rpartition("/")[0], files, labels, columns, found)
    for line, row in _rows(title, text, delimiter):
        reader.take(line, row)
    return found


def _text(title: str, listing: str, files: Files) -> str:
    try:
        data = files.read(listing)
    except PictureError as error:  # of a file, whatever it holds
        raise UsageError(str(error)) from None
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{title} is not UTF-8 (byte {error.start}); save it as CSV in UTF-8") from None
    return text[5:] if text[:4].lower() == "sep=" else text  # Excel's own first line


def _rows(title: str, text: str, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows below the header, each with its line and its values by column."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    try:
        for row in rows:
            if not names:
                names = _names(row)
            elif len(row) > len(names) and any(value.strip() for value in row[len(names) :]):
                raise UsageError(
                    f"{title} line {rows.line_num} has {len(row)} values, the header names {len(names)}; put values "
                    f"with {delimiter!r} in them in quotes"
                )
            else:
                yield rows.line_num, dict(itertools.zip_longest(names, map(str.strip, row[: len(names)]), fillvalue=""))
    except csv.Error as error:
        raise UsageError(f"{title} line {rows.line_num} is not valid CSV ({error}); mend it") from None


def _names(row: list[str]) -> list[str]:
    return [name.strip().lower() for name in row]


def _columns(title: str, text: str, group: str | None) -> tuple[str, _Columns]:
    """The sign between values, and the columns: the sign is the first with which both columns are there."""
    head = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    for delimiter in (",", ";", "\t", "|"):
        names = _names(next(csv.reader([head], delimiter=delimiter), []))
        file = next((name for name in _FILE if name in names), None)
        label = next((name for name in (*_CLASS, _INDEX) if name in names and name != file), None)
        if file is not None and label is not None:
            break
    else:
        names = _names(next(csv.reader([head], delimiter=next((s for s in ",;\t" if s in head), ",")), []))
        got = f"the columns {', '.join(names)}" if names else "no columns"
        raise UsageError(f"{title} has {got}; it needs file, and index or label")
    for name in (file, label):
        if names.count(name) > 1:
            raise UsageError(f"{title} has the column {name} {names.count(name)} times; name one of them otherwise")
    part = next((name for name in (*_PART, _IS_VALID) if name in names), None)
    for name in _MAYBE_PART:
        if part is None and name in names and name != label:
            values = {row[name].casefold() for _, row in _rows(title, text, delimiter)} - {""}
            part = name if values and values <= PARTS.keys() else None
    wanted = group.strip().lower() if group is not None else "group"
    if group is None and wanted not in names and part is None and label != "fold":
        wanted = "fold"
    return delimiter, _Columns(file, label, part, wanted if wanted in names else None)


class _Rows:
    """Takes the rows of one CSV, one by one."""

    def __init__(
        self, title: str, base: str, files: Files, labels: Labels | None, columns: _Columns, found: Found
    ) -> None:
        self._title, self._base, self._files, self._columns, self._found = title, base, files, columns, found
        self._count = None if labels is None else len(labels)
        self._known = None if labels is None else LabelLookup(labels)

    def take(self, line: int, row: dict[str, str]) -> None:
        """Adds one row's image, or says why not."""
        columns, found = self._columns, self._found
        listed, label = row[columns.file], one_form(row[columns.label])
        if not listed and not label:
            return
        if not listed:
            raise UsageError(f"{self._title} line {line} names no file; mend it or take it out")
        name, size = self._place(listed)
        if not label or (label in MISSING and (self._known is None or self._known.find(label) is None)):
            written = f" ({label!r} is what pandas writes for a missing value)" if label else ""
            found.skipped.append(Skipped(name, f"has no {columns.label} in line {line}{written}"))
            return
        self._check(line, label)
        if columns.is_index:
            label = str(int(label))
        if size is None:
            found.skipped.append(Skipped(name, f"is listed in line {line} but not there", lost=True))
            return
        part = self._part(line, row)
        before = found.pictures.setdefault(name, (label, part))
        if before != (label, part):
            was, now = (before[0], label) if before[0] != label else (before[1], part)
            raise UsageError(f"{self._title} line {line}: {listed} is {now!r}, and {was!r} in a line before")
        found.sizes[name] = size
        if found.groups is not None and columns.group and (group := row[columns.group]):
            found.groups[name] = group

    def _check(self, line: int, label: str) -> None:
        is_index, count = self._columns.is_index, self._count
        if is_index and not (label.isdecimal() and label.isascii() and (count is None or int(label) < count)):
            needed = "a number from 0 on" if count is None else f"one of 0 to {count - 1}"
            raise UsageError(f"{self._title} line {line}: index {label!r} is not {needed}")
        if self._known is None or self._found.targets is None:
            return
        target = int(label) if is_index else self._known.find(label)
        if target is None:
            hint = "; a column of outputs' numbers is called index" if label.isdecimal() else ""
            raise UsageError(f"{self._title} line {line}: {label!r} is none of the model's {count} labels{hint}")
        key, targets = str(target) if is_index else label, self._found.targets
        is_new, targets[key] = key not in targets, target
        if is_new and not is_index and (mistaken := self._known.mistaken(list(targets))) is not None:
            raise UsageError(
                f"{self._title} line {line}: expected labels that the model tells apart, got {mistaken[0]!r} and "
                f"{mistaken[1]!r}, of which it knows the first; rename or take out the other"
            )

    def _part(self, line: int, row: dict[str, str]) -> str | None:
        column = self._columns.part
        text = row[column] if column else ""
        if not text:
            return None
        known = _TRUTH if column == _IS_VALID else PARTS
        if text.casefold() not in known:
            needed = "neither true nor false" if column == _IS_VALID else "none of the splits train, val and test"
            raise UsageError(f"{self._title} line {line}: {text!r} is {needed}")
        return known[text.casefold()]

    def _place(self, listed: str) -> tuple[str, int | None]:
        """A listed file's name in the container and its size: beside the CSV or in images/, its suffix there or not."""
        base = f"{self._base}/" if self._base else ""
        spelled = [os.path.normpath(text) for text in (listed, listed.replace("\\", "/"))]
        composed = [one_form(text) for text in spelled]
        apart = [unicodedata.normalize("NFD", text) for text in spelled]  # as macOS writes names
        spellings = dict.fromkeys([*spelled, *composed, *apart])
        suffixes = ("",) if os.path.splitext(listed)[1].lower() in SUFFIXES else ("", *_COMMON_SUFFIXES)  # noqa: PTH122
        places = [base + between + spelling for between in ("", "images/") for spelling in spellings]
        for name in (place + suffix for suffix in suffixes for place in places):
            size = self._files.size(name)
            if size is not None:
                return name, size
        return places[0], None
