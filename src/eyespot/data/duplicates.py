"""Images that a dataset holds more than once: the same file, the same pixels, or nearly the same image.

Near means: the 64-bit hashes of the low frequencies differ in at most HASH_BITS bits, the 32×32 thumbs and their
details (what is left when the means of 4×4 blocks are taken out) correlate roughly, and both have the same fine
structure (``similarity``). The first three are quick and let every copy through; the last one decides. A copy that was
recompressed, resized, brightened or cropped by a little is found, a mirror image is not. A set of near ones is an image
and those that are near to it, so that no chain of small steps joins images that have nothing in common.

(The hash is Zauner's, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1. It
takes fifteen lines of numpy, so the base install needs no package for it.)
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.data.look import THUMB, Looks, look_at
from eyespot.data.similarity import SAME_IMAGE, SIDE, similarities, structure
from eyespot.data.source import Source
from eyespot.errors import EyespotError
from eyespot.image.decode import decode

HASH_BITS = 12
_THUMBS, _DETAILS = 0.85, 0.6  # correlations, below which no copy was seen that was cropped by up to 2 %
PLAIN = 4.0  # a standard deviation of grey levels; a picture below it shows too little to be compared
_SAME = 1.5  # grey levels, mean over the thumbs; pictures of equal pixels that are stored in two ways differ by less
_BLOCK = 512  # rows of hashes compared at once
_PAIRS = 4096  # pairs of thumbs compared at once
_STRUCTURES = 32  # pairs of structures compared at once: more fit no cache and take longer
_KEPT = 4096  # structures kept in memory, 64 MB
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)

Floats = NDArray[np.float32]
Set = tuple[str, ...]


class Duplicates(NamedTuple):
    """Sets of names, each sorted. exact: same bytes or same pixels. near: alike, but not all of them exactly."""

    exact: tuple[Set, ...]
    near: tuple[Set, ...]

    @property
    def together(self) -> list[Set]:
        """Every set whose pictures belong on one side of a split: near ones, and exact ones that lie in none."""
        inside = {name for names in self.near for name in names}
        return sorted([*self.near, *(names for names in self.exact if names[0] not in inside)])


def duplicates(
    source: Source, *, near: bool = True, workers: int | None = None, step: Callable[[], None] = lambda: None
) -> list[Set]:
    """Sets of names that belong together, as ``split(together=…)`` takes them.

    near: also those that are merely alike. ``step`` is called after each picture. Pictures that cannot be decoded are
    passed over.
    """
    return find(source, look_at(source, workers=workers, step=step), near=near).together


def find(source: Source, looks: Looks, *, near: bool = True) -> Duplicates:
    """The duplicates among pictures that were looked at."""
    exact = _Union(len(looks))
    first: dict[bytes, int] = {}
    for row, file in enumerate(looks.files):
        exact.join(first.setdefault(file, row), row)
    rows = np.array(sorted(first.values()), np.intp)  # one of each file is enough from here on
    maybe = _Union(len(looks))
    for a, b in _same_thumb(looks, rows):
        maybe.join(a, b)
    candidates = list(_candidates(looks, rows)) if near else []
    for a, b, difference in candidates:
        if difference <= _SAME and (looks.sizes[a] == looks.sizes[b]).all():
            maybe.join(a, b)
    for some in maybe.sets():
        pixels: dict[bytes, int] = {}
        for row in some:
            exact.join(pixels.setdefault(_pixels(source, looks, row), row), row)
    copies = {members[0]: members for members in exact.sets()}
    # Of images that are the same, the first stands for all.
    distinct = sorted({(exact.top(a), exact.top(b)) for a, b, _ in candidates if exact.top(a) != exact.top(b)})
    stars = _stars(_alike(source, looks, distinct))
    alike = [[row for first in star for row in copies.get(first, [first])] for star in stars]
    names = [sample.name for sample in looks.samples]
    return Duplicates(_named(names, list(copies.values())), _named(names, alike))


def _alike(source: Source, looks: Looks, pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The pairs that show the same image."""

    @lru_cache(_KEPT)
    def seen(row: int) -> Floats | None:
        try:
            return structure(decode(source.read(looks.samples[row]), at_least=(SIDE, SIDE)))
        except EyespotError:  # it was there a moment ago
            return None

    for start in range(0, len(pairs), _STRUCTURES):
        some = [(pair, seen(pair[0]), seen(pair[1])) for pair in pairs[start : start + _STRUCTURES]]
        both = [(pair, one, other) for pair, one, other in some if one is not None and other is not None]
        if both:
            found = similarities(np.stack([one for _, one, _ in both]), np.stack([other for _, _, other in both]))
            yield from (pair for (pair, _, _), value in zip(both, found.tolist(), strict=True) if value >= SAME_IMAGE)


def _stars(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Sets of an image and those that are alike to it; those with the most such images first, each image in one set."""
    near: dict[int, set[int]] = defaultdict(set)
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    stars: list[list[int]] = []
    taken: set[int] = set()
    for row in sorted(near, key=lambda row: (-len(near[row]), row)):
        star = {row, *near[row]} - taken
        if row not in taken and len(star) > 1:
            stars.append(sorted(star))
            taken |= star
    return stars


class _Union:
    """Sets of rows that grow together."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def top(self, row: int) -> int:
        above = self._above
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    def join(self, a: int, b: int) -> None:
        a, b = sorted((self.top(a), self.top(b)))
        self._above[b] = a

    def sets(self) -> list[list[int]]:
        """Those of two and more, each in order."""
        found: dict[int, list[int]] = defaultdict(list)
        for row in range(len(self._above)):
            found[self.top(row)].append(row)
        return [members for members in found.values() if len(members) > 1]


def _same_thumb(looks: Looks, rows: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    first: dict[bytes, int] = {}
    for row in rows.tolist():
        key = looks.sizes[row].tobytes() + looks.thumbs[row].tobytes()
        before = first.setdefault(key, row)
        if before != row:
            yield before, row


def _candidates(looks: Looks, rows: NDArray[np.intp]) -> Iterator[tuple[int, int, float]]:
    """Pairs that may be alike, with the mean difference of their thumbs in grey levels."""
    rows = rows[looks.spread[rows] >= PLAIN]
    bits = np.concatenate(
        [_hash(looks.thumbs[rows[start : start + _BLOCK]]) for start in range(0, len(rows), _BLOCK)]
        or [np.empty((0, 64), np.float32)]
    )
    for start in range(0, len(rows), _BLOCK):
        block = bits[start : start + _BLOCK]
        agreeing = block @ bits[start:].T  # 64 less twice the bits that differ
        left, right = np.nonzero(agreeing >= 64 - 2 * HASH_BITS)
        later = left < right
        a, b = rows[left[later] + start], rows[right[later] + start]
        for some in range(0, len(a), _PAIRS):
            yield from _correlating(looks, a[some : some + _PAIRS], b[some : some + _PAIRS])


def _correlating(looks: Looks, a: NDArray[np.intp], b: NDArray[np.intp]) -> Iterator[tuple[int, int, float]]:
    one, other = looks.thumbs[a].astype(np.float32), looks.thumbs[b].astype(np.float32)
    alike = _correlation(one, other) >= _THUMBS
    a, b, one, other = a[alike], b[alike], one[alike], other[alike]
    alike = _correlation(_details(one), _details(other)) >= _DETAILS
    difference = np.abs(one - other).mean((1, 2, 3))
    yield from zip(a[alike].tolist(), b[alike].tolist(), difference[alike].tolist(), strict=True)


def _hash(thumbs: NDArray[np.uint8]) -> Floats:
    """(n, 64) of 1 and -1: which of the 8×8 lowest frequencies of the grey thumb lie above their median."""
    k = np.arange(THUMB, dtype=np.float32)
    cosine = np.cos(np.pi * k[:8, None] * (k + 0.5) / THUMB)
    low = (cosine @ (thumbs @ _LUMA) @ cosine.T).reshape(len(thumbs), 64)
    low[:, 0] = 0  # the mean brightness would be the largest by far
    return np.where(low > np.median(low, axis=1, keepdims=True), 1, -1).astype(np.float32)


def _details(thumbs: Floats) -> Floats:
    blocks = thumbs.reshape(len(thumbs), 8, 4, 8, 4, 3)
    fine: Floats = (blocks - blocks.mean((2, 4), keepdims=True)).reshape(thumbs.shape)
    return fine


def _correlation(one: Floats, other: Floats) -> Floats:
    """(n,) Pearson's correlation of pairs of pictures; 0 where one of them is of a single value."""
    x, y = (side.reshape(len(side), THUMB * THUMB * 3) for side in (one, other))
    x, y = (side - side.mean(1, keepdims=True) for side in (x, y))
    length = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    total: Floats = (x * y).sum(1) / np.maximum(length, 1e-6)
    return total


def _pixels(source: Source, looks: Looks, row: int) -> bytes:
    """What a picture shows, size and all; its file where it can no longer be decoded."""
    try:
        image = decode(source.read(looks.samples[row]))
    except EyespotError:
        return looks.files[row]
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()


def _named(names: Sequence[str], sets: Sequence[Sequence[int]]) -> tuple[Set, ...]:
    return tuple(sorted(tuple(sorted(names[row] for row in members)) for members in sets))
