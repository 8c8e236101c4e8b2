"""Pictures with known labels, as the figures of a bundle need them: any source of labelled pictures, one part of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eyespot.core.labels import Labels
from eyespot.data.source import Sample, Source, open_source
from eyespot.data.split_names import PARTS
from eyespot.errors import UsageError


class Stored(NamedTuple):
    """A picture that is no file of its own: a member of an archive."""

    source: Source
    sample: Sample


class Example(NamedTuple):
    """One picture and the index of its label. ``path`` names it; ``stored``: where its bytes lie, if in an archive."""

    path: str
    target: int
    stored: Stored | None = None

    def picture(self) -> str | bytes:
        """What a model can be called with: the path, or the bytes; PictureError when those cannot be had."""
        return self.path if self.stored is None else self.stored.source.read(self.stored.sample)


def examples(
    data: Path, labels: Labels, *, part: str | None = None, usual: Sequence[str] = ("test", "val")
) -> list[Example]:
    """The labelled pictures of a folder, CSV, zip or tar (see ``open_source``), in one order every time.

    Classes are called by a label's id or name; spaces, underscores and case do not matter. part: "train", "val" or
    "test" where the data have parts; without it the first of ``usual`` that they have. A picture that was promised and
    cannot be had stands among them, so that it fails in its place.
    UsageError says which class or line does not fit.
    """
    source = open_source(data, labels=labels)
    given = {sample.part for sample in source.samples} - {None}
    if part is None:
        part = next((name for name in usual if name in given), None)
    elif part not in given:
        has = f"the parts {', '.join(sorted(filter(None, given)))}" if given else "no parts"
        raise UsageError(f"{data} has {has}, {part} was asked for; take another part")
    packed = source.kind in ("zip", "tar")
    found = [
        Example(source.where(sample), sample.label, Stored(source, sample) if packed else None)
        for sample in source.samples
        if part in (None, sample.part)
    ]
    lost = [skipped.name for skipped in source.skipped if skipped.lost]
    return found + [Example(str(source.folder / name), -1) for name in lost if part is None or _is_in(name, part)]


def _is_in(name: str, part: str) -> bool:
    return any(PARTS.get(piece.casefold()) == part for piece in name.split("/"))
