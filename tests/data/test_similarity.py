"""Similarity of two images: what is undone before they are compared, and what counts."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from eyespot.data.similarity import SAME_IMAGE, SIDE, similarities, structure


def texture(seed, *, grain=24, side=200):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 216, (grain, grain), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def alike(one, other):
    (value,) = similarities(structure(one)[None], structure(other)[None])
    return float(value)


def test_an_image_is_most_similar_to_itself_in_any_mode_and_size():
    image = texture(0)
    assert alike(image, image) == pytest.approx(1, abs=1e-5)
    assert alike(image, image.convert("RGB")) == pytest.approx(1, abs=1e-5)
    assert alike(image, image.resize((150, 90), Image.Resampling.BICUBIC)) > 0.95


@pytest.mark.parametrize("box", [(0, 0, 184, 200), (16, 0, 200, 200), (0, 12, 200, 190), (8, 8, 192, 192)])
def test_crops_are_undone(box):
    image = texture(1, grain=16)
    cut = image.crop(box)
    plain = np.corrcoef(structure(image).ravel(), structure(cut).ravel())[0, 1]
    assert plain < SAME_IMAGE < alike(image, cut)


def test_light_and_contrast_do_not_count():
    image = texture(2)
    dark = ImageEnhance.Contrast(image.point(lambda level: level // 2)).enhance(0.7)
    assert alike(image, dark) > 0.95


def test_what_all_images_share_does_not_make_them_alike():
    """A bright disc with a sharp border on black, and in each another texture."""
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    disc = x**2 + y**2 < 0.9
    one, other = (
        Image.fromarray(np.where(disc, 100 + 0.5 * np.asarray(texture(seed), np.float32), 0).astype(np.uint8))
        for seed in (3, 4)
    )
    thumbs = [np.asarray(image.resize((32, 32)), np.float32).ravel() for image in (one, other)]
    assert np.corrcoef(*thumbs)[0, 1] > 0.85  # by their thumbs they would be
    assert alike(one, other) < SAME_IMAGE - 0.05


def test_pairs_do_not_influence_one_another():
    images = [structure(texture(seed)) for seed in range(4)]
    together = similarities(np.stack(images[:2]), np.stack(images[2:]))
    alone = [similarities(a[None], b[None])[0] for a, b in zip(images[:2], images[2:], strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert (np.abs(together) < 0.5).all()


def test_blank_images_have_no_structure():
    blank = structure(Image.new("RGB", (40, 30), (90, 90, 90)))
    assert blank.shape == (SIDE, SIDE)
    assert np.isfinite(similarities(blank[None], structure(texture(5))[None])).all()
