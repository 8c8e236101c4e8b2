"""decode: every format and mode to the right upright RGB pixels, or one line that says why not."""

import io
import subprocess
import sys
import threading
import warnings

import made
import numpy as np
import pytest
from PIL import Image, ImageFile

from eyespot.errors import MissingExtra, PictureError
from eyespot.image import decode as module
from eyespot.image.decode import decode, open_picture, upright_rgb
from eyespot.image.orientation import from_exif, turn, turn_box
from tolerances import LOSSY_PICTURE, RESAMPLED

GREY = {"jpeg-grey", "png-deep", "tiff-deflate", "tiff-float", "j2k", "pgm-deep", "pfm"}
BILEVEL = {"png-bits", "tiff-fax"}
OVER_WHITE = {"png-alpha", "webp-lossless", "avif-alpha"}
ICONS = {"ico", "ico-bitmap"}


def pixels(picture):
    return np.asarray(picture).astype(int)


def distance(a, b):
    assert a.size == b.size
    return np.abs(pixels(a) - pixels(b)).mean()


def expected(name):
    scene = made.scene()
    if name in GREY:
        grey = np.asarray(scene.convert("L")).astype(float)
        if not name.startswith("j"):  # scaled by its own range
            grey = (grey - grey.min()) * 255 / (grey.max() - grey.min())
        return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
    if name in BILEVEL:
        return scene.convert("1").convert("RGB")
    if name in OVER_WHITE:
        alpha = np.asarray(scene.convert("L"))[..., None] / 255
        return Image.fromarray(np.rint(pixels(scene) * alpha + 255 * (1 - alpha)).astype(np.uint8))
    return scene


@pytest.mark.parametrize("name", sorted(made.files().keys() - ICONS))
def test_every_format_gives_the_scene(name):
    picture = decode(made.files()[name])
    assert picture.mode == "RGB"
    assert distance(picture, expected(name)) < LOSSY_PICTURE


@pytest.mark.parametrize("name", sorted(ICONS))
def test_the_largest_icon_is_taken(name):
    picture = decode(made.files()[name])
    assert max(picture.size) == 32
    assert distance(picture, expected("png-alpha").resize(picture.size)) < LOSSY_PICTURE


def test_a_comparison_with_the_wrong_picture_fails():
    mirrored = made.scene().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert distance(decode(made.files()["jpeg"]), mirrored) > 2 * LOSSY_PICTURE


@pytest.mark.parametrize("name", sorted(made.files()))
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_file_cut_short_is_refused(name, part):
    data = made.files()[name]
    length = int(len(data) * part)
    if name in ("gif", "webp-animated", "apng", "mpo", "tiff-pages"):  # the first picture may be whole
        length = length // 2 - 60
    with pytest.raises(PictureError) as caught:
        decode(data[:length])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_ends_in_grey_is_refused(progressive):
    data = made.saved(made.scene().resize((200, 160)), "JPEG", progressive=progressive)
    start = data.index(b"\xff\xda")
    cut = data[: start + (len(data) - start) // (8 if progressive else 2)] + b"\xff\xd9"
    with pytest.raises(PictureError, match="ends before its picture"):
        decode(cut)
    grey = made.saved(Image.new("RGB", (64, 64), (128, 128, 128)), "JPEG")
    assert pixels(decode(grey)).mean() == 128  # a picture that is grey is not one that ended early


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_orientations_come_upright(orientation, format):
    scene = made.scene()
    back = {6: 8, 8: 6}.get(orientation, orientation)
    stored = turn(scene, back)
    if format == "TIFF":
        data = made.tiff_turned(stored, orientation)
    else:
        options = {"quality": 95} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
        data = made.saved(stored, format, exif=made.exif(orientation), **options)
    assert open_picture(data).size == (scene.height, scene.width)
    assert distance(decode(data), scene) < LOSSY_PICTURE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_turns_with_its_picture(orientation):
    white = Image.new("L", (10, 6))
    white.paste(255, (1, 2, 4, 3))
    box = turn_box((1, 2, 4, 3), white.size, orientation)
    assert turn(white, orientation).getbbox() == box


def test_heic_and_avif_are_turned_by_their_own_boxes_only():
    scene = made.scene()
    for data in (made.saved(scene, "AVIF", quality=95), made.saved(scene, "HEIF", quality=95)):
        assert distance(decode(data), scene) < LOSSY_PICTURE
    turned = made.saved(scene, "AVIF", quality=95, exif=made.exif(6))  # Pillow writes this as a box
    assert decode(turned).size == scene.size[::-1]


@pytest.mark.parametrize(
    "block",
    [
        b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0XX*\0\x08\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", made.exif(0), made.exif(9), made.exif(65535), made.exif(6, tag=0x0113),
        made.exif(6)[:-10],
    ],
)  # fmt: skip
def test_broken_exif_means_upright(block):
    assert from_exif(block) == 1
    data = made.saved(made.scene(), "JPEG", quality=95, exif=block)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data).size == made.SIZE


@pytest.mark.parametrize(("order", "kind"), [("<", 3), (">", 3), (">", 4), ("<", 1)])
def test_exif_of_both_byte_orders(order, kind):
    assert from_exif(made.exif(6, order=order, kind=kind)) == 6
    assert from_exif(b"Exif\0\0" + made.exif(6, order=order, kind=kind)) == 6


def test_xmp_turns_where_exif_does_not():
    packet = b'<rdf:Description tiff:Orientation="%d"/>'
    for format in ("JPEG", "WEBP"):
        assert decode(made.saved(made.scene(), format, xmp=packet % 6)).size == made.SIZE[::-1]
        both = made.saved(made.scene(), format, xmp=packet % 6, exif=made.exif(3))
        assert decode(both).size == made.SIZE


def test_transparency_lies_over_white():
    half = decode(made.saved(Image.new("RGBA", (3, 2), (200, 0, 100, 128)), "PNG"))
    alpha = 128 / 255
    wanted = [round(v * alpha + 255 * (1 - alpha)) for v in (200, 0, 100)]
    assert np.abs(pixels(half) - wanted).max() <= RESAMPLED
    assert (pixels(decode(made.saved(Image.new("LA", (3, 2), (0, 0)), "PNG"))) == 255).all()
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    assert pixels(decode(made.saved(palette, "PNG", transparency=0))).tolist() == [[[255] * 3, [0, 255, 0]]]
    graded = made.saved(palette, "PNG", transparency=bytes((255, 0)))
    assert pixels(decode(graded)).tolist() == [[[255, 0, 0], [255] * 3]]
    keyed = Image.fromarray(np.array([[[1, 2, 3], [9, 8, 7]]], np.uint8))
    assert pixels(decode(made.saved(keyed, "PNG", transparency=(1, 2, 3)))).tolist() == [[[255] * 3, [9, 8, 7]]]


def deep(values, **options):
    return pixels(decode(made.saved(Image.fromarray(np.array([values], np.uint16)), "PNG", **options)))[
        0, :, 0
    ].tolist()


def test_deep_pictures_are_scaled_by_their_own_range():
    assert deep([100, 1100, 2100, 4095]) == [0, 64, 128, 255]
    assert deep([0, 65535]) == [0, 255]
    assert deep([700, 701]) == [0, 255]


def test_a_deep_picture_of_one_value_is_mid_grey():
    assert deep([0, 0]) == deep([65535, 65535]) == [128, 128]


def test_the_transparent_value_of_a_deep_picture_is_white_and_out_of_range():
    key = b"\xff\xff"
    data = made.saved(Image.fromarray(np.array([[10, 20, 65535]], np.uint16)), "PNG")
    assert pixels(decode(made.with_chunk(data, b"tRNS", key)))[0, :, 0].tolist() == [0, 255, 255]
    all_hidden = made.saved(Image.fromarray(np.array([[65535]], np.uint16)), "PNG")
    assert pixels(decode(made.with_chunk(all_hidden, b"tRNS", key)))[0, 0, 0] == 255


def test_float_pictures_with_infinities_and_no_numbers():
    values = np.array([[np.nan, -np.inf, -2.5, 0.0, 2.5, np.inf]], np.float32)
    row = pixels(decode(made.saved(Image.fromarray(values), "TIFF")))[0, :, 0].tolist()
    assert row == [0, 0, 0, 128, 255, 255]
    wild = np.array([[-3e38, 3e38]], np.float32)
    assert pixels(decode(made.saved(Image.fromarray(wild), "TIFF")))[0, :, 0].tolist() == [0, 255]
    nothing = np.full((2, 2), np.nan, np.float32)
    assert (pixels(decode(made.saved(Image.fromarray(nothing), "TIFF"))) == 128).all()


def test_32_bit_integers():
    values = np.array([[-(2**31), 0, 2**31 - 1]], np.int32)
    assert pixels(upright_rgb(Image.fromarray(values)))[0, :, 0].tolist() == [0, 128, 255]


def test_a_jpeg_is_decoded_no_smaller_than_asked():
    scene = made.scene().resize((801, 605))
    data = made.saved(scene, "JPEG", quality=95)
    for least, scale in (
        ((605, 801), 1),
        ((303, 401), 1),
        ((302, 400), 2),
        ((151, 200), 4),
        ((75, 100), 8),
        ((1, 1), 8),
    ):
        decoded = open_picture(data).load(least)
        assert decoded.image.size == (-(-801 // scale), -(-605 // scale))
        assert decoded.image.height >= least[0]
        assert decoded.image.width >= least[1]
        assert decoded.box == (0, 0, 801 / scale, 605 / scale)
        assert decoded.size == (605, 801)
        assert distance(decoded.image, scene.resize(decoded.image.size)) < LOSSY_PICTURE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_hint_is_for_the_upright_picture(orientation):
    scene = made.scene().resize((405, 203))
    back = {6: 8, 8: 6}.get(orientation, orientation)
    data = made.saved(turn(scene, back), "JPEG", quality=95, exif=made.exif(orientation))
    decoded = open_picture(data).load((100, 200))
    assert decoded.image.size == (203, 102)
    left, top, right, bottom = decoded.box
    assert (right - left, bottom - top) == (202.5, 101.5)
    assert min(decoded.box) >= 0
    assert distance(decoded.image, scene.resize(decoded.image.size, box=(0, 0, *scene.size))) < LOSSY_PICTURE
    assert decode(data, at_least=(200, 102)).size == (405, 203)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_are_scaled_too(mode):
    scene = made.scene().resize((480, 400))
    small = decode(made.saved(scene.convert(mode), "JPEG", quality=95), at_least=(50, 60))
    assert small.size == (60, 50)
    assert distance(small, scene.convert(mode).convert("RGB").resize((60, 50))) < LOSSY_PICTURE


def test_the_limit_holds_for_every_format():
    for name, data in made.files().items():
        limit = open_picture(data).size[0] * open_picture(data).size[1]
        assert decode(data, max_pixels=limit)
        with pytest.raises(PictureError, match=r"at most|over") as caught:
            decode(data, max_pixels=limit - 1)
        assert str(limit - 1) in str(caught.value), name


def test_a_picture_beyond_pillows_limits_warns_of_nothing():
    data = made.saved(Image.new("1", (30_000, 3_000)), "PNG")  # 90 million: Pillow's own open would warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(data).size == (3_000, 30_000)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"), (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html><html>", "a web page"), (b"\n <svg xmlns='x'>", "SVG"), (b"SIMPLE  =     T", "FITS"),
        (b"\xd7\xcd\xc6\x9a\0\0", "metafile"), (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"), (b"hello there", "this is a text"),
        (b"\x01hello", "01 68 65 6c 6c 6f"),
        (b"\0\0\x01\0\0\0", "without icons"), (b"\xff\xd8\xff", "JPEG"), (b"RIFF\0\0\0\0WEBPVP8X", "WebP"),
        (b"\0\0\0\x08ftyp", "a video"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named(data, says):
    with pytest.raises(PictureError, match=says) as caught:
        decode(data)
    assert "needed" in str(caught.value) or "expected an image" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_something_that_is_not_bytes_is_refused():
    with pytest.raises(PictureError, match="str came, the bytes"):
        decode("photo.jpg")


def test_bytearray_and_memoryview_are_bytes():
    data = made.files()["png"]
    assert decode(bytearray(data)) == decode(memoryview(data)) == decode(data)


def test_heic_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r"eyespot\[heic\]"):
        decode(made.files()["heic"])
    assert decode(made.files()["avif"])


def test_only_the_needed_parts_of_pillow_are_imported():
    program = (
        "import sys; from eyespot.image.decode import decode; data = sys.stdin.buffer.read(); decode(data);"
        "print(sorted(m for m in sys.modules if m.endswith('ImagePlugin') or m.endswith('_heif')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], input=made.files()["jpeg"], capture_output=True, check=True, timeout=60
    )
    loaded = run.stdout.decode()
    assert "JpegImagePlugin" in loaded
    assert not any(name in loaded for name in ("_heif", "Eps", "Wmf", "Avif", "Gif", "Png"))


def test_pillows_settings_are_not_changed_and_rarely_asked(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for name, data in made.files().items():
        if not name.startswith(("gif", "webp", "ico")):
            assert decode(data, at_least=(8, 8))
    assert Image.MAX_IMAGE_PIXELS == 10
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_many_threads_at_once():
    names = sorted(made.files()) * 3
    alone = {name: decode(made.files()[name]) for name in made.files()}
    wrong = []

    def work(mine):
        wrong.extend(name for name in mine if decode(made.files()[name]) != alone[name])

    filters = list(warnings.filters)
    threads = [threading.Thread(target=work, args=(names[i::6],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(warnings.filters) == filters


def test_a_callers_picture_is_not_changed():
    data = made.saved(made.scene(), "JPEG", exif=made.exif(6))
    with Image.open(io.BytesIO(data)) as mine:
        turned = upright_rgb(mine)
        assert (turned.size, mine.size) == (made.SIZE[::-1], made.SIZE)
        assert mine.info["exif"]
        assert upright_rgb(mine.rotate(90, expand=True)).size == made.SIZE[::-1]  # computed: taken as it is
    with pytest.raises(PictureError, match="0×4"):
        upright_rgb(Image.new("RGB", (0, 4)))
    with Image.open(io.BytesIO(data[:-200])) as cut, pytest.raises(PictureError, match="truncated"):
        upright_rgb(cut)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), KeyError("x"), OverflowError("\n\x07big")])
def test_whatever_a_reader_raises_is_one_line(monkeypatch, error):
    def reader(file):
        raise error

    monkeypatch.setattr(module, "_reader", lambda _: reader)
    with pytest.raises(PictureError) as caught:
        decode(made.files()["png"])
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is None
