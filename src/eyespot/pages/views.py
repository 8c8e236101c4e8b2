"""What a mistake looked like: the photograph, and what in the prepared picture spoke for each of two labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.accuracy.activation import open_maps
from eyespot.accuracy.dataset import Example
from eyespot.accuracy.mistakes import Mistake
from eyespot.errors import EyespotError
from eyespot.image.decode import decode
from eyespot.run.pictures import read_bytes
from eyespot.run.predict import Model

SIDE = 224  # pixels of the longer side on the page
_DARK = 0.5
_AMBER = (255, 176, 0)  # told from grey by every kind of sight
_LINE = 2  # pixels


class View(NamedTuple):
    """A mistake's pictures, None where there is none. given, right: what spoke for those labels."""

    photograph: Image.Image | None
    given: Image.Image | None
    right: Image.Image | None


def views(model: Model, data: Sequence[Example], mistakes: Sequence[Mistake]) -> list[View]:
    """The pictures of each mistake. data: what was evaluated; a mistake's ``example`` is its place there.

    Networks without class activation maps give photographs only; so does a picture that has gone meanwhile, none.
    """
    found = []
    with ExitStack() as stack:
        maps = open_maps(model.bundle)
        if maps is not None:
            stack.enter_context(maps)
        for mistake in mistakes:
            try:
                source = data[mistake.example].picture()
                pixels = model.prepare(source)
                photograph = _photograph(source)
            except EyespotError:
                found.append(View(None, None, None))
                continue
            if maps is None:
                found.append(View(photograph, None, None))
                continue
            given, right = maps(pixels, [mistake.predicted, mistake.target])
            found.append(View(photograph, overlay(pixels, given), overlay(pixels, right)))
    return found


def overlay(pixels: NDArray[np.uint8], map: NDArray[np.float32]) -> Image.Image:
    """The prepared picture, bright and in colour where it spoke for a label, elsewhere dark and grey.

    pixels: (height, width, 3). map: (rows, columns), what each place added to the logit; places that spoke against the
    label are as dark as those that said nothing. An amber line surrounds what spoke at least half as loud as the
    loudest.
    """
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), np.float32)
    strength = np.maximum(np.asarray(Image.fromarray(map).resize(size, Image.Resampling.BICUBIC)), 0)
    loudest = float(strength.max())
    if loudest > 0:
        strength = strength / loudest
    share = strength[..., None]
    mixed = picture.mean(axis=2, keepdims=True) * _DARK * (1 - share) + picture * share
    mixed[_outline(strength > 0.5)] = _AMBER
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def _outline(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rim of an area, but not where it runs over the picture's edge."""
    around = np.pad(area, _LINE, mode="edge")
    height, width = area.shape
    inside = area.copy()
    for y, x in ((0, _LINE), (2 * _LINE, _LINE), (_LINE, 0), (_LINE, 2 * _LINE)):
        inside &= around[y : y + height, x : x + width]
    rim: NDArray[np.bool_] = area & ~inside
    return rim


def _photograph(source: str | bytes | Path) -> Image.Image:
    image = decode(read_bytes(source), at_least=(SIDE, SIDE))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image
