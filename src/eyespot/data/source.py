"""Labelled pictures, wherever they lie: a folder of class folders, a CSV, a zip or a tar of either.

    source = open_source(Path("leaves"))            # leaves/scab/1.jpg, or leaves/train/scab/1.jpg, leaves/val/…
    source = open_source(Path("xrays.csv"), group="patient")
    picture = source.read(source.samples[0])        # the file's bytes; from as many threads as one likes

Only names are looked at here. Whether the bytes are a picture shows when they are decoded, and whoever decodes them
reports and leaves out those that are not.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from eyespot.core.labels import Labels
from eyespot.data.containers import Files, FolderFiles, Skipped, TarFiles, ZipFiles, archive_kind
from eyespot.data.label_doubts import doubts, refuse_measures
from eyespot.data.layout import LISTING, NAMES, Found, LabelLookup, by_folders, is_writable, names_of_classes
from eyespot.data.table import by_rows
from eyespot.errors import PictureError, UsageError

_TABLES = (".csv", ".tsv")
Kind = Literal["folder", "csv", "zip", "tar"]


class Sample(NamedTuple):
    """One labelled picture. name: its path inside the source, '/' between folders, unique there; label: an index."""

    name: str
    label: int
    group: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class Source:
    """Labelled pictures in one place.

    labels: in the order of their ids, which are the names of folders (or values of the CSV). samples: sorted by name.
    skipped: what is not used, and why. notes: what a person should know of the labels, a sentence each. digest: sha256
    over names, labels, parts, groups and sizes, so it changes with the dataset.
    """

    root: Path
    kind: Kind
    labels: Labels
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...]
    digest: str
    files: Files = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, sample: Sample) -> bytes:
        """The bytes of a picture's file; PictureError when they cannot be had. Safe among threads."""
        return self.files.read(sample.name)

    def where(self, sample: Sample) -> str:
        """The picture's place in words: a path that opens, but for members of an archive."""
        return str(self.folder / sample.name)

    @property
    def folder(self) -> Path:
        """What names are relative to: the folder (of the CSV), or the archive."""
        return self.root.parent if self.kind == "csv" and self.root.is_file() else self.root


def open_source(path: Path, *, labels: Labels | None = None, group: str | None = None) -> Source:
    """Lists the labelled pictures of a folder, a ``.csv``, a ``.zip`` or a ``.tar``.

    A folder or archive: each folder in it is a class; folders called train, val and test (or training, valid,
    validation, dev, testing) that hold class folders are splits, and others that look like splits are refused; a
    ``labels.csv`` in it goes before folders. Images are known by their suffixes, or else by their first bytes; those in
    folders inside a class belong to it. A ``classes.tsv`` beside the class folders or
    the parts (folder, tab, name) gives classes other names than their folders'. An archive's one outermost folder is
    looked through.
    A CSV: see ``eyespot.data.table``. The images lie beside it or in ``images/``.

    labels: given, classes are found among their ids and names, exactly or else without regard to spaces, underscores
    and case, and a class that is not among them is an error. group: a column of the CSV, or a regular expression with
    one group that is searched in each name: pictures with the same text stay on one side of a split.
    UsageError says in one line what does not fit.
    """
    files, kind, listing = _open(path)
    if listing is not None:
        title = str(path) if path.suffix.lower() in _TABLES else f"{path}/{listing}"
        found = by_rows(title, listing, files, labels, group)
        kind = "csv" if kind == "folder" else kind
    else:
        found = by_folders(str(path), files, unwrap=kind != "folder")
    if not found.pictures:
        by_folder, by_csv = "a folder per class with images in it", "paths from the CSV's folder, or from images/ in it"
        needed = f"it needs {by_folder if listing is None else by_csv}"
        raise UsageError(f"{path} holds no labelled pictures{_why(found)}; {needed}")
    if labels is None and not found.is_numbered:
        counts = Counter(of for of, _ in found.pictures.values())
        refuse_measures(str(path), counts)
        found.notes += doubts(counts)
    names = _labels(path, found, _names(path, files, found)) if labels is None else labels
    targets = found.targets or _targets(path, found.classes, names)
    groups = _by_pattern(path, group, found.pictures) if found.groups is None else found.groups
    samples = tuple(
        sorted(Sample(name, targets[of], groups.get(name), part) for name, (of, part) in found.pictures.items())
    )
    digest = _digest(names, samples, found.sizes)
    return Source(path, kind, names, samples, tuple(sorted(found.skipped)), digest, files, tuple(found.notes))


def _open(path: Path) -> tuple[Files, Kind, str | None]:
    """The container, its kind, and the CSV in it that says what is what, if there is one."""
    if path.is_dir():
        if (path / LISTING).is_file():
            return FolderFiles(path, listed=False), "folder", LISTING
        return FolderFiles(path), "folder", None
    if path.is_file():
        if path.suffix.lower() in _TABLES:
            return FolderFiles(path.parent, listed=False), "csv", path.name
        kind = archive_kind(path)
        if kind is not None:
            files = ZipFiles(path) if kind == "zip" else TarFiles(path)
            near = [name for name in files.listing.sizes if name == LISTING or name.split("/")[1:] == [LISTING]]
            return files, kind, min(near, key=len, default=None)
    what = "is neither a folder of class folders, nor" if path.exists() else "does not exist: neither a folder, nor"
    raise UsageError(f"{path} {what} a .csv with the columns file and label, nor a .zip or .tar of these")


def _names(path: Path, files: Files, found: Found) -> dict[str, str]:
    """What a ``classes.tsv`` beside the class folders calls them."""
    if found.base + NAMES not in found.sizes:
        return {}
    try:
        return names_of_classes(files.read(found.base + NAMES))
    except (PictureError, UnicodeDecodeError) as error:  # a file that cannot be read, whatever it holds
        raise UsageError(f"{path}: {NAMES} cannot be read ({error}); it needs lines of folder, tab, name") from None


def _labels(path: Path, found: Found, names: dict[str, str]) -> Labels:
    """Labels in the order of their folders, values or numbers, which are their ids."""
    if found.is_numbered:
        numbers = sorted(found.classes, key=int)
        return Labels(tuple(f"class {number}" for number in numbers), tuple(numbers), source=path.name)
    ids = tuple(sorted(found.classes))
    titles = tuple(names.get(id, id) for id in ids)
    for name in (*ids, *titles):
        if not is_writable(name):
            raise UsageError(f"{path}: the class {name!r} has signs in its name that cannot be written; rename it")
    return Labels(titles, ids, source=path.name)


def _targets(path: Path, classes: set[str], labels: Labels) -> dict[str, int]:
    """The index of each class among the labels."""
    lookup = LabelLookup(labels)
    places = {name: lookup.find(name) for name in classes}
    unknown = sorted(name for name, index in places.items() if index is None)
    if unknown:
        raise UsageError(
            f"{path}: the class {unknown[0]!r} ({len(unknown)} of {len(places)} folders) is none of the model's "
            f"{len(labels)} labels ({', '.join(labels.names[:3])}, …); rename the folders, or take another model"
        )
    if (mistaken := lookup.mistaken(sorted(places))) is not None:
        raise UsageError(
            f"{path}: expected classes that the model tells apart, got {mistaken[0]!r} and {mistaken[1]!r}, of which "
            "it knows the first; rename or take out the other"
        )
    return {name: index for name, index in places.items() if index is not None}


def _by_pattern(path: Path, group: str | None, names: Iterable[str]) -> dict[str, str]:
    if group is None:
        return {}
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise UsageError(f"--group {group!r} is not a regular expression: {error}") from None
    if pattern.groups != 1:
        raise UsageError(
            f"--group {group!r} has {pattern.groups} groups in parentheses, one is needed around what pictures share, "
            f"as in '/([^/_]+)_'; for a CSV it may name a column"
        )
    groups = {}
    for name in names:
        match = pattern.search(name)
        if match is None or not match[1]:
            raise UsageError(f"--group {group!r} finds nothing in {name!r} of {path}; it must fit every name")
        groups[name] = match[1]
    return groups


def _digest(labels: Labels, samples: Sequence[Sample], sizes: dict[str, int]) -> str:
    total = hashlib.sha256()
    for text in ("\0".join(labels.names), "\0".join(labels.ids)):
        total.update(text.encode("utf-8", "surrogateescape") + b"\1")
    for name, label, group, part in samples:
        row = f"{name}\0{label}\0{group or ''}\0{part or ''}\0{sizes[name]}\1"
        total.update(row.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _why(found: Found) -> str:
    if not found.skipped:
        return ""
    name, error, _ = found.skipped[0]
    return f" ({len(found.skipped)} passed over: {' '.join(name.split())} {error})"
