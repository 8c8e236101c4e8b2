"""What a file is by its first bytes, and the one class of Pillow that reads it.

The list is explicit and finite: no format that starts another program (EPS, through Ghostscript), leaves the decoding
to a plug-in (WMF, FITS, GRIB, HDF5), or has no signature (TGA) is on it. Classes are taken straight from Pillow's
modules, so neither its registry of formats nor any of its global settings is read to find one, or changed.
"""

from __future__ import annotations

from typing import NamedTuple

from eyespot.errors import PictureError


class Format(NamedTuple):
    """name: for messages. module and reader: where its class is, in Pillow or in what the extra brings.

    feature: what Pillow calls the codec, where it may have been built without it. bytes_per_pixel: of memory at the
    most, while an image is decoded.
    """

    name: str
    module: str
    reader: str
    extra: str = ""
    feature: str = ""
    bytes_per_pixel: int = 12


JPEG = Format("JPEG", "eyespot.image.jpeg", "JpegReader")
PNG = Format("PNG", "PIL.PngImagePlugin", "PngImageFile")
WEBP = Format("WebP", "PIL.WebPImagePlugin", "WebPImageFile", feature="webp", bytes_per_pixel=16)
GIF = Format("GIF", "PIL.GifImagePlugin", "GifImageFile")
BMP = Format("BMP", "PIL.BmpImagePlugin", "BmpImageFile")
TIFF = Format("TIFF", "PIL.TiffImagePlugin", "TiffImageFile", bytes_per_pixel=25)
AVIF = Format("AVIF", "PIL.AvifImagePlugin", "AvifImageFile", feature="avif")
HEIC = Format("HEIC", "pi_heif", "HeifImageFile", "heic")
JPEG2000 = Format("JPEG 2000", "PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile", feature="jpg_2000", bytes_per_pixel=20)
ICO = Format("ICO", "PIL.IcoImagePlugin", "IcoImageFile")
PPM = Format("PPM", "PIL.PpmImagePlugin", "PpmImageFile")
PSD = Format("PSD", "PIL.PsdImagePlugin", "PsdImageFile")
QOI = Format("QOI", "PIL.QoiImagePlugin", "QoiImageFile")
SGI = Format("SGI", "PIL.SgiImagePlugin", "SgiImageFile")
PCX = Format("PCX", "PIL.PcxImagePlugin", "PcxImageFile")

_SPACES = (b"\n", b"\r", b" ", b"\t")

# An MPO (two JPEGs in a row, from a stereo camera or a phone) begins as its first picture does, and is read as that.
_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),  # BigTIFF; Pillow reads it in this byte order only
    (b"\xff\x4f\xff\x51", JPEG2000),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG2000),
    (b"8BPS\0\x01", PSD),
    (b"qoif", QOI),
    (b"\0\0\x01\0", ICO),
    (b"\x01\xda", SGI),
    (b"BM", BMP),
    *((b"\x0a" + bytes((version,)) + b"\x01", PCX) for version in (0, 2, 3, 4, 5)),
    *((b"P" + kind + space, PPM) for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"f") for space in _SPACES),
)  # fmt: skip

_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
)

READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC"


def sniff(data: bytes) -> Format:
    """The format that ``data`` begins as. PictureError when it is none that is read."""
    for signature, format in _SIGNATURES:
        if data.startswith(signature):
            return format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    raise _refused(data)


def _by_brand(data: bytes) -> Format:
    """The format of an ISO base media file: its major brand, then the compatible ones."""
    end = min(int.from_bytes(data[:4], "big"), 8 + 4 * 64, len(data))
    brands = [data[8:12], *(data[i : i + 4] for i in range(16, end, 4))]
    if _AVIF_BRANDS.intersection(brands):
        return AVIF
    if _HEIC_BRANDS.intersection(brands):
        return HEIC
    raise _refused(data)


def _refused(data: bytes) -> PictureError:
    from eyespot.image.foreign import describe

    name, advice = describe(data)
    return PictureError(f"this is {name}, expected an image ({READABLE}); {advice}")
