"""What files that are no image we read are: one table of first bytes, and what to do about each.

The names are for people who find such a file among their images; nothing of it is opened. Rows are tried in order.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple


class Foreign(NamedTuple):
    """name: as in "this is …". advice: what to do. signature: the bytes at ``offset``."""

    name: str
    advice: str
    signature: bytes
    offset: int = 0


_AS_IMAGE = "save it as JPEG or PNG"
_AS_PNG = "export its slices as 8-bit or 16-bit PNG"
_DEVELOP = "develop it into JPEG, PNG or TIFF"
_PAGES = "convert its pages to PNG"
_FRAMES = "extract its frames as JPEG or PNG"
_UNPACK = "unpack it and pass the images inside"
_ARRAY = "load it and pass a uint8 array (height, width, 3), or save it as PNG"
_RENDER = "render it as PNG"
_AGAIN = "copy or download the image again"
_REMOVE = "leave it out"

_RAW = "a camera's raw file"
MEDICAL = "a DICOM file"

TABLE: tuple[Foreign, ...] = (
    # medical and scientific images
    Foreign(MEDICAL, _AS_PNG, b"DICM", 128),
    *(Foreign(MEDICAL, _AS_PNG, b"\x08\0" + tag + b"\0") for tag in (b"\x05", b"\x08", b"\x12", b"\x16", b"\x18")),
    Foreign(MEDICAL, _AS_PNG, b"\x02\0\0\0UL\x04\0"),
    Foreign("a NIfTI volume", _AS_PNG, b"n+1\0", 344),
    Foreign("a NIfTI header", _AS_PNG, b"ni1\0", 344),
    Foreign("a NIfTI volume", _AS_PNG, b"n+2\0", 4),
    Foreign("an Analyze header", _AS_PNG, b"\x5c\x01\0\0"),
    Foreign("an NRRD volume", _AS_PNG, b"NRRD000"),
    Foreign("a MetaImage header", _AS_PNG, b"ObjectType ="),
    Foreign("a FITS file", _AS_PNG, b"SIMPLE  ="),
    Foreign("a NumPy array (.npy)", _ARRAY, b"\x93NUMPY"),
    Foreign("an HDF5 file", _ARRAY, b"\x89HDF\r\n\x1a\n"),
    Foreign("a MATLAB file", _ARRAY, b"MATLAB 5.0 MAT-file"),
    Foreign("a NetCDF file", _ARRAY, b"CDF\x01"),
    Foreign("a NetCDF file", _ARRAY, b"CDF\x02"),
    Foreign("a GRIB file", _ARRAY, b"GRIB"),
    Foreign("a Parquet file", "read it and pass the bytes of its image column", b"PAR1"),
    Foreign("an SQLite database", _REMOVE, b"SQLite format 3\0"),
    # cameras (those that begin as TIFF are named where TIFF is read)
    Foreign(f"{_RAW} (Canon CR3)", _DEVELOP, b"ftypcrx ", 4),
    Foreign(f"{_RAW} (Canon CRW)", _DEVELOP, b"HEAPCCDR", 6),
    Foreign(f"{_RAW} (Fujifilm RAF)", _DEVELOP, b"FUJIFILMCCD-RAW"),
    *(Foreign(f"{_RAW} (Olympus ORF)", _DEVELOP, start) for start in (b"IIRO", b"IIRS", b"MMOR")),
    Foreign(f"{_RAW} (Panasonic RW2)", _DEVELOP, b"IIU\0"),
    Foreign(f"{_RAW} (Sigma X3F)", _DEVELOP, b"FOVb"),
    Foreign(f"{_RAW} (Minolta MRW)", _DEVELOP, b"\0MRM"),
    # images of other kinds
    Foreign("a JPEG XL image", _AS_IMAGE, b"\xff\x0a"),
    Foreign("a JPEG XL image", _AS_IMAGE, b"\0\0\0\x0cJXL \r\n\x87\n"),
    Foreign("a JPEG XR image", _AS_IMAGE, b"II\xbc\x01"),
    Foreign("a JPEG file that is cut off or damaged", _AGAIN, b"\xff\xd8"),
    Foreign("a PNG file with changed line ends", "copy it in binary mode", b"\x89PNG"),
    Foreign("an OpenEXR image", _AS_IMAGE, b"\x76\x2f\x31\x01"),
    Foreign("a Radiance HDR image", _AS_IMAGE, b"#?RADIANCE"),
    Foreign("a Radiance HDR image", _AS_IMAGE, b"#?RGBE"),
    Foreign("a large Photoshop document (PSB)", _AS_IMAGE, b"8BPS\0\x02"),
    Foreign("a GIMP image", _AS_IMAGE, b"gimp xcf"),
    Foreign("an Apple icon", _AS_IMAGE, b"icns"),
    Foreign("a cursor", _AS_IMAGE, b"\0\0\x02\0"),
    Foreign("a DirectDraw texture", _AS_IMAGE, b"DDS "),
    Foreign("a KTX texture", _AS_IMAGE, b"\xabKTX "),
    Foreign("a BPG image", _AS_IMAGE, b"BPG\xfb"),
    Foreign("a FLIF image", _AS_IMAGE, b"FLIF"),
    Foreign("a DjVu document", _PAGES, b"AT&TFORM"),
    Foreign("a Windows metafile", _RENDER, b"\xd7\xcd\xc6\x9a"),
    Foreign("a Windows metafile", _RENDER, b" EMF", 40),
    # documents
    Foreign("a PDF document", _PAGES, b"%PDF"),
    Foreign("a PostScript file", _RENDER, b"%!PS"),
    Foreign("a PostScript file", _RENDER, b"\xc5\xd0\xd3\xc6"),
    Foreign("an RTF document", _PAGES, b"{\\rtf"),
    Foreign("an old Office document or a thumbnail cache", _REMOVE, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    # archives (what a ZIP holds is looked at below)
    Foreign("an empty ZIP archive", _REMOVE, b"PK\x05\x06"),
    Foreign("a gzip archive", _UNPACK, b"\x1f\x8b"),
    Foreign("a bzip2 archive", _UNPACK, b"BZh"),
    Foreign("an xz archive", _UNPACK, b"\xfd7zXZ\0"),
    Foreign("a Zstandard archive", _UNPACK, b"\x28\xb5\x2f\xfd"),
    Foreign("a 7-Zip archive", _UNPACK, b"7z\xbc\xaf\x27\x1c"),
    Foreign("a RAR archive", _UNPACK, b"Rar!\x1a\x07"),
    Foreign("a tar archive", _UNPACK, b"ustar", 257),
    # video and sound
    Foreign("an AVI video", _FRAMES, b"AVI ", 8),
    Foreign("a sound file (WAV)", _REMOVE, b"WAVE", 8),
    Foreign("a Matroska or WebM video", _FRAMES, b"\x1a\x45\xdf\xa3"),
    Foreign("a Flash video", _FRAMES, b"FLV\x01"),
    Foreign("a Windows Media file", _FRAMES, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    Foreign("an MPEG video", _FRAMES, b"\0\0\x01\xba"),
    Foreign("an MPEG video", _FRAMES, b"\0\0\x01\xb3"),
    *(Foreign("a QuickTime video", _FRAMES, kind, 4) for kind in (b"moov", b"mdat", b"wide")),
    Foreign("a sound file (MP3)", _REMOVE, b"ID3"),
    Foreign("a sound file (Ogg)", _REMOVE, b"OggS"),
    Foreign("a sound file (FLAC)", _REMOVE, b"fLaC"),
    # what stands in an image's place
    Foreign("a Git LFS pointer, not the image itself", "run `git lfs pull`", b"version https://git-lfs"),
    Foreign("a git-annex pointer, not the image itself", "run `git annex get`", b"/annex/objects/"),
    Foreign("a companion file of macOS (._…), not the image itself", _REMOVE, b"\0\x05\x16\x07"),
    Foreign("a folder's settings of macOS (.DS_Store)", _REMOVE, b"\0\0\0\x01Bud1"),
    Foreign("a Windows shortcut, not the image itself", "pass the file it points to", b"L\0\0\0\x01\x14\x02\0"),
    Foreign("a data: address, not the image itself", "decode its base64 text into bytes", b"data:"),
    Foreign("a program", _REMOVE, b"\x7fELF"),
    Foreign("a program", _REMOVE, b"MZ"),
)  # fmt: skip

# The brands of ISO base media files that are no stills, by their first letters.
_BRANDS: tuple[tuple[bytes, str], ...] = (
    (b"qt", "a QuickTime video (MOV)"), (b"M4A", "a sound file (M4A)"), (b"3g", "a mobile phone's video (3GP)"),
    (b"", "a video (MP4)"),
)  # fmt: skip

# The first text of files that are text, in lower case.
_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (b"<svg", "an SVG drawing", _RENDER),
    (b"<?xml", "an SVG drawing or another XML text", _RENDER),
    *(
        (start, "a web page", "the server sent a page in the image's place: download the image itself")
        for start in (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<!--", b"<meta", b"<title")
    ),
    (b"{", "a JSON text", "the server may have sent an error in the image's place: download it again"),
)
_ZIPS: tuple[tuple[bytes, str, str], ...] = (
    (b"word/", "a Word document", _PAGES), (b"xl/", "an Excel workbook", _REMOVE),
    (b"ppt/", "a PowerPoint presentation", _PAGES), (b"mimetypeapplication/vnd.oasis", "an OpenDocument file", _PAGES),
    (b"mimetypeapplication/epub", "an EPUB book", _PAGES), (b".npy", "a NumPy archive (.npz)", _ARRAY),
    (b"", "a ZIP archive", _UNPACK),
)  # fmt: skip


def describe(data: bytes) -> tuple[str, str]:
    """(what a file is that begins as no image we read, what to do about it)."""
    if not data:
        return "an empty file", _AGAIN
    for row in TABLE:
        if data.startswith(row.signature, row.offset):
            inside = _inside_gzip(data) if row.name == "a gzip archive" else None
            return inside or (row.name, row.advice)
    if data.startswith(b"PK\x03\x04"):
        return next((name, advice) for part, name, advice in _ZIPS if part in data[:8192])
    if data[4:8] == b"ftyp":
        return next((name, _FRAMES) for start, name in _BRANDS if data[8:12].startswith(start))
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for text, name, advice in _TEXTS:
        if start.startswith(text):
            return name, advice
    if not any(data[:4096]):
        return f"a file of {len(data)} bytes that begins with nothing but zeros", _AGAIN
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in data[:512]) and _is_text(data[:512]):
        return "a text", _REMOVE
    if len(data) < 12:
        return f"a file of {len(data)} bytes ({data.hex(' ')})", _AGAIN
    return f"a file of {len(data)} bytes that begins with {data[:8].hex(' ')}", _AS_IMAGE


def _inside_gzip(data: bytes) -> tuple[str, str] | None:
    """What the compressed file is, where its first bytes say so: volumes are often stored as .nii.gz."""
    try:
        name, advice = describe(zlib.decompressobj(31).decompress(data[:4096], 512))
    except zlib.error:
        return None
    return (f"{name}, compressed with gzip", advice) if "NIfTI" in name or "DICOM" in name else None


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(data) - 4  # a letter that is cut in two
    return True
