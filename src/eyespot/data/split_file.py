"""A split written down: a CSV of images with class, split and group, which every verb reads as it reads a folder."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyespot.core.labels import Labels
from eyespot.core.whole import whole
from eyespot.data.duplicates import Set, duplicates
from eyespot.data.source import Source, open_source
from eyespot.data.split import Parts, notes, split, units
from eyespot.errors import UsageError


@dataclass(frozen=True)
class WrittenSplit:
    """The CSV at ``path``: its images by split, the sets of duplicates that were kept together, and what a person
    should know, a line each."""

    path: Path
    labels: Labels
    parts: Parts
    duplicates: tuple[Set, ...]
    notes: tuple[str, ...]

    def counts(self, label: int | None = None) -> dict[str, int]:
        """Images of a class, or of all, by split."""
        wanted = {part: [s for s in samples if label in (None, s.label)] for part, samples in self.parts.items()}
        return {part: len(samples) for part, samples in wanted.items()}

    @property
    def groups(self) -> dict[str, int] | None:
        """Groups by split; None where there are none."""
        found = {part: {s.group for s in samples if s.group is not None} for part, samples in self.parts.items()}
        return {part: len(names) for part, names in found.items()} if any(found.values()) else None

    def to_json(self) -> dict[str, Any]:
        """Counts and notes as JSON values."""
        return {
            "path": str(self.path),
            "images": self.counts(),
            "groups": self.groups,
            "classes": [{"label": name, **self.counts(label)} for label, name in enumerate(self.labels.names)],
            "duplicates": [list(names) for names in self.duplicates],
            "notes": list(self.notes),
        }


def write_split(
    source: Source,
    out: Path,
    *,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> WrittenSplit:
    """Divides a folder's or a CSV's images into train, val and test, and writes which is where to the CSV ``out``.

    Groups and duplicates, near ones too, stay on one side; every class keeps its shares as near as they allow. The
    same source, shares and seed give the same file. Splits that the source brings are kept, those that it lacks are
    taken from its training images. ``step`` is called after each image that was looked at.

    Args:
        source: labelled images, with their groups (``open_source(path, group=…)``).
        out: a file that ends in .csv and is not there yet. Its rows name the images relative to its folder.
        validation, test: shares of the images, 0 to 1, together below 1.
        seed: of the order in which images are dealt out.
        workers: images looked at in parallel; None: one per core.

    Raises:
        UsageError: an archive, which has no files that rows could name; splits of the source that leak (a group or a
            set of duplicates in two of them); a place that is taken or cannot be written; shares that leave nothing.
    """
    _check(source, out)
    same = duplicates(source, workers=workers, step=step)
    _refuse_leaks(source, same)
    parts = split(source.samples, validation=validation, test=test, seed=seed, together=same)
    _write(out, _rows(source, out, parts))
    _read_back(source, out, parts)
    return WrittenSplit(out, source.labels, parts, tuple(same), tuple(notes(parts, source.labels)))


def _check(source: Source, out: Path) -> None:
    if source.kind in ("zip", "tar"):
        raise UsageError(f"expected a folder or a CSV, got the archive {source.root}; unpack it first")
    if out.suffix.lower() != ".csv":
        raise UsageError(f"expected a name that ends in .csv for the split, got {out}")
    if out.exists():
        raise UsageError(f"{out} exists; remove it or choose another name")


def _refuse_leaks(source: Source, same: list[Set]) -> None:
    """Splits that a source brings are kept, so they must be sound."""
    leaks = []
    for unit in units(source.samples, same):
        first = {sample.part: sample.name for sample in reversed(unit) if sample.part is not None}
        if len(first) > 1:
            leaks.append(" and ".join(f"{name} in {part}" for part, name in sorted(first.items())))
    if leaks:
        raise UsageError(
            f"{source.root} brings splits that leak: {leaks[0]} are of one group or duplicates, and {len(leaks) - 1} "
            "more such sets; move each to one side, or give the images without their splits"
        )


def _rows(source: Source, out: Path, parts: Parts) -> str:
    folder, base = source.folder.resolve(), out.parent.resolve()
    labels, place = source.labels, {sample.name: part for part, samples in parts.items() for sample in samples}
    numbered = all(name == f"class {id}" for name, id in zip(labels.names, labels.ids, strict=True))
    grouped = any(sample.group is not None for sample in source.samples)
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "index" if numbered else "label", "split", *(["group"] if grouped else [])])
    for sample in source.samples:
        file = os.path.relpath(folder / sample.name, base)
        group = [sample.group or ""] if grouped else []
        rows.writerow([Path(file).as_posix(), labels.id(sample.label), place[sample.name], *group])
    return text.getvalue()


def _write(out: Path, text: str) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        name = text[: error.start].rpartition("\n")[2] + text[error.start :].partition(",")[0]
        raise UsageError(f"{name!r} is no Unicode, which a CSV needs; rename it") from None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}; choose another place") from None


def _read_back(source: Source, out: Path, parts: Parts) -> None:
    """Removes the file again if it would be read otherwise: names with blanks at their ends, classes called nan, …"""
    wanted = Counter((source.labels.id(s.label), part, s.group) for part, samples in parts.items() for s in samples)
    try:
        again = open_source(out)
        found = Counter((again.labels.id(s.label), s.part, s.group) for s in again.samples)
    except UsageError as error:
        out.unlink()
        raise UsageError(f"{source.root} cannot be written as a CSV: {error}") from None
    if found != wanted:
        out.unlink()
        odd = next((skipped for skipped in again.skipped), None)
        why = f"{odd.name} {odd.error}" if odd else f"{len(again)} of {len(source)} images came back"
        raise UsageError(f"{source.root} cannot be written as a CSV that reads the same ({why}); rename it")
