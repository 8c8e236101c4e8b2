"""Every awkward file of the shared assets, by name: the right picture, or one line."""

from __future__ import annotations

import time
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from eyespot.errors import PictureError
from eyespot.image.decode import decode
from tolerances import LOSSY_PICTURE, SAME_PHOTOGRAPH


class Right(NamedTuple):
    """The (width, height) that comes out, and the file that shows the same picture."""

    width: int
    height: int
    like: str = ""
    grey: bool = False


H, F = "hopper.png", "flower.jpg"
RIGHT = {
    "12bit.cropped.tif": Right(100, 100, "12in16bit.tif", grey=True),
    "12in16bit.tif": Right(100, 100, grey=True),
    "16_bit_binary.pgm": Right(20, 100, grey=True),
    "16_bit_noise.tif": Right(32, 32, grey=True),
    "16bit.cropped.tif": Right(64, 64, grey=True),
    "1_trns.png": Right(64, 64, grey=True),
    "balloon.jpf": Right(2717, 3701),
    "broken_exif_dpi.jpg": Right(100, 100),
    "chi.gif": Right(320, 240),
    "decompression_bomb_extents.gif": Right(100, 100),
    "dispose_bgnd.gif": Right(100, 100, "dispose_none.gif"),
    "dispose_none.gif": Right(100, 100),
    "exif_gps.jpg": Right(8, 8),
    "exif_imagemagick_orientation.png": Right(512, 512),
    "exif_typeerror.jpg": Right(800, 531),
    "flower.jpg": Right(480, 360),
    "flower.webp": Right(480, 360, F),
    "flower2.jpg": Right(300, 225),
    "frozenpond.mpo": Right(640, 480),
    "hopper-XYZ.png": Right(128, 128),  # a colour profile, ignored, makes it another picture
    "hopper.Lab.tif": Right(128, 128, H),
    "hopper.bmp": Right(128, 128, H),
    "hopper.bw": Right(128, 128, grey=True),
    "hopper.gif": Right(128, 128, H),
    "hopper.ico": Right(16, 16),
    "hopper.jpg": Right(128, 128, H),
    "hopper.png": Right(128, 128, H),
    "hopper.ppm": Right(128, 128, H),
    "hopper.psd": Right(128, 128, H),
    "hopper.qoi": Right(128, 128, H),
    "hopper.tif": Right(128, 128, H),
    "hopper.webp": Right(128, 128, H),
    "i_trns.png": Right(64, 64, "l_trns.png", grey=True),
    "icc_profile_big.jpg": Right(425, 250),
    "invalid-exif.jpg": Right(200, 200),
    "iss634.apng": Right(245, 245, "iss634.gif"),
    "iss634.gif": Right(245, 245),
    "iss634.webp": Right(245, 245, "iss634.gif"),
    "issue_2811.gif": Right(100, 100),
    "jpeg_ff00_header.jpg": Right(300, 225, "flower2.jpg"),
    "junk_jpeg_header.jpg": Right(1024, 768),
    "l_trns.png": Right(64, 64, grey=True),
    "mmap_error.bmp": Right(127, 64),
    "multipage.tiff": Right(10, 10),
    "no_palette.gif": Right(1, 1),
    "orientation_rectangle.jpg": Right(1, 2),
    "p_trns_single.png": Right(64, 64, "rgb_trns.png"),
    "padded_idat.png": Right(256, 10, grey=True),
    "pil_sample_cmyk.jpg": Right(100, 100, "pil_sample_rgb.jpg"),
    "pil_sample_rgb.jpg": Right(100, 100),
    "png_decompression_dos.png": Right(1, 1),  # the bomb is a text, which is never unpacked
    "rgb_trns.png": Right(64, 64),
    "tiff_strip_planar_raw.tif": Right(278, 374),
    "transparent.gif": Right(200, 150, "transparent.png"),
    "transparent.png": Right(200, 150),
    "transparent.webp": Right(200, 150, "transparent.png"),
    "truncated_app14.jpg": Right(100, 100, "pil_sample_rgb.jpg"),
    "uncompressed_rgb.png": Right(800, 600),
    "unicode_extended.png": Right(100, 60),
    "xmp_tags_orientation.png": Right(326, 268),
}
REFUSED = {
    "LICENSE.Pillow": "this is a text",
    "bad_palette_file.gpl": "this is a text",
    "broken.png": "PNG of 80 bytes is damaged",
    "broken_data_stream.png": "PNG of 30732 bytes is damaged",
    "crash-2020-10-test.tif": "outside the file",
    "decompression_bomb.gif": "GIF of .* pixels came, at most",
    "decompression_bomb.ico": "icon of 65535×32767 pixels",
    "dummy.container": "this is a text",
    "hopper.xbm": "this is a text",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "directory is cut off",
    "pillow.icns": "an Apple icon",
    "truncated_end_chunk.png": "PNG of 30339 bytes is damaged",
    "truncated_image.png": "PNG of 81920 bytes is damaged",
    "truncated_jpeg.jpg": "JPEG of 6698 bytes is damaged",
    "unbound_variable.jp2": "JPEG 2000 of 80 bytes is damaged",
    "zero_height.j2k": "JPEG 2000 of 3886 bytes is damaged",
    "zero_width.gif": "GIF of 0×66601 pixels came, at least",
}


def pixels(path):
    return np.asarray(decode(path.read_bytes())).astype(int)


def test_the_table_names_every_file(assets):
    present = {p.name for p in (assets / "awkward" / "pillow").iterdir()}
    assert present == RIGHT.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_the_right_picture(assets, name):
    folder, right = assets / "awkward" / "pillow", RIGHT[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = pixels(folder / name)
    assert got.shape == (right.height, right.width, 3)
    if right.grey:
        assert (got == got[..., :1]).all()
    if right.like:
        assert np.abs(got - pixels(folder / right.like)).mean() < LOSSY_PICTURE
    if name.startswith(("12", "16")):
        assert (got.min(), got.max()) == (0, 255)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_one_line(assets, name):
    start = time.process_time()
    with pytest.raises(PictureError, match=REFUSED[name]) as caught:
        decode((assets / "awkward" / "pillow" / name).read_bytes())
    assert str(caught.value).isprintable()
    assert time.process_time() - start < 1


def test_all_eight_orientations_and_none_show_the_same(assets):
    paths = sorted((assets / "awkward" / "exif_orientation").glob("*.jpg"))
    assert len(paths) == 9
    upright = pixels(paths[1])
    for path in paths:
        got = pixels(path)
        assert np.abs(got - upright).mean() < SAME_PHOTOGRAPH, path.name
    assert np.abs(got[:, ::-1] - upright).mean() > 5 * SAME_PHOTOGRAPH
    assert np.abs(got[::-1] - upright).mean() > 5 * SAME_PHOTOGRAPH


@pytest.mark.parametrize("name", ["exif_imagemagick_orientation.png", "xmp_tags_orientation.png"])
def test_png_orientations_that_lie_in_texts(assets, name):
    path = assets / "awkward" / "pillow" / name
    with Image.open(path) as stored:
        turned = np.asarray(stored.convert("RGB").transpose(Image.Transpose.ROTATE_180)).astype(int)
        as_stored = np.asarray(stored.convert("RGB")).astype(int)
    got = pixels(path)
    assert np.abs(got - as_stored).mean() > LOSSY_PICTURE
    if got.shape == turned.shape and name.startswith("exif"):
        assert np.abs(got - turned).mean() < LOSSY_PICTURE
