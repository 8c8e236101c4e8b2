"""One look at every picture: its size, a thumb, and figures of light and sharpness; whoever needs more decodes again.

A JPEG is decoded at the smallest scale that is enough, so a look at a photograph of 12 megapixels costs what one of a
fraction of its size would. A look keeps about 3.2 kB of memory.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.data.containers import Skipped
from eyespot.data.source import Sample, Source
from eyespot.errors import EyespotError
from eyespot.image.decode import open_picture
from eyespot.run.overlap import overlapped

THUMB = 32  # pixels
_AREA = 256 * 256  # sharpness is measured at this many pixels, so that it does not depend on a camera's resolution
_BRIGHT = 0.99  # the share of pixels that are not brighter than ``light``


class Look(NamedTuple):
    """What one look at a picture gives.

    size: upright (height, width). file: sha256 of its bytes. thumb: uint8 (32, 32, 3), the whole picture, squeezed.
    light: grey level (0–255) that 99 % of its pixels do not exceed. spread: the standard deviation of its grey levels.
    sharpness: the variance of the Laplacian of its grey levels, at about 65,536 pixels (a smaller picture as it is).
    """

    size: tuple[int, int]
    file: bytes
    thumb: NDArray[np.uint8]
    light: float
    spread: float
    sharpness: float


@dataclass(frozen=True, eq=False)
class Looks:
    """The looks at a source's pictures, row by row; ``failures`` are those that could not be read or decoded."""

    samples: tuple[Sample, ...]
    sizes: NDArray[np.int64] = field(repr=False)
    files: tuple[bytes, ...] = field(repr=False)
    thumbs: NDArray[np.uint8] = field(repr=False)
    light: NDArray[np.float32] = field(repr=False)
    spread: NDArray[np.float32] = field(repr=False)
    sharpness: NDArray[np.float32] = field(repr=False)
    failures: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


def look(data: bytes) -> Look:
    """A look at the bytes of a picture. Errors as ``decode`` raises them."""
    opened = open_picture(data)
    height, width = opened.size
    scale = min(1.0, math.sqrt(_AREA / (height * width)))
    small = max(round(height * scale), 1), max(round(width * scale), 1)
    image = opened.load(small).image
    thumb = image.resize((THUMB, THUMB), Image.Resampling.BOX)
    grey = image.convert("L")
    if grey.size != small[::-1]:
        grey = grey.resize(small[::-1], Image.Resampling.BOX)
    levels = np.asarray(grey, np.float32)
    counts = np.cumsum(grey.histogram())
    return Look(
        (height, width),
        hashlib.sha256(data).digest(),
        np.asarray(thumb),
        float(np.searchsorted(counts, _BRIGHT * counts[-1])),
        float(levels.std()),
        _sharpness(levels),
    )


def look_at(source: Source, *, workers: int | None = None, step: Callable[[], None] = lambda: None) -> Looks:
    """Looks at every picture of a source, on all cores; ``step`` is called after each."""

    def one(sample: Sample) -> Look | Skipped:
        try:
            return look(source.read(sample))
        except EyespotError as error:
            return Skipped(sample.name, str(error), lost=True)

    samples: list[Sample] = []
    found: list[Look] = []
    failures: list[Skipped] = []
    for sample, outcome in zip(source.samples, overlapped(one, source.samples, workers=workers), strict=True):
        if isinstance(outcome, Skipped):
            failures.append(outcome)
        else:
            samples.append(sample)
            found.append(outcome)
        step()
    return _stacked(samples, found, failures)


def _stacked(samples: Sequence[Sample], found: Sequence[Look], failures: Sequence[Skipped]) -> Looks:
    return Looks(
        tuple(samples),
        np.array([one.size for one in found], np.int64).reshape(len(found), 2),
        tuple(one.file for one in found),
        np.stack([one.thumb for one in found]) if found else np.empty((0, THUMB, THUMB, 3), np.uint8),
        np.array([one.light for one in found], np.float32),
        np.array([one.spread for one in found], np.float32),
        np.array([one.sharpness for one in found], np.float32),
        tuple(failures),
    )


def _sharpness(levels: NDArray[np.float32]) -> float:
    if min(levels.shape) < 3:
        return 0.0
    middle = levels[1:-1, 1:-1]
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * middle
    return float(laplacian.var())
