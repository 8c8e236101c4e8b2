"""From the names in a container to images with their classes, groups and splits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from eyespot.core.labels import Labels
from eyespot.data.containers import Files, Listing, Skipped, parents
from eyespot.data.split_names import PARTS, split_like
from eyespot.errors import UsageError
from eyespot.run.pictures import is_picture

LISTING = "labels.csv"
NAMES = "classes.tsv"
_UNWRITABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))  # control signs, halves of signs, ends of lines


@dataclass
class Found:
    """Pictures by name, each with its class and part.

    targets: the labels' indices by class, where rows were held against labels at once. groups: by name; None where
    nothing says who belongs together. base: the folders that were looked through, with '/'. is_numbered: the classes
    are numbers. notes: what a person should know of them, a sentence each.
    """

    pictures: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    targets: dict[str, int] | None = None
    groups: dict[str, str] | None = None
    base: str = ""
    is_numbered: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        """The classes that have pictures."""
        return {of for of, _ in self.pictures.values()}


def plain(text: str) -> str:
    """A name as people mean it: without regard to case, and with spaces for the underscores and hyphens in it."""
    return re.sub(r"(?<=\w)[_-](?=\w)", " ", one_form(text)).casefold().strip()


class LabelLookup:
    """Finds labels by id or name: exactly, or else as people mean it (``plain``), where that means one label only."""

    def __init__(self, labels: Labels) -> None:
        self._exact = {one_form(text): index for text, index in labels.index_of.items()}
        self._plain: dict[str, int | None] = {}
        for text, index in labels.index_of.items():
            if self._plain.setdefault(plain(text), index) != index:
                self._plain[plain(text)] = None

    def find(self, text: str) -> int | None:
        """The index of a label; None when there is none, or more than one."""
        return self._exact.get(one_form(text), self._plain.get(plain(text)))

    def mistaken(self, texts: Iterable[str]) -> tuple[str, str] | None:
        """Two texts of one label that differ in their spelling alone; only the first is spelled as the label is."""
        exact = {plain(text): text for text in texts if one_form(text) in self._exact}
        for text in texts:
            other = exact.get(plain(text))
            if other is not None and one_form(text) not in self._exact and self.find(text) == self.find(other):
                return other, text
        return None


def one_form(text: str) -> str:
    """A name in composed form: macOS writes é as two signs in names of files, others as one."""
    return unicodedata.normalize("NFC", text)


def is_writable(name: str) -> bool:
    """Whether a class of this name can stand in a line of a text file."""
    return bool(name.strip()) and not any(unicodedata.category(sign) in _UNWRITABLE for sign in name)


def by_folders(title: str, files: Files, *, unwrap: bool) -> Found:
    """The classes by folders; ``title`` is what messages call the whole.

    unwrap: an only outermost folder that holds nothing but folders is looked through. UsageError where folders look
    like splits and would become classes.
    """
    listing = files.listing
    pictures = [name for name in listing.sizes if is_picture(name, partial(files.head, name))]
    base = _wrapper(pictures) if unwrap else ""
    inside = {name: name[len(base) :].split("/") for name in pictures}
    has_parts = _has_parts(inside.values())
    depth = 1 if has_parts else 0
    _refuse_splits(title, inside.values(), depth)
    found = Found(sizes=listing.sizes, skipped=list(listing.skipped), base=base)
    for name, pieces in inside.items():
        if len(pieces) <= depth + 1:
            found.skipped.append(Skipped(name, "lies in no class folder"))
        else:
            part = PARTS[pieces[0].casefold()] if has_parts else None
            found.pictures[name] = one_form(pieces[depth]), part
    for name in listing.sizes.keys() - inside.keys():
        if name[len(base) :].count("/") > depth:
            found.skipped.append(Skipped(name, "is no image by its name or first bytes"))
    tables = [name for name in listing.sizes if name.startswith(base) and name.lower().endswith(".csv")]
    if len(found.classes) == 1 and (beside := [name for name in sorted(tables) if "/" not in name[len(base) :]]):
        found.notes.append(
            f"{beside[0]!r} lies beside the only class and is not read: give it, if it names the classes."
        )
    for name in _empty_classes(found, listing, base, depth):
        found.skipped.append(Skipped(name, "is a class without pictures; it is left out"))
    return found


def _refuse_splits(title: str, inside: Iterable[list[str]], depth: int) -> None:
    """UsageError when folders where classes are expected, or anywhere below, look like splits."""
    levels: dict[tuple[str, ...], dict[str, bool]] = {}
    for pieces in inside:
        for level in range(depth, len(pieces) - 1):
            folders = levels.setdefault(tuple(pieces[:level]), {})
            folders[pieces[level]] = folders.get(pieces[level], False) or len(pieces) > level + 2
    for above, folders in sorted(levels.items()):
        if names := split_like(folders):
            inside_of, there = (f"in {'/'.join(above)} ", f" ({'/'.join((title, *above))})") if above else ("", "")
            shown = ", ".join(names[:4])
            rest = [name for name in folders if name not in names]
            beside = f" (beside {', '.join(sorted(rest)[:3])})" if rest else ""
            raise UsageError(
                f"{title}: the folders {inside_of}{shown} look like splits{beside}, not like classes; call "
                "splits train, val and test, with a folder per class in each and nothing beside them, and give the "
                f"folder they lie in{there}, or list the images in a {LISTING} with the columns file, label and split"
            )


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
