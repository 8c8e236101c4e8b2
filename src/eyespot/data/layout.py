"""From the names in a container, or the rows of a CSV, to pictures with their classes, groups and parts."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from eyespot.core.labels import Labels
from eyespot.data.containers import PARTS, Files, Listing, Skipped, parents
from eyespot.errors import PictureError, UsageError
from eyespot.run.pictures import SUFFIXES

LISTING = "labels.csv"
NAMES = "classes.tsv"
_FILE = ("file", "path")
_CLASS = ("label", "class")
_PART = ("split", "part")
_UNWRITABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))  # control signs, halves of signs, ends of lines


@dataclass
class Found:
    """Pictures by name, each with its class and part.

    targets: the labels' indices by class, where rows were held against labels at once. groups: by name; None where
    nothing says who belongs together. base: the folders that were looked through, with '/'. is_numbered: the classes
    are numbers.
    """

    pictures: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    targets: dict[str, int] | None = None
    groups: dict[str, str] | None = None
    base: str = ""
    is_numbered: bool = False

    @property
    def classes(self) -> set[str]:
        """The classes that have pictures."""
        return {of for of, _ in self.pictures.values()}


def plain(text: str) -> str:
    """A name as people mean it: without regard to case, underscores and hyphens."""
    return one_form(text).replace("_", " ").replace("-", " ").casefold().strip()


def one_form(text: str) -> str:
    """A name in composed form: macOS writes é as two signs in names of files, others as one."""
    return unicodedata.normalize("NFC", text)


def is_writable(name: str) -> bool:
    """Whether a class of this name can stand in a line of a text file."""
    return bool(name.strip()) and not any(unicodedata.category(sign) in _UNWRITABLE for sign in name)


def by_folders(listing: Listing, *, unwrap: bool) -> Found:
    """The classes by folders. ``unwrap``: an only outermost folder that holds nothing but folders is looked through."""
    pictures = [name for name in listing.sizes if _suffix(name) in SUFFIXES]
    base = _wrapper(pictures) if unwrap else ""
    inside = {name: name[len(base) :].split("/") for name in pictures}
    has_parts = _has_parts(inside.values())
    depth = 1 if has_parts else 0
    found = Found(sizes=listing.sizes, skipped=list(listing.skipped), base=base)
    for name, pieces in inside.items():
        if len(pieces) <= depth + 1:
            found.skipped.append(Skipped(name, "lies in no class folder"))
        else:
            part = PARTS[pieces[0].casefold()] if has_parts else None
            found.pictures[name] = one_form(pieces[depth]), part
    for name in listing.sizes.keys() - inside.keys():
        if name[len(base) :].count("/") > depth:
            found.skipped.append(Skipped(name, "is no picture by its name"))
    for name in _empty_classes(found, listing, base, depth):
        found.skipped.append(Skipped(name, "is a class without pictures; it is left out"))
    return found


def names_of_classes(data: bytes) -> dict[str, str]:
    """Names by folder from a ``classes.tsv``: folder, tab and name in each line; or UnicodeDecodeError."""
    rows = (line.split("\t") for line in data.decode("utf-8-sig").splitlines())
    return {one_form(row[0].strip()): one_form(row[1].strip()) for row in rows if len(row) > 1 and row[1].strip()}


def _wrapper(pictures: list[str]) -> str:
    base = ""
    while pictures:
        top, *others = {name[len(base) :].partition("/")[0] for name in pictures}
        inner = f"{base}{top}/"
        if others or top.casefold() in PARTS or any(name.count("/") <= inner.count("/") for name in pictures):
            break
        base = inner
    return base


def _has_parts(inside: Iterable[list[str]]) -> bool:
    """Whether the outermost folders are parts: all with pictures are called so, and one holds class folders."""
    rows = [pieces for pieces in inside if len(pieces) > 1]
    return all(pieces[0].casefold() in PARTS for pieces in rows) and any(len(pieces) > 2 for pieces in rows)


def _empty_classes(found: Found, listing: Listing, base: str, depth: int) -> Iterator[str]:
    used = {folder for name in found.pictures for folder in parents(name)}
    unread = {skipped.name for skipped in listing.skipped}
    folders = listing.folders | {folder for name in listing.sizes for folder in parents(name)}
    for folder in folders - used - unread:
        pieces = folder[len(base) :].split("/")
        is_class = len(pieces) == depth + 1 and (depth == 0 or pieces[0].casefold() in PARTS)
        if folder.startswith(base) and is_class:
            yield folder


class _Columns(NamedTuple):
    """Which column of a CSV says what; None where none does."""

    file: str
    label: str
    is_index: bool
    part: str | None
    group: str | None


def by_rows(title: str, listing: str, files: Files, labels: Labels | None, group: str | None) -> Found:
    """The classes by a CSV, the file ``listing`` of ``files``; ``title`` is what messages call it."""
    try:
        text = files.read(listing).decode("utf-8-sig")
    except PictureError as error:  # of a file, whatever it holds
        raise UsageError(str(error)) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{title} is not UTF-8 (byte {error.start}); save it as CSV in UTF-8") from None
    head = text.partition("\n")[0]
    delimiter = next((sign for sign in ",;\t" if sign in head), ",")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or []]
        columns = _columns(title, rows.fieldnames, labels, group)
        found = Found(
            is_numbered=columns.is_index,
            targets={} if labels is not None else None,
            groups={} if columns.group else None,
            skipped=list(files.listing.skipped),
        )
        reader = _Rows(title, listing.rpartition("/")[0], files, labels, columns, found)
        for row in rows:
            reader.take(rows.line_num, {key: (value or "").strip() for key, value in row.items() if key})
    except csv.Error as error:
        raise UsageError(f"{title} line {rows.line_num} is not CSV ({error}); mend it") from None
    return found


def _columns(title: str, names: list[str], labels: Labels | None, group: str | None) -> _Columns:
    file = next((name for name in _FILE if name in names), None)
    label = next((name for name in _CLASS if name in names), None)
    if "index" in names and (labels is not None or label is None):
        label = "index"
    if file is None or label is None:
        raise UsageError(f"{title} has the columns {', '.join(names)}; it needs file, and index or label")
    wanted = "group" if group is None else group.strip().lower()
    part = next((name for name in _PART if name in names), None)
    return _Columns(file, label, label == "index", part, wanted if wanted in names else None)


class _Rows:
    """Takes the rows of one CSV, one by one."""

    def __init__(
        self, title: str, base: str, files: Files, labels: Labels | None, columns: _Columns, found: Found
    ) -> None:
        self._title, self._base, self._files, self._columns, self._found = title, base, files, columns, found
        self._count = None if labels is None else len(labels)
        self._known = {} if labels is None else {plain(text): index for text, index in labels.index_of.items()}

    def take(self, line: int, row: dict[str, str]) -> None:
        """Adds one row's picture, or says why not."""
        columns, found = self._columns, self._found
        listed, label = row.get(columns.file, ""), one_form(row.get(columns.label, ""))
        if not listed and not label:
            return
        if not listed:
            raise UsageError(f"{self._title} line {line} names no file; mend it or take it out")
        name, size = self._place(listed)
        if not label:
            found.skipped.append(Skipped(name, f"has no {columns.label} in line {line}"))
            return
        self._check(line, label)
        if columns.is_index:
            label = str(int(label))
        if size is None:
            found.skipped.append(Skipped(name, f"is listed in line {line} but not there", lost=True))
            return
        before = found.pictures.setdefault(name, (label, self._part(line, row)))
        if before[0] != label:
            raise UsageError(f"{self._title} line {line}: {listed} is {label!r}, and {before[0]!r} in a line before")
        found.sizes[name] = size
        if found.groups is not None and columns.group and (group := row.get(columns.group)):
            found.groups[name] = group

    def _check(self, line: int, label: str) -> None:
        is_index, count = self._columns.is_index, self._count
        if is_index and not (label.isdecimal() and label.isascii() and (count is None or int(label) < count)):
            needed = "a number from 0 on" if count is None else f"one of 0 to {count - 1}"
            raise UsageError(f"{self._title} line {line}: index {label!r} is not {needed}")
        if self._found.targets is None:
            return
        if not is_index and plain(label) not in self._known:
            raise UsageError(f"{self._title} line {line}: {label!r} is none of the model's {count} labels")
        self._found.targets[str(int(label)) if is_index else label] = (
            int(label) if is_index else self._known[plain(label)]
        )

    def _part(self, line: int, row: dict[str, str]) -> str | None:
        text = row.get(self._columns.part or "", "")
        if text and text.casefold() not in PARTS:
            raise UsageError(f"{self._title} line {line}: {text!r} is none of the parts train, val and test")
        return PARTS[text.casefold()] if text else None

    def _place(self, listed: str) -> tuple[str, int | None]:
        """A listed file's name in the container and its size: beside the CSV or in images/."""
        base = f"{self._base}/" if self._base else ""
        spellings = dict.fromkeys(text.removeprefix("./") for text in (listed, listed.replace("\\", "/")))
        places = [base + between + spelling for between in ("", "images/") for spelling in spellings]
        for name in places:
            size = self._files.size(name)
            if size is not None:
                return name, size
        return places[0], None


def _suffix(name: str) -> str:
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return base[dot:].lower() if dot > 0 else ""
