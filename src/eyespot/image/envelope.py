"""The parts of a file that its pixels need, and nothing else: what is left out can do no harm.

Text chunks, colour profiles, animations, thumbnails, EXIF blocks and further pages are where compressed bombs, endless
loops and Pillow's warnings live. Here the container is walked once, within its own length, and the reader is given a
file without them; the orientation is noted on the way. Nothing is decompressed but one text, up to 1 MiB.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from eyespot.errors import PictureError
from eyespot.image.orientation import UPRIGHT, from_exif, from_xmp

_TEXT_BYTES = 1 << 20
_TEXTS = 8  # that may hold the orientation; each may take a few milliseconds
_TEXT_NAMES = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")


class Envelope(NamedTuple):
    """The file to decode and its orientation (1–8, as EXIF counts)."""

    file: io.BytesIO
    orientation: int = UPRIGHT


# ---- PNG -----------------------------------------------------------------------------------------------------------

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def png(data: bytes) -> Envelope:
    """Header, palette, transparency and pixels; an APNG's default picture.

    Orientation: the ``eXIf`` chunk, else ImageMagick's text, else XMP. A file cut after its last pixel is whole.
    """
    pieces = [_PNG_SIGNATURE]
    orientations: dict[str, int] = {}
    looked_at = 0
    for kind, start, end in _png_chunks(data):
        if kind in _PNG_PIXELS:
            pieces.append(data[start:end])
        elif kind == b"eXIf":
            orientations["exif"] = from_exif(data[start + 8 : end - 4])
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and looked_at < _TEXTS and data.startswith(_TEXT_NAMES, start + 8):
            looked_at += 1
            orientations |= _png_text(kind, data[start + 8 : min(end - 4, start + 8 + _TEXT_BYTES)])
    if not pieces[-1].endswith(_PNG_END):
        pieces.append(_PNG_END)
    known = [orientations[name] for name in ("exif", "text", "xmp") if orientations.get(name, UPRIGHT) != UPRIGHT]
    return Envelope(io.BytesIO(b"".join(pieces)), known[0] if known else UPRIGHT)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk; the last may end with the file."""
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        yield kind, position, min(end, len(data))
        if kind == b"IEND":
            return
        position = end


def _png_text(kind: bytes, payload: bytes) -> dict[str, int]:
    keyword, _, text = payload.partition(b"\0")
    if keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
        text = _inflate(text[1:]) if kind == b"zTXt" else text
        try:
            return {"text": from_exif(bytes.fromhex(b"".join(text.split()[2:]).decode("ascii")))}
        except ValueError:
            return {}
    if keyword == b"XML:com.adobe.xmp" and kind == b"iTXt":
        compressed, rest = text[:1] == b"\x01", text[2:].split(b"\0", 2)[-1]
        return {"xmp": from_xmp(_inflate(rest) if compressed else rest)}
    return {}


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _TEXT_BYTES)
    except zlib.error:
        return b""


# ---- TIFF ----------------------------------------------------------------------------------------------------------

_ORIENTATION, _SAMPLES, _TILE_WIDTH, _TILE_LENGTH = 274, 277, 322, 323
# Of a camera's raw file (DNG, NEF, ARW, …) the first image is a thumbnail, or in a mosaic that is not read.
_SUBFILE, _DNG = 254, 50706
# Sizes, layout, compression, colour map and tables: TIFF 6.0 sections 3 to 22, and its technical note 2 on JPEG; last
# the value that GDAL writes where nothing was measured.
_TIFF_PIXELS = frozenset(
    (256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339, 347,
     512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 42113)
)  # fmt: skip
_TIFF_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_SAMPLES = 6


def tiff(data: bytes, max_pixels: int) -> Envelope:
    """The first page, without its EXIF, texts, thumbnails and private tags. PictureError when it points outside."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] == b"+\0"
    head, entry, inline = ("Q", "HHQ8s", 8) if big else ("H", "HHL4s", 4)
    (start,) = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + head, data, start)
    width = struct.calcsize(order + entry)
    first = start + struct.calcsize(order + head)
    if first + count * width + inline > len(data):
        raise PictureError("a TIFF whose directory is cut off came, a whole file was needed; copy or download it again")
    kept: dict[int, bytes] = {}
    values: dict[int, int] = {}
    total = 0
    for i in range(count):
        raw = data[first + i * width : first + (i + 1) * width]
        tag, kind, number, value = struct.unpack(order + entry, raw)
        size = _TIFF_UNITS.get(kind, 0) * number
        if size and size <= inline and kind in (1, 3, 4):
            values.setdefault(tag, int.from_bytes(value[: _TIFF_UNITS[kind]], "little" if order == "<" else "big"))
        if tag not in _TIFF_PIXELS or tag in kept or not size:
            continue
        total += size if size > inline else 0
        if size > inline and (int.from_bytes(value, "little" if order == "<" else "big") + size > len(data)):
            raise PictureError(
                f"a TIFF whose tag {tag} lies outside the file came, a whole file was needed; get it again"
            )
        kept[tag] = raw
    if data[8:10] == b"CR" or _DNG in values or values.get(_SUBFILE, 0) & 1:
        raise PictureError("this is a camera's raw file, expected an image; develop it into JPEG, PNG or TIFF")
    if total > len(data) or values.get(_SAMPLES, 1) > _MOST_SAMPLES:
        raise PictureError("a TIFF whose tags contradict each other came, a sound file was needed; save it again")
    if values.get(_TILE_WIDTH, 1) * values.get(_TILE_LENGTH, 1) > max_pixels:
        raise PictureError(
            f"a TIFF with tiles of over {max_pixels} pixels came, smaller ones were needed; save it again"
        )
    directory = struct.pack(order + head, len(kept)) + b"".join(kept.values()) + bytes(inline)
    file = io.BytesIO(data)
    file.seek(start)
    file.write(directory)  # never longer than the one it replaces
    file.seek(0)
    orientation = values.get(_ORIENTATION, UPRIGHT)
    return Envelope(file, orientation if 1 <= orientation <= 8 else UPRIGHT)


# ---- AVIF ----------------------------------------------------------------------------------------------------------


def avif(data: bytes) -> Envelope:
    """The file with its EXIF item renamed: AVIF turns pictures by its own boxes, and readers must ignore EXIF's."""
    position = 0
    while position + 8 <= len(data):
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind == b"meta" and size >= 8:
            end = min(position + size, len(data))
            meta = data[position:end].replace(b"Exif", b"skip")
            return Envelope(io.BytesIO(data[:position] + meta + data[end:]))
        if size < 8:
            break
        position += size
    return Envelope(io.BytesIO(data))


# ---- ICO -----------------------------------------------------------------------------------------------------------


def ico_png(data: bytes) -> bytes | None:
    """The largest icon, where it is a PNG."""
    icon, _ = _largest_icon(data)
    return icon if icon.startswith(_PNG_SIGNATURE) else None


def ico(data: bytes) -> Envelope:
    """The largest icon, where it is a bitmap, alone in a file."""
    icon, bits = _largest_icon(data)
    header, width, height = struct.unpack_from("<LLL", icon)
    if header < 40 or not (0 < width <= 256 and 0 < height // 2 <= 256):
        raise PictureError(f"an icon of {width}×{height // 2} pixels came, at most 256×256 can be; save it as PNG")
    # The directory is written anew from the bitmap's own header, so that the two cannot disagree.
    entry = struct.pack("<BBBBHHLL", width & 255, height // 2 & 255, 0, 0, 1, bits, len(icon), 22)
    return Envelope(io.BytesIO(b"\0\0\x01\0\x01\0" + entry + icon))


def _largest_icon(data: bytes) -> tuple[bytes, int]:
    """The bytes of the icon with the most pixels, then the most colours, and its bits per pixel."""
    (count,) = struct.unpack_from("<H", data, 4)
    entries = [struct.unpack_from("<BBBBHHLL", data, 6 + 16 * i) for i in range(count)]
    if not entries:
        raise PictureError("an ICO file without icons came, a picture was needed; save it as PNG")
    *_, bits, size, offset = max(entries, key=lambda e: ((e[0] or 256) * (e[1] or 256), e[5]))
    return data[offset : offset + size], bits


# ---- GIF -----------------------------------------------------------------------------------------------------------


def gif_size(data: bytes) -> tuple[int, int]:
    """(width, height) that the screen and the first frame need; a frame may stick out of its screen."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[position] != 0x2C:
        if data[position] == 0x21:  # an extension: its label, then blocks until an empty one
            position += 2
            while data[position]:
                position += data[position] + 1
        position += 1
    left, top, across, down = struct.unpack_from("<HHHH", data, position + 1)
    return max(width, left + across), max(height, top + down)


# ---- WebP ----------------------------------------------------------------------------------------------------------


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the canvas, which libwebp allocates before it has read a pixel."""
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<L", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
