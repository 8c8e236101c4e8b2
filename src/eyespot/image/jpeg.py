"""Pillow's JPEG reader without its EXIF parser, and a look at whether the file ended before the picture did."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from eyespot.errors import PictureError

_SCANS = 200  # a progressive JPEG has about ten; each one costs a pass over all pixels
_FEW_SCANS, _SCANNED_PIXELS = 20, 500_000_000  # of a large one as many as encoders make, of others some seconds' work
_FILL = b"\x5a\xa5\x3c\xc3\x69\x96" * 64  # Huffman-coded noise: no 0xFF, so no marker


class JpegReader(JpegImageFile):
    """A JPEG, or the first picture of an MPO.

    Pillow looks for the resolution in EXIF as it opens the file, and warns when EXIF is damaged. Warnings cannot be
    silenced in one thread alone, so the parser is never reached; ``eyespot.image.orientation`` reads the one tag.
    """

    def getexif(self) -> Image.Exif:
        return Image.Exif()


class Extent(NamedTuple):
    """The part of a decoded picture that the full one covers, in its pixels: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


def load(reader: JpegImageFile, data: bytes, at_least: tuple[int, int] | None) -> Extent:
    """Decodes at 1/8, 1/4, 1/2 or whole, whichever is the smallest that is ``at_least`` (width, height).

    The scale is libjpeg's, in the inverse cosine transform: it costs less than decoding all pixels. A side that the
    scale does not divide is rounded up, so the extent is a fraction of a pixel smaller than the picture.
    """
    scans, most = (
        data.count(b"\xff\xda"),
        min(_SCANS, max(_FEW_SCANS, _SCANNED_PIXELS // (reader.width * reader.height))),
    )
    if scans > most:
        raise PictureError(f"a JPEG of {scans} scans came, at most {most} are decoded; save it again as JPEG or PNG")
    start = reader.fp.tell() if reader.fp else 0
    extent = Extent(0, 0, *reader.size)
    if at_least is not None and (drafted := reader.draft(None, at_least)):
        extent = Extent(*drafted[1])
    reader.decodermaxblock = len(data)  # one piece: the decoder need not stop and start again every 64 KiB
    reader.load()
    if _ends_grey(reader) and _is_unfinished(reader, data, start, at_least):
        raise PictureError(
            "a JPEG that ends before its picture does came, a whole file was needed; copy or download it again"
        )
    return extent


def _ends_grey(image: Image.Image) -> bool:
    """Whether the last row looks like what libjpeg fills in for data that never came: mid grey."""
    last, step = image.height - 1, max(1, image.width // 16)
    return all(image.getpixel((x, last)) in (128, (128, 128, 128)) for x in range(0, image.width, step))


def _is_unfinished(reader: JpegImageFile, data: bytes, start: int, at_least: tuple[int, int] | None) -> bool:
    """Whether noise before the end marker changes the picture: then the decoder was still waiting for data."""
    end = data.find(b"\xff\xd9", start)
    probe = JpegReader(io.BytesIO(data[:end] + _FILL + data[end:]))
    if at_least is not None:
        probe.draft(None, at_least)
    probe.load()
    return ImageChops.difference(reader, probe).getbbox() is not None
