"""Real small files of every format, made here, so that the tests need nothing from outside."""

from __future__ import annotations

import functools
import io
import struct
import zlib

import numpy as np
import pillow_heif
from PIL import Image, ImageDraw, TiffImagePlugin

SIZE = (48, 40)  # width, height


@functools.cache
def scene() -> Image.Image:
    """A picture that looks different from every side: a slope of colours, a disc and a letter L."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    image = Image.fromarray((np.stack([x, y, 1 - x * y], -1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, 16, 16), "white")
    draw.line((30, 6, 30, 30, 42, 30), "black", 4)
    return image


def saved(image: Image.Image, format: str, **options) -> bytes:
    """The bytes of a file."""
    if format == "HEIF":
        file = io.BytesIO()
        pillow_heif.from_pillow(image).save(file, **options)
        return file.getvalue()
    file = io.BytesIO()
    if "append_images" in options:
        options["append_images"] = [frame.copy() for frame in options["append_images"]]
    image.copy().save(file, format, **options)  # copies: saving leaves settings of one format behind for the next
    return file.getvalue()


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def with_chunk(png: bytes, kind: bytes, payload: bytes) -> bytes:
    """The PNG with one more chunk behind its header."""
    return png[:33] + png_chunk(kind, payload) + png[33:]


def exif(orientation: int, *, order: str = "<", kind: int = 3, tag: int = 0x0112) -> bytes:
    """An EXIF block with one tag."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    unit = {1: "B3x", 3: "H2x", 4: "L"}[kind]
    entry = struct.pack(order + "HHHL" + unit, 1, tag, kind, 1, orientation)
    return b"Exif\0\0" + head + entry + bytes(4)


@functools.cache
def files() -> dict[str, bytes]:
    """A file of each format and of its most different kinds, all of ``scene``."""
    rgb = scene()
    grey, palette = rgb.convert("L"), rgb.quantize(64)
    rgba = rgb.copy()
    rgba.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 16)
    other = rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    made = {
        "jpeg": saved(rgb, "JPEG", exif=exif(1)),
        "jpeg-progressive": saved(rgb, "JPEG", progressive=True, subsampling=0),
        "jpeg-grey": saved(grey, "JPEG", restart_marker_blocks=2),
        "jpeg-cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "mpo": saved(rgb, "MPO", save_all=True, append_images=[other]),
        "png": with_chunk(saved(rgb, "PNG"), b"tEXt", b"Comment\0a comment"),
        "png-alpha": saved(rgba, "PNG"),
        "png-palette": saved(palette, "PNG", transparency=3),
        "png-deep": saved(deep, "PNG"),
        "png-bits": saved(rgb.convert("1"), "PNG"),
        "apng": saved(rgb, "PNG", save_all=True, append_images=[other]),
        "webp": saved(rgb, "WEBP", exif=exif(1)),
        "webp-lossless": saved(rgba, "WEBP", lossless=True),
        "webp-animated": saved(rgb, "WEBP", save_all=True, append_images=[other]),
        "gif": saved(palette, "GIF", save_all=True, append_images=[other.quantize(16)], loop=0),
        "bmp": saved(rgb, "BMP"),
        "bmp-palette": saved(palette, "BMP"),
        "tiff": saved(rgb, "TIFF"),
        "tiff-lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": saved(rgb, "TIFF", compression="jpeg"),
        "tiff-packbits": saved(palette, "TIFF", compression="packbits"),
        "tiff-fax": saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff-float": saved(Image.fromarray(np.asarray(grey).astype(np.float32) / 7), "TIFF"),
        "tiff-big": saved(rgb, "TIFF", big_tiff=True),
        "tiff-lab": saved(_lab(rgb), "TIFF"),
        "tiff-pages": saved(rgb, "TIFF", save_all=True, append_images=[other], tiffinfo=_orientation(1)),
        "avif": saved(rgb, "AVIF", exif=exif(1)),
        "avif-alpha": saved(rgba, "AVIF"),
        "heic": saved(rgb, "HEIF", quality=90),
        "jp2": saved(rgb, "JPEG2000"),
        "j2k": saved(grey, "JPEG2000", no_jp2=True),
        "ico": saved(rgba, "ICO", sizes=[(32, 32), (16, 16)]),
        "ico-bitmap": saved(rgba, "ICO", sizes=[(32, 32)], bitmap_format="bmp"),
        "ppm": saved(rgb, "PPM"),
        "pgm-deep": b"P5\n48 40\n65535\n" + np.asarray(deep).astype(">u2").tobytes(),
        "ppm-plain": b"P3\n48 40\n255\n" + " ".join(map(str, np.asarray(rgb).ravel())).encode() + b"\n",
        "pfm": b"Pf\n48 40\n-1.0\n" + np.asarray(grey)[::-1].astype("<f4").tobytes(),
        "sgi": saved(rgb, "SGI"),
        "pcx": saved(rgb, "PCX"),
        "qoi": saved(rgb, "QOI"),
        "psd": _psd(rgb),
    }  # fmt: skip
    return made


def _orientation(value: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[274] = value
    return directory


def tiff_turned(image: Image.Image, value: int) -> bytes:
    """A TIFF with an orientation."""
    return saved(image, "TIFF", tiffinfo=_orientation(value))


def _lab(rgb: Image.Image) -> Image.Image:
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")


def _psd(rgb: Image.Image) -> bytes:
    """The composite alone: header, three empty sections, raw planes."""
    head = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, rgb.height, rgb.width, 8, 3)
    return head + bytes(12) + b"\0\0" + np.asarray(rgb).transpose(2, 0, 1).tobytes()


def tiff(
    values: np.ndarray,
    *,
    photometric: int | None = None,
    planes: bool = False,
    deflate: bool = False,
    order: str = "<",
    nodata: bytes = b"",
) -> bytes:
    """A TIFF of one strip, or one for each channel, of (height, width[, channels]) of any type."""
    height, width = values.shape[:2]
    count = values.shape[2] if values.ndim == 3 else 1
    stored = values.astype(values.dtype.newbyteorder(order))
    strips = [stored[..., k].tobytes() for k in range(count)] if planes else [stored.tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    photometric = (2 if count > 2 else 1) if photometric is None else photometric
    rows: list[tuple[int, str, list[int] | bytes]] = [
        (256, "L", [width]), (257, "L", [height]), (258, "H", [8 * values.itemsize] * count),
        (259, "H", [8 if deflate else 1]), (262, "H", [photometric]), (273, "L", [0] * len(strips)),
        (277, "H", [count]), (278, "L", [height]),
        (279, "L", [len(strip) for strip in strips]), (284, "H", [2 if planes else 1]),
        *([(338, "H", [2])] if count == 4 else []), (339, "H", [kind] * count),
        *([(42113, "s", nodata)] if nodata else []),
    ]  # fmt: skip
    pack = {tag: _packed(order, kind, numbers) for tag, kind, numbers in rows}
    beside = 8 + 2 + 12 * len(rows) + 4
    start = beside + sum(len(raw) for raw in pack.values() if len(raw) > 4)
    places = [start + sum(map(len, strips[:k])) for k in range(len(strips))]
    pack[273] = _packed(order, "L", places)
    directory, more = struct.pack(order + "H", len(rows)), b""
    for tag, kind_, numbers in rows:
        raw = pack[tag]
        at = struct.pack(order + "L", beside + len(more)) if len(raw) > 4 else raw.ljust(4, b"\0")
        more += raw if len(raw) > 4 else b""
        directory += struct.pack(order + "HHL", tag, {"s": 2, "H": 3, "L": 4}[kind_], len(numbers)) + at
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    return head + directory + bytes(4) + more + b"".join(strips)


def _packed(order: str, kind: str, numbers: list[int] | bytes) -> bytes:
    return numbers if isinstance(numbers, bytes) else struct.pack(f"{order}{len(numbers)}{kind}", *numbers)


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits per channel: RGB or RGBA."""
    height, width, count = values.shape
    header = struct.pack(">LLBBBBB", width, height, 16, {3: 2, 4: 6}[count], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
