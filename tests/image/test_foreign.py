"""Files that often lie among images: each is named in the refusal, with what to do about it."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import features

from eyespot.errors import PictureError
from eyespot.image import foreign
from eyespot.image.decode import decode
from image import made


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(name, "")
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((2, 2), np.uint8))
    return file.getvalue()


def tiff(*tags: tuple[int, int, int], make: bytes = b"II*\0\x08\0\0\0") -> bytes:
    """A TIFF with one strip of 2×2 grey pixels, and these tags (tag, kind, value) beside the usual ones."""
    usual = [(256, 4, 2), (257, 4, 2), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 0), (278, 4, 2), (279, 4, 4)]
    entries = sorted([*usual, *tags])
    start = len(make) + 2 + 12 * len(entries) + 4
    entries = [(t, k, start if t == 273 else v) for t, k, v in entries]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHLL", t, k, 1, v) for t, k, v in entries)
    return make + body + bytes(4) + b"\x80" * 4


NIFTI = struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(100)
FILES = {
    "this is a DICOM file": bytes(128) + b"DICM\x02\0\0\0UL\x04\0",
    "DICOM": b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100" + bytes(64),
    "a NIfTI volume, expected": NIFTI,
    "a NIfTI volume, compressed": gzip.compress(NIFTI),
    "a gzip archive": gzip.compress(b"something else"),
    r"NumPy array \(.npy\)": array(),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(32),
    "NRRD": b"NRRD0004\n# x\n",
    "a PDF document": b"%PDF-1.7\n",
    "a ZIP archive": archive("a.jpg"),
    "a Word document": archive("[Content_Types].xml", "word/document.xml"),
    "an Excel workbook": archive("[Content_Types].xml", "xl/workbook.xml"),
    r"NumPy archive": archive("images.npy"),
    r"QuickTime video \(MOV\)": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    r"a video \(MP4\)": b"\0\0\0\x18ftypisom\0\0\0\0isomavc1",
    "Canon CR3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
    "Fujifilm": b"FUJIFILMCCD-RAW 0201",
    "a camera's raw file, expected": tiff((254, 4, 1)),
    "camera's raw file": tiff((50706, 1, 0x0401)),
    "raw file, expected an image; develop": tiff(make=b"II*\0\x10\0\0\0CR\2\0\0\0\0\0"),
    "JPEG XL": b"\xff\x0a\xfa\x7f" + bytes(20),
    "a JPEG XL image": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
    "OpenEXR": b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(20),
    "large Photoshop": b"8BPS\0\x02" + bytes(20),
    "SVG": b'<?xml version="1.0"?><svg xmlns="x"/>',
    "a web page; |a web page, .* download the image": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "a JSON text": b'{"error": "not found"}',
    "Git LFS pointer.*git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "git-annex": b"/annex/objects/MD5E-s1--0.jpg\n",
    "companion file of macOS": b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ",
    "an empty file": b"",
    "nothing but zeros": bytes(5000),
    "JPEG file that is cut off": b"\xff\xd8",
    "changed line ends": b"\x89PNG\n\x1a\n\0\0\0\rIHDR",
    r"a file of 3 bytes \(01 02 03\)": b"\x01\x02\x03",
    "this is a text": "Grüße aus dem Archiv, Teil 1\n".encode() * 9,
    "begins with 01 02 03": b"\x01\x02\x03\x04" * 9,
}


@pytest.mark.parametrize("says", FILES)
def test_it_is_named(says):
    with pytest.raises(PictureError, match=says) as caught:
        decode(FILES[says])
    assert "expected an image" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", foreign.TABLE, ids=lambda row: f"{row.signature!r}")
def test_every_row_is_reached(row):
    data = bytes(row.offset) + row.signature + bytes(600)
    assert foreign.describe(data) == (row.name, row.advice)


def test_no_row_takes_an_image():
    for name, data in made.files().items():
        assert decode(data), name


def test_an_ordinary_tiff_is_no_raw_file():
    assert decode(tiff()).size == (2, 2)


def test_a_codec_that_this_pillow_lacks_is_named(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(PictureError, match="this is WebP, and this Pillow was built without its decoder"):
        decode(made.files()["webp"])
