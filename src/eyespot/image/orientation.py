"""Which way up a picture is: the one tag of EXIF that a classifier needs, and the turn that it asks for.

Read here rather than with Pillow, whose parser reads the whole block and warns when any of it is damaged. A block that
is broken, or a value that does not exist, means upright.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

UPRIGHT = 1
_TAG = 0x0112
_UNITS = {1: "B", 3: "H", 4: "L"}
_XMP = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])\b""")


class _Turn(NamedTuple):
    """EXIF 2.3, table 6: how the stored picture becomes the upright one."""

    method: Image.Transpose
    swaps: bool
    flips_x: bool
    flips_y: bool


_TURNS = {
    2: _Turn(Image.Transpose.FLIP_LEFT_RIGHT, False, True, False),
    3: _Turn(Image.Transpose.ROTATE_180, False, True, True),
    4: _Turn(Image.Transpose.FLIP_TOP_BOTTOM, False, False, True),
    5: _Turn(Image.Transpose.TRANSPOSE, True, False, False),
    6: _Turn(Image.Transpose.ROTATE_270, True, True, False),
    7: _Turn(Image.Transpose.TRANSVERSE, True, True, True),
    8: _Turn(Image.Transpose.ROTATE_90, True, False, True),
}


def from_exif(block: bytes) -> int:
    """The orientation (1–8) of an EXIF block, with or without its ``Exif`` prefix."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(order + "L", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for i in range(count):
            at = start + 2 + 12 * i
            tag, kind, number = struct.unpack_from(order + "HHL", block, at)
            if tag == _TAG and kind in _UNITS and number:
                (value,) = struct.unpack_from(order + _UNITS[kind], block, at + 8)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass  # the block ends too soon
    return UPRIGHT


def from_xmp(packet: bytes) -> int:
    """The orientation (1–8) that an XMP packet names."""
    found = _XMP.search(packet)
    return int(found[1]) if found else UPRIGHT


def from_info(info: dict[str | tuple[int, int], object]) -> int:
    """The orientation that Pillow's reader found but did not apply: EXIF's, else XMP's."""
    exif, xmp = info.get("exif"), info.get("xmp")
    orientation = from_exif(exif) if isinstance(exif, bytes) else UPRIGHT
    if orientation == UPRIGHT and isinstance(xmp, bytes):
        return from_xmp(xmp)
    return orientation


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(width, height) after the turn; also the way back, since only 5 to 8 swap the sides."""
    turn = _TURNS.get(orientation)
    return (size[1], size[0]) if turn and turn.swaps else size


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """The upright picture; the same object when it is upright."""
    needed = _TURNS.get(orientation)
    return image.transpose(needed.method) if needed else image


Box = tuple[float, float, float, float]


def turn_box(box: Box, size: tuple[int, int], orientation: int) -> Box:
    """Where ``box`` (left, top, right, bottom) of a stored picture of ``size`` (width, height) lies once upright."""
    turn = _TURNS.get(orientation)
    if turn is None:
        return box
    left, top, right, bottom = box
    width, height = size
    if turn.swaps:
        left, top, right, bottom = top, left, bottom, right
        width, height = height, width
    if turn.flips_x:
        left, right = width - right, width - left
    if turn.flips_y:
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def turn_points(
    points: NDArray[np.float64], size: tuple[int, int], orientation: int, *, back: bool
) -> NDArray[np.float64]:
    """Points (…, 2) of a stored image, (x, y), once it is upright; with ``back`` the other way.

    size: (height, width) of the upright image.
    """
    turn = _TURNS.get(orientation)
    if turn is None:
        return points
    height, width = size
    if turn.swaps and not back:
        points = points[..., ::-1]
    x, y = points[..., 0], points[..., 1]
    turned = np.stack([width - x if turn.flips_x else x, height - y if turn.flips_y else y], axis=-1)
    return turned[..., ::-1] if turn.swaps and back else turned
