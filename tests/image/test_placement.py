"""Placement: points go into the network's input and come back, whatever was cut, stretched, padded or turned."""

import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from eyespot.core.pixels import Preprocess
from eyespot.image.placement import Placement
from eyespot.image.prepare import decode_and_prepare, prepare
from tolerances import PLACED_BACK, PLACED_MARK

RULES = ("crop", "stretch", "letterbox")
sides = st.integers(1, 5000)


def jpeg(array, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", exif=exif, **options)
    return out.getvalue()


@settings(max_examples=300, deadline=None)
@given(
    size=st.tuples(sides, sides),
    scale=st.tuples(st.floats(0.01, 50), st.floats(0.01, 50)),
    offset=st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
    orientation=st.integers(1, 8),
    stored=st.booleans(),
    points=st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=5),
)
def test_to_image_undoes_to_network(size, scale, offset, orientation, stored, points):
    placement = Placement(size, scale, offset, orientation)
    there = placement.to_network(points, stored=stored)
    assert there.shape == (len(points), 2)
    assert placement.to_image(there, stored=stored) == pytest.approx(np.array(points), abs=PLACED_BACK)


def mark(height, width, x, y, reach):
    """A black image with one white square around the middle of pixel (x, y)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = 255
    return image


def centre(pixels):
    """Where the white square lies: the mean of its pixels' centres, (x, y)."""
    weight = np.where(pixels[..., 0] > 64, pixels[..., 0].astype(float), 0)
    assert weight.sum() > 0
    ys, xs = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    return np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(60, 400),
    width=st.integers(60, 400),
    rule=st.sampled_from(RULES),
    orientation=st.integers(1, 8),
    network=st.tuples(st.integers(40, 200), st.integers(40, 200)),
    at=st.tuples(st.floats(0.45, 0.55), st.floats(0.45, 0.55)),
)
def test_a_mark_in_the_file_lies_where_the_placement_says(height, width, rule, orientation, network, at):
    x, y = int(at[0] * width), int(at[1] * height)
    data = jpeg(mark(height, width, x, y, 6), orientation, quality=95, subsampling=0)
    pixels, placement = decode_and_prepare(data, Preprocess(network, rule, fill=(0, 0, 0)))
    corners = placement.to_network([(x - 8, y - 8), (x + 9, y + 9)], stored=True)
    assume(corners.min() >= 0 and (corners <= network[::-1]).all())  # nothing of the mark was cut off
    seen = centre(pixels)
    said = placement.to_network([(x + 0.5, y + 0.5)], stored=True)[0]
    assert np.abs(seen - said).max() < PLACED_MARK * max(1.0, *placement.scale)
    assert placement.to_image([said], stored=True)[0] == pytest.approx([x + 0.5, y + 0.5], abs=PLACED_BACK)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_decoded_at_a_smaller_scale_keeps_its_own_pixels(orientation):
    data = jpeg(mark(1999, 3001, 1700, 900, 40), orientation, quality=90, subsampling=0)
    pixels, placement = decode_and_prepare(data, Preprocess((224, 224), "letterbox", fill=(0, 0, 0)))
    assert placement.size == ((1999, 3001) if orientation < 5 else (3001, 1999))
    assert placement.to_image([centre(pixels)], stored=True)[0] == pytest.approx([1700.5, 900.5], abs=3)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_that_turns_says_so(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(mark(120, 200, 70, 40, 6)).save(
        out, format, exif=exif, **({"lossless": True} if format == "WEBP" else {})
    )
    preprocess = Preprocess((96, 96), "letterbox", fill=(0, 0, 0))
    given = [decode_and_prepare(out.getvalue(), preprocess)]
    if format != "TIFF":  # Pillow itself turns a TIFF as it loads it, and keeps no word of it
        given.append(prepare(Image.open(out), preprocess))
    for pixels, placement in given:
        assert placement.to_image([centre(pixels)], stored=True)[0] == pytest.approx([70.5, 40.5], abs=0.5)


def test_a_turned_placement_is_told_from_an_upright_one():
    turned, upright = (Placement((30, 20), (1, 1), (0, 0), orientation) for orientation in (6, 1))
    assert turned.to_network([(0, 0)], stored=True).tolist() == [[20, 0]]
    assert turned.to_network([(0, 0)]).tolist() == upright.to_network([(0, 0)], stored=True).tolist() == [[0, 0]]


def test_the_letterbox_is_centred_and_the_crop_is_cut():
    image = np.zeros((100, 200, 3), np.uint8)
    boxed = prepare(image, Preprocess((50, 50), "letterbox")).placement
    assert boxed == Placement((100, 200), (0.25, 0.25), (0.0, 12.0))
    cut = prepare(image, Preprocess((50, 50), "crop")).placement
    assert cut == Placement((100, 200), (0.5, 0.5), (-25.0, 0.0))
