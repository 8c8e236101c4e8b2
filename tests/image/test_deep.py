"""TIFF and PNG of more than 8 bits: white as zero, planes, byte orders, nodata, few bits in many: right, or refused."""

import made
import numpy as np
import pytest

from eyespot.errors import PictureError
from eyespot.image.decode import decode

SLOPE = np.linspace(0, 1, 48 * 40).reshape(40, 48)
COLOURS = np.stack([SLOPE, SLOPE[::-1], SLOPE[:, ::-1]], -1)
DEEP = {"u2": (0, 65535), "i2": (-15000, 15000), "i4": (0, 10**6), "f4": (0.0, 1.0)}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data)).astype(int)


def grey(share: np.ndarray) -> np.ndarray:
    return np.rint(share * 255).astype(int)[..., None].repeat(3, -1)


def stored(kind: str) -> np.ndarray:
    low, high = DEEP[kind]
    values = low + SLOPE * (high - low)
    return (values if kind == "f4" else np.rint(values)).astype(kind)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", DEEP)
def test_grey_of_every_type_order_and_compression(kind, order, deflate):
    found = pixels(made.tiff(stored(kind), order=order, deflate=deflate))
    assert abs(found - grey(SLOPE)).max() <= 1


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_white_is_zero(kind, deflate):
    values = np.rint(SLOPE * 255).astype("u1") if kind == "u1" else stored(kind)
    found = pixels(made.tiff(values, photometric=0, deflate=deflate))
    assert abs(found - grey(1 - SLOPE)).max() <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["i2", "i4", "u4"])
def test_white_is_zero_of_types_that_are_refused(kind, order):
    with pytest.raises(PictureError, match="of a kind not read"):
        decode(made.tiff((SLOPE * 1000).astype(kind), photometric=0, order=order))


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colour_of_every_depth_order_and_layout(bits, channels, planes, order, deflate):
    kind = "u1" if bits == 8 else "u2"
    values = np.rint(COLOURS * ((1 << bits) - 1)).astype(kind)
    if channels == 4:
        values = np.concatenate([values, np.full_like(values[..., :1], np.iinfo(kind).max)], -1)
    data = made.tiff(values, planes=planes, order=order, deflate=deflate)
    if 8 < bits < 16 and planes and deflate:
        with pytest.raises(PictureError, match=r"a plane per channel .*save it uncompressed or with interleaved"):
            decode(data)
    else:
        assert abs(pixels(data) - np.rint(COLOURS * 255)).max() <= 1


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_png_with_few_bits_in_sixteen(bits, channels):
    values = np.rint(COLOURS * ((1 << bits) - 1)).astype("u2")
    if channels == 4:
        opaque = np.full_like(values[..., :1], 65535)
        values = np.concatenate([values, opaque], -1)
    assert abs(pixels(made.png16(values)) - np.rint(COLOURS * 255)).max() <= 1


def test_black_stays_black():
    assert pixels(made.tiff(np.zeros((4, 5, 3), "u2"))).max() == 0


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [("f4", -9999, b"-9999\0"), ("f4", np.nan, b"nan\0"), ("i2", -32768, b"-32768\0"), ("u2", 0, b"0\0"),
     ("f4", np.finfo("f4").min, b"-3.4028234663852886e+38\0")],
)  # fmt: skip
def test_gdal_s_nodata_is_white_and_out_of_the_range(kind, value, text):
    values = (1000 + SLOPE * 1000).astype(kind)
    values[:5] = value
    found = pixels(made.tiff(values, nodata=text))
    assert found[:5].min() == 255
    seen = values[5:].astype(float)
    assert abs(found[5:] - grey((seen - seen.min()) / np.ptp(seen))).max() <= 1


@pytest.mark.parametrize("nodata", [0, 4096, 65535])
def test_nodata_says_nothing_about_the_bits_of_colour(nodata):
    values = np.rint(COLOURS * 4095).astype("u2")
    values[:5] = nodata
    found = pixels(made.tiff(values, nodata=b"%d\0" % nodata))
    assert abs(found[5:] - np.rint(COLOURS * 255)[5:]).max() <= 1
    assert (found[:5] == (255 if nodata else 0)).all()


@pytest.mark.parametrize("deflate", [False, True])
def test_integers_of_32_bits_without_sign(deflate):
    values = np.rint(SLOPE * 0xFFFFFFFF).astype("u4")
    assert abs(pixels(made.tiff(values, deflate=deflate)) - grey(SLOPE)).max() <= 1


@pytest.mark.parametrize("text", [b"x\0", b"-9999\0", b"1e999\0", b"9" * 5000 + b"\0"])
def test_nodata_that_no_value_has_changes_nothing(text):
    values = np.rint(SLOPE * 55537).astype("u2")  # -9999 modulo 65536 is among them
    np.testing.assert_array_equal(pixels(made.tiff(values, nodata=text)), pixels(made.tiff(values)))
