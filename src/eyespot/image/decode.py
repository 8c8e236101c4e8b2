"""Bytes to an upright 8-bit RGB picture, or one line that says why not.

    picture = decode(path.read_bytes())                         # PIL.Image.Image, mode "RGB"
    picture = decode(data, at_least=(512, 512))                 # a large JPEG at 1/2, 1/4 or 1/8

Formats: JPEG and MPO, PNG and APNG, WebP, GIF, BMP, TIFF, AVIF, HEIC (extra ``heic``), JPEG 2000, ICO, PPM, PSD,
QOI, SGI, PCX: the first picture of each. What is done about modes is in ``colour``, about turning in ``orientation``,
about what else a file may hold in ``envelope``. ICC profiles are ignored.

Limits. A picture of more than ``max_pixels`` is refused by its header, and so is one that may take more memory than
a worker's share of what is left of the machine's and the container's. Pillow's global limits are not changed; GIF,
WebP and icons keep to them too. Peak memory on top of the file, measured, in bytes per pixel: 4 for most pictures; 8
when turned, transparent or CMYK; 10 for progressive JPEG, AVIF and HEIC; 12 for 16-bit grey; 16 for WebP; 20 for JPEG
2000; 25 for float. AVIF and HEIC check the size in their inner streams against 268 million pixels of their own. 700,000
mutations of small files, with ``max_pixels`` at 4 million, took at most 0.13 s each and 134 MB in all.

Threads: nothing here is shared between calls. ``warnings.catch_warnings`` is not safe among threads, so no warning is
caught: the code of Pillow that warns is given nothing to warn about (see ``envelope`` and ``jpeg``). Pillow releases
the interpreter's lock while it decodes. libtiff prints some of its errors on the process's standard error; they cannot
be stopped for one thread alone.

A JPEG whose data are damaged in the middle, but which ends as it should, cannot be told from a sound one; neither can a
PNG whose writer stopped early and closed the file properly. Everything else that is cut short is refused.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image, ImageFile, features

from eyespot.core.cores import cores
from eyespot.core.memory import available_memory
from eyespot.errors import EyespotError, MissingExtra, PictureError
from eyespot.image import envelope, formats, jpeg
from eyespot.image.colour import to_rgb
from eyespot.image.deep import is_deep, mend_tiff, scaled
from eyespot.image.formats import Format
from eyespot.image.orientation import UPRIGHT, Box, from_info, turn, turn_box, upright_size

MAX_PIXELS = 178_956_970  # 0.5 GiB of 24-bit pixels
_ALWAYS_BYTES = 256 << 20  # no memory is asked for below: 12 megapixels and more, whatever the format
_GIF_PIXELS = 89_478_485  # beyond this Pillow warns about a frame that is larger than its screen


def decode(source: bytes, *, at_least: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The upright picture in mode "RGB".

    at_least: (height, width) that are enough; a JPEG may then come at 1/2, 1/4 or 1/8 of its size, as long as both
    upright sides stay at least that large. max_pixels: the most that are decoded.
    Raises PictureError for bytes that are no sound picture, MissingExtra for HEIC without its extra.
    """
    return open_picture(source, max_pixels=max_pixels).load(at_least).image


class Decoded(NamedTuple):
    """An upright RGB picture, perhaps at a smaller scale.

    box: the part of ``image`` that the full picture covers, a fraction of a pixel less where the scale does not divide
    a side (left, top, right, bottom). size: (height, width) of the full picture. orientation: EXIF's, of the stored
    picture.
    """

    image: Image.Image
    box: Box
    size: tuple[int, int]
    orientation: int = UPRIGHT


class Opened:
    """A picture whose header has been read. ``size`` is the upright (height, width) that it promises."""

    def __init__(
        self, format: Format, data: bytes, reader: ImageFile.ImageFile, orientation: int, max_pixels: int
    ) -> None:
        self.format = format
        self.orientation = orientation
        self.max_pixels = max_pixels
        self.size = upright_size(reader.size, orientation)[::-1]
        self._data = data
        self._reader = reader

    def load(self, at_least: tuple[int, int] | None = None) -> Decoded:
        """The pixels, once: the reader's are handed over, not copied."""
        reader, size, deep = self._reader, self.size, False
        with _in_one_line(self.format.name, self._data):
            if isinstance(reader, jpeg.JpegReader):
                want = upright_size(at_least[::-1], self.orientation) if at_least else None
                box: Box = jpeg.load(reader, self._data, want)
            else:
                if self.format is formats.TIFF:
                    mend_tiff(reader)
                    # It else asks Pillow's global limit, and warns, as it allocates.
                    reader.im = Image.new(reader.mode, reader.size).im
                deep = is_deep(reader)
                reader.load()
                _check_size(self.format, reader.size, self.max_pixels)  # HEIC's inner stream may differ
                box = (0, 0, *reader.size)
                size = upright_size(reader.size, self.orientation)[::-1]
            picture = scaled(reader, self._reopened) if deep else reader
            box = turn_box(box, reader.size, self.orientation)
            image = turn(to_rgb(picture), self.orientation)
            image.info = {}  # nobody shall apply the orientation, or a palette's transparency, again
        return Decoded(image, box, size, self.orientation)

    def _reopened(self) -> ImageFile.ImageFile:
        reader = _reader(self.format)(_envelope(self.format, self._data, self.max_pixels).file)
        if self.format is formats.TIFF:
            mend_tiff(reader)
            reader.im = Image.new(reader.mode, reader.size).im
        return reader


def open_picture(source: bytes, *, max_pixels: int = MAX_PIXELS) -> Opened:
    """Reads the header and nothing more. Errors as in ``decode``."""
    if not isinstance(source, bytes | bytearray | memoryview):
        raise PictureError(
            f"{type(source).__name__} came, the bytes of a picture file were needed; read the file first"
        )
    data = bytes(source)
    format = formats.sniff(data)
    with _in_one_line(format.name, data):
        if format is formats.ICO and (png := envelope.ico_png(data)):
            return open_picture(png, max_pixels=max_pixels)
        if format is formats.WEBP:
            _check_size(format, envelope.webp_size(data), max_pixels)
        if format is formats.GIF:
            _check_size(format, envelope.gif_size(data), min(max_pixels, _GIF_PIXELS))
        file = _envelope(format, data, max_pixels)
        reader = _reader(format)(file.file)
        _check_size(format, reader.size, max_pixels)
        orientation = file.orientation
        if format in (formats.JPEG, formats.WEBP, formats.AVIF):
            orientation = from_info(reader.info)
    return Opened(format, data, reader, orientation, max_pixels)


def upright_rgb(image: Image.Image) -> Image.Image:
    """A caller's picture as ``decode`` would give it; the caller's own stays as it is.

    A picture straight from ``PIL.Image.open`` is turned by its orientation; one that was computed is taken as upright.
    """
    with _in_one_line(image.format or f"{image.mode} picture", b""):
        if min(image.size) < 1:
            raise PictureError(f"a picture of {_by(image.size)} pixels came, at least 1×1 was needed; check its source")
        image.load()
        return turn(to_rgb(image), orientation_of(image))


def orientation_of(image: Image.Image) -> int:
    """The turn, 1 to 8, that a caller's image still needs: its EXIF's if it comes straight from ``PIL.Image.open``."""
    is_stored = isinstance(image, ImageFile.ImageFile) and image.format not in ("TIFF", "HEIF")
    return from_info(image.info) if is_stored else UPRIGHT


def _envelope(format: Format, data: bytes, max_pixels: int) -> envelope.Envelope:
    if format is formats.PNG:
        return envelope.png(data)
    if format is formats.TIFF:
        return envelope.tiff(data, max_pixels)
    if format is formats.AVIF:
        return envelope.avif(data)
    if format is formats.ICO:
        return envelope.ico(data)
    return envelope.Envelope(io.BytesIO(data))


def _reader(format: Format) -> type[ImageFile.ImageFile]:
    """The class that reads it, imported now and not before."""
    try:
        try:
            module = importlib.import_module(format.module)
        except ImportError:
            if format is not formats.HEIC:
                raise
            module = importlib.import_module("pillow_heif")  # its larger sister, where that is installed already
        reader: type[ImageFile.ImageFile] = getattr(module, format.reader)
    except ImportError:
        if format.extra:
            raise MissingExtra(f"a {format.name} picture", format.extra) from None
        raise
    if format.feature and not features.check(format.feature):
        raise PictureError(
            f"this is {format.name}, and this Pillow was built without its decoder; install Pillow's own wheel, or "
            "save the image as JPEG or PNG"
        )
    return reader


def _check_size(format: Format, size: tuple[int, int], max_pixels: int) -> None:
    if min(size) < 1:
        raise PictureError(f"{format.name} of {_by(size)} pixels came, at least 1×1 was needed; check its source")
    if size[0] * size[1] > max_pixels:
        raise PictureError(
            f"{format.name} of {_by(size)} pixels came, at most {max_pixels} pixels are decoded; "
            "make it smaller or raise max_pixels"
        )
    needed = size[0] * size[1] * format.bytes_per_pixel
    if needed > _ALWAYS_BYTES and needed > (share := _memory_share()):
        raise PictureError(
            f"{format.name} of {_by(size)} pixels came, which may take {needed >> 20} MB; each worker has "
            f"{share >> 20} MB here: make it smaller, or give the program more memory"
        )


def _memory_share() -> int:
    """Bytes that one of the threads that decode at one time may take: half of what is left, split among the cores."""
    left = available_memory()
    return max(_ALWAYS_BYTES, left // 2 // cores()) if left is not None else MAX_PIXELS * 32


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


@contextmanager
def _in_one_line(name: str, data: bytes) -> Iterator[None]:
    """Turns whatever a decoder raises into PictureError.

    Pillow and its codecs raise OSError, SyntaxError, ValueError, TypeError, struct.error, zlib.error, IndexError,
    KeyError and more for the same kind of damage, and no list of them stays complete.
    """
    try:
        yield
    except EyespotError:
        raise
    except MemoryError:
        raise PictureError(f"{name} needs more memory than there is; make it smaller or lower max_pixels") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        reason = "".join(c for c in reason if c.isprintable())[:120] or type(error).__name__
        size = f" of {len(data)} bytes" if data else ""
        raise PictureError(
            f"{name}{size} is damaged or of a kind not read ({reason}); a sound picture was needed; "
            "copy it again or save it as JPEG or PNG"
        ) from None
