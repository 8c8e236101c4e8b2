"""envelope: what a file's pixels do not need does no harm, and what the envelope says of a file is true."""

import io
import struct
import tracemalloc
import warnings
import zlib

import made
import numpy as np
import pytest
from PIL import Image

from eyespot.errors import PictureError
from eyespot.image import envelope
from eyespot.image.decode import decode, open_picture

PNG = made.saved(made.scene(), "PNG")
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def test_png_texts_profiles_and_animations_are_left_out():
    bomb = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    profile = b"icc\0\0" + zlib.compress(bytes(100_000_000), 9)
    data = made.with_chunk(made.with_chunk(PNG, b"zTXt", bomb), b"iCCP", profile)
    data = made.with_chunk(data, b"acTL", struct.pack(">II", 0, 0))  # Pillow warns of it
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data) == decode(PNG)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_png_orientations(orientation):
    block = made.exif(orientation)[6:]
    hexed = b"\nexif\n%8d\n%s\n" % (len(block) + 6, (b"Exif\0\0" + block).hex().encode())
    for kind, payload in (
        (b"eXIf", block),
        (b"tEXt", b"Raw profile type exif\0" + hexed),
        (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(hexed)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % orientation),
        (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(XMP % orientation)),
    ):
        assert envelope.png(made.with_chunk(PNG, kind, payload)).orientation == orientation, kind
    after = PNG[:-12] + made.png_chunk(b"eXIf", block) + PNG[-12:]
    assert envelope.png(after).orientation == orientation


def test_png_exif_goes_before_xmp():
    both = made.with_chunk(PNG, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % 3)
    assert envelope.png(made.with_chunk(both, b"eXIf", made.exif(6)[6:])).orientation == 6


@pytest.mark.parametrize(
    "payload", [b"", b"Raw profile type exif", b"Raw profile type exif\0\nexif\n 4\nzz", b"XML:com.adobe.xmp\0"]
)
def test_damaged_png_texts_mean_upright(payload):
    for kind in (b"tEXt", b"zTXt", b"iTXt"):
        assert envelope.png(made.with_chunk(PNG, kind, payload)).orientation == 1


def test_a_png_cut_behind_its_pixels_is_whole():
    assert decode(PNG[:-12]) == decode(PNG[:-5]) == decode(PNG)
    with pytest.raises(PictureError):
        decode(PNG[:-20])


def tiff(tags, order="<", body=b"", big=False):
    """A TIFF of these (tag, type, count, value) entries."""
    head = b"II" if order == "<" else b"MM"
    if big:
        raw = head + struct.pack(order + "HHHQ", 43, 8, 0, 16) + struct.pack(order + "Q", len(tags))
        raw += b"".join(struct.pack(order + "HHQQ", *tag) for tag in tags) + bytes(8)
    else:
        raw = head + struct.pack(order + "HLH", 42, 8, len(tags))
        raw += b"".join(struct.pack(order + "HHLL", *tag) for tag in tags) + bytes(4)
    return raw + body


SMALL = [(256, 4, 1, 2), (257, 4, 1, 1), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1), (278, 4, 1, 1), (279, 4, 1, 2)]


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_tiff_of_both_orders_and_sizes(order, big):
    length = len(tiff([*SMALL, (273, 4, 1, 0), (274, 4, 1, 0), (700, 4, 1, 0)], order, big=big))
    tags = sorted([*SMALL, (273, 4, 1, length), (274, 4, 1, 3), (700, 4, 1, 0)])
    picture = decode(tiff(tags, order, b"\x0a\xc8", big))
    assert np.asarray(picture)[0, :, 0].tolist() == [200, 10]  # turned by 180 degrees


def test_tiff_private_tags_pages_and_exif_are_left_out():
    data = made.files()["tiff-pages"]
    kept = envelope.tiff(data, 10_000).file.getvalue()
    (start,) = struct.unpack_from("<L", kept, 4)
    (count,) = struct.unpack_from("<H", kept, start)
    tags = [struct.unpack_from("<H", kept, start + 2 + 12 * i)[0] for i in range(count)]
    assert {256, 257, 273, 279} <= set(tags)
    assert not {254, 270, 274, 282, 305, 700, 34665} & set(tags)
    assert struct.unpack_from("<L", kept, start + 2 + 12 * count) == (0,)  # no next page


def test_tiff_that_points_outside_itself():
    with pytest.raises(PictureError, match="tag 273 lies outside"):
        decode(tiff([*SMALL, (273, 4, 9, 5000)]))
    with pytest.raises(PictureError, match="directory is cut off"):
        decode(tiff(SMALL)[:40])
    with pytest.raises(PictureError, match="contradict"):
        decode(tiff([*SMALL, (277, 4, 1, 4_000_000_000)]))
    with pytest.raises(PictureError, match="tiles"):
        decode(tiff([*SMALL, (322, 4, 1, 60_000), (323, 4, 1, 60_000)]))


def test_a_tiff_loop_of_pages_ends():
    data = bytearray(tiff([*SMALL, (273, 4, 1, 0)], body=b"ab"))
    data[-6:-2] = struct.pack("<L", 8)
    assert open_picture(bytes(data)).size == (1, 2)


def icon(width, height, payload, size=None):
    entry = struct.pack("<BBBBHHLL", width & 255, height & 255, 0, 0, 1, 32, len(payload) if size is None else size, 22)
    return b"\0\0\1\0\1\0" + entry + payload


def test_icons_of_png_and_bitmap():
    assert decode(icon(0, 0, PNG)).size == made.SIZE  # the directory says 256×256; the PNG is right
    file = io.BytesIO()
    Image.new("RGBA", (9, 5), (1, 2, 3, 255)).save(file, "ICO", bitmap_format="bmp", sizes=[(9, 5)])
    bitmap = file.getvalue()[22:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(icon(32, 32, bitmap)).size == (9, 5)  # here too
    with pytest.raises(PictureError, match="65536"):
        decode(icon(16, 16, struct.pack("<LLL", 40, 65536, 10) + bytes(40)))
    with pytest.raises(PictureError):
        decode(icon(16, 16, bitmap[:20]))


def test_a_gif_whose_frame_is_larger_than_its_screen():
    data = made.saved(Image.new("P", (4, 3)), "GIF")
    at = data.index(b",", 13)
    larger = data[: at + 5] + struct.pack("<HH", 9000, 9000) + data[at + 9 :]
    assert envelope.gif_size(data) == (4, 3)
    assert envelope.gif_size(larger) == (9000, 9000)
    with pytest.raises(PictureError, match="9000×9000"):
        decode(larger, max_pixels=1_000_000)


def test_webp_sizes_are_read_before_anything_is_allocated():
    for name in ("webp", "webp-lossless", "webp-animated"):
        assert envelope.webp_size(made.files()[name]) == made.SIZE
    data = bytearray(made.files()["webp-animated"])
    data[24:30] = b"\xff\x3f\0\xff\x3f\0"
    with pytest.raises(PictureError, match="16384×16384"):
        decode(bytes(data))


def test_avif_exif_is_hidden():
    data = made.saved(made.scene(), "AVIF", exif=made.exif(1, tag=0x0113))
    assert b"Exif" in data
    assert b"Exif" not in envelope.avif(data).file.getvalue()[: data.index(b"mdat")]
    assert envelope.avif(b"\0\0\0\1ftypavif").file.getvalue() == b"\0\0\0\1ftypavif"


def test_a_jpeg_of_countless_scans():
    data = made.files()["jpeg-progressive"]
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match="scans"):
        decode(data[:-2] + data[scan:-2] * 300 + b"\xff\xd9")
