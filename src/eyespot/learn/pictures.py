"""Pictures, decoded once: every epoch reads uint8 pixels from memory, or from a file where they are too many."""

from __future__ import annotations

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from eyespot.core.pixels import Preprocess
from eyespot.data.source import Sample, Source
from eyespot.errors import EyespotError
from eyespot.image.decode import open_picture
from eyespot.image.prepare import decode_and_prepare

Pixels = NDArray[np.uint8]
A = TypeVar("A")
B = TypeVar("B")

_AHEAD = 8  # items under way per worker
_LARGER = 1.25  # a stored picture's shorter side, in sides of the network's input: random crops enlarge what is in them
_SHARE = 4  # a quarter of the machine's memory may hold pictures
_SIDE_PROBES = 64  # headers read to know how large the pictures are


class Lost(NamedTuple):
    """A picture that cannot be used, and why."""

    name: str
    error: str


class Store:
    """uint8 arrays by number. Beyond ``limit`` bytes they go to a nameless file in ``folder``, gone with the process.

    Filled by one thread; read by any number of them.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self._folder = folder
        self._left = _memory() // _SHARE if limit is None else limit
        self._held: list[Pixels | tuple[int, tuple[int, ...]]] = []
        self._file: int | None = None
        self._end = 0

    def __len__(self) -> int:
        return len(self._held)

    def append(self, pixels: Pixels) -> None:
        """One more. OSError when the disk is full."""
        self._left -= pixels.nbytes
        if self._left >= 0:
            self._held.append(pixels)
            return
        if self._file is None:
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".pixels.")
            Path(name).unlink()
            self._file = handle
        view = memoryview(pixels.tobytes())
        written = 0
        while written < len(view):
            written += os.pwrite(self._file, view[written:], self._end + written)
        self._held.append((self._end, pixels.shape))
        self._end += pixels.nbytes

    def __getitem__(self, number: int) -> Pixels:
        held = self._held[number]
        if isinstance(held, np.ndarray):
            return held
        start, shape = held
        assert self._file is not None  # noqa: S101  # only what lies in it has a place in it
        return np.frombuffer(os.pread(self._file, math.prod(shape), start), np.uint8).reshape(shape)


def in_order(function: Callable[[A], B], items: Iterable[A], workers: int, *, ahead: int = 0) -> Iterator[B]:
    """``function`` of each item, on ``workers`` threads, in the items' order.

    ahead: how many are under way or wait to be taken, at the most; eight per worker unless it is more.
    """
    ahead = max(ahead, workers * _AHEAD)
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="eyespot-train") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                while len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def views(
    source: Source, samples: Sequence[Sample], view: Callable[[bytes], B], workers: int
) -> Iterator[tuple[Sample, B | Lost]]:
    """What ``view`` makes of each picture's bytes, in order; Lost for one that cannot be read."""

    def one(sample: Sample) -> tuple[Sample, B | Lost]:
        try:
            return sample, view(source.read(sample))
        except EyespotError as error:
            return sample, Lost(sample.name, str(error))

    return in_order(one, samples, workers)


def typical_side(source: Source) -> int:
    """The median of the shorter sides, in pixels, of up to 64 pictures spread over the source; 0 if none opens."""
    step = max(len(source.samples) // _SIDE_PROBES, 1)
    sides = []
    for sample in source.samples[::step]:
        try:
            sides.append(min(open_picture(source.read(sample)).size))
        except EyespotError:
            continue
    return sorted(sides)[len(sides) // 2] if sides else 0


def to_store(data: bytes, preprocess: Preprocess) -> Pixels:
    """A picture as it is kept for random crops: whole, upright, its shorter side at most 1.25 of the network's."""
    height, width = open_picture(data).size
    shorter = min(height, width)
    wanted = min(math.ceil(max(preprocess.size) * _LARGER), shorter)
    size = max(1, round(height * wanted / shorter)), max(1, round(width * wanted / shorter))
    if max(size) > 8 * wanted:  # a ribbon: what a crop shows of it has a shape
        size = min(size[0], 8 * wanted), min(size[1], 8 * wanted)
    return decode_and_prepare(data, Preprocess(size, "stretch", filter=preprocess.filter, antialias=True)).pixels


def _memory() -> int:
    """Bytes of memory that this process may use; 8 GB where the system does not say."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 << 30
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):
            continue
    return total
