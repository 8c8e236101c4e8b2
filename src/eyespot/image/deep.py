"""Images of more than 8 bits per channel where Pillow's reading alone would be wrong.

- TIFF with one plane per channel of 16 bits: Pillow unpacks its bytes as 8 bits.
- Compressed big-endian TIFF: libtiff gives the machine's own order, Pillow swaps it again (signed integers, floats).
- Colour of 10 to 14 bits in 16, as cameras and microscopes write it: Pillow's high bytes are nearly black.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from eyespot.errors import PictureError

_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF", "F;64BF": "F;64NF"}
_ORDERS = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_SHALLOW = 1 << 14  # values below use 14 bits or less, which no 16-bit image of usual exposure does
_NODATA = 42113  # GDAL's tag
_BLOCK = 1 << 20  # values per step


def mend_tiff(reader: Any) -> None:
    """Gives a TIFF's strips and tiles the raw modes in which their bytes lie, before it is loaded."""
    wide = 16 in tuple(reader.tag_v2.get(258, (1,))) and reader.tag_v2.get(284) == 2
    order = "L" if reader.tag_v2.prefix == b"II" else "B"
    tiles = []
    for tile in reader.tile:
        raw, *rest = tile.args
        if tile.codec_name == "libtiff":
            raw = _NATIVE.get(raw, raw)
        elif wide and len(raw) == 1:
            raw = f"{raw};16{order}"
        tiles.append(tile._replace(args=(raw, *rest)))
    reader.tile = tiles


def is_deep(reader: ImageFile.ImageFile) -> bool:
    """Whether an image that is not loaded yet has colour of 16 bits per channel."""
    return (
        reader.mode in ("RGB", "RGBA", "LA") and all(";16" in _raw(tile) for tile in reader.tile) and bool(reader.tile)
    )


def scaled(image: Image.Image, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """The high bytes of a deep image as they are, or scaled by as many bits as its colours use, where these are few.

    reopen: gives the reader again, not loaded, so that the low bytes can be had. PictureError where they cannot, as
    libtiff hands planes over by itself.
    """
    colours = image.mode.rstrip("A")
    nodata = _nodata(image)
    if nodata is None:
        extrema: Any = image.getextrema()
        most = max(high for _, high in extrema[: len(colours)])
    else:
        highs = np.asarray(image)[..., : len(colours)]
        most = int(highs.max(initial=0, where=highs != nodata >> 8))
    if most >= _SHALLOW >> 8:
        return image
    low = reopen()
    if any(tile.codec_name == "libtiff" for tile in low.tile) and getattr(low, "tag_v2", {}).get(284) == 2:
        raise PictureError(
            "a compressed TIFF with a plane per channel came whose values fill few of their 16 bits, which would be "
            "black; save it uncompressed or with interleaved channels"
        )
    low.tile = [tile._replace(args=_swapped(tile.args)) for tile in low.tile]
    low.load()
    high_bytes, low_bytes = np.asarray(image), np.asarray(low)
    colour_values = high_bytes[..., : len(colours)].astype(np.uint16) << 8 | low_bytes[..., : len(colours)]
    most = int(colour_values.max(initial=0, where=colour_values != (-1 if nodata is None else nodata)))
    white = (1 << max(8, most.bit_length())) - 1
    out = np.empty(high_bytes.size, np.uint8)
    for start in range(0, out.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        values = high_bytes.reshape(-1)[part].astype(np.uint16) << 8 | low_bytes.reshape(-1)[part]
        out[part] = np.rint(np.minimum(values, white) * (255 / white))
    return Image.fromarray(out.reshape(high_bytes.shape), image.mode)


def _nodata(image: Image.Image) -> int | None:
    """The 16-bit value that GDAL's tag calls no measurement, which says nothing about the bits in use."""
    text = str(getattr(image, "tag_v2", {}).get(_NODATA))[:64].strip("\0 ")
    return int(text) if text.isdecimal() and int(text) <= 0xFFFF else None


def _raw(tile: Any) -> str:
    args = tile.args
    return str(args[0] if isinstance(args, tuple) and args else args)


def _swapped(args: Any) -> Any:
    """The raw mode whose high bytes are these low ones."""
    raw, rest = (args[0], args[1:]) if isinstance(args, tuple) else (args, None)
    raw = raw[:-1] + _ORDERS[raw[-1]]
    return raw if rest is None else (raw, *rest)
