"""prepare: the geometry by hand, the pixels against the whole resize, scaled decoding against the full one."""

import made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eyespot.core.pixels import Preprocess, torchvision_preprocess
from eyespot.errors import PictureError
from eyespot.image import prepare as module
from eyespot.image.decode import decode
from eyespot.image.prepare import wanted
from eyespot.image.sampling import sample
from tolerances import LOSSY_PICTURE, RESAMPLED, RESAMPLED_MEAN, RESAMPLED_TWICE, SCALED_DECODE

FILTERS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
RULES = ["crop", "stretch", "letterbox"]


def prepare(image, preprocess):
    return module.prepare(image, preprocess).pixels


def decode_and_prepare(data, preprocess):
    return module.decode_and_prepare(data, preprocess).pixels


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def photograph(height, width, seed=0):
    """Noise at every scale, as photographs have, so that neither smooth nor hard edges are missing."""
    random, total = np.random.default_rng(seed), np.zeros((height, width, 3))
    for octave in range(7):
        small = random.integers(0, 256, (max(1, height >> octave), max(1, width >> octave), 3), np.uint8)
        total += np.asarray(Image.fromarray(small).resize((width, height))) / 7
    return total.astype(np.uint8)


def whole_then_cut(image, preprocess):
    """The plain way: resize everything, cut the centre out."""
    short = preprocess.shorter_side
    w, h = image.size
    size = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
    height, width = preprocess.size
    left, top = round((size[0] - width) / 2.0), round((size[1] - height) / 2.0)
    method = Image.Resampling[preprocess.filter.upper()]
    across = image.resize((size[0], h), method).resize(size, method)
    return np.asarray(across.crop((left, top, left + width, top + height)))


def test_the_result_is_its_own_contiguous_array():
    for rule in RULES:
        array = noise(50, 70)
        before = array.copy()
        got = prepare(array, Preprocess((32, 48), rule))
        assert (got.shape, got.dtype) == ((32, 48, 3), np.uint8)
        assert got.flags.c_contiguous
        assert got.flags.owndata
        got[:] = 0
        assert (array == before).all()


def test_a_picture_of_the_right_size_is_left_alone():
    array = noise(224, 224)
    for rule in RULES:
        assert (prepare(array, Preprocess((224, 224), rule)) == array).all()
        assert (prepare(array, Preprocess((224, 224), rule, antialias=False)) == array).all()


def test_the_crop_is_the_centre_with_half_rounded_to_even():
    columns = np.zeros((4, 9, 3), np.uint8)
    columns[:, :, 0] = np.arange(9)
    got = prepare(columns, Preprocess((4, 4), "crop", filter="nearest"))
    assert got[0, :, 0].tolist() == [2, 3, 4, 5]  # (9 - 4) / 2 = 2.5 → 2
    columns = np.zeros((4, 11, 3), np.uint8)
    columns[:, :, 0] = np.arange(11)
    got = prepare(columns, Preprocess((4, 4), "crop", filter="nearest"))
    assert got[0, :, 0].tolist() == [4, 5, 6, 7]  # 3.5 → 4


def test_the_longer_side_is_rounded_down():
    plan = module._plan(torchvision_preprocess(), (427, 640))
    assert (plan.height, plan.width) == (256, 383)  # 383.7
    assert (plan.top, plan.left) == (16, 80)  # 79.5 → 80
    plan = module._plan(torchvision_preprocess(), (500, 333))
    assert (plan.height, plan.width) == (384, 256)
    assert (plan.top, plan.left) == (80, 16)


def test_letterbox_keeps_the_aspect_and_fills_the_rest():
    red = np.zeros((30, 60, 3), np.uint8)
    red[..., 0] = 200
    got = prepare(red, Preprocess((31, 40), "letterbox", fill=(1, 2, 3)))
    assert (got[5:25] == (200, 0, 0)).all()
    assert (got[:5] == (1, 2, 3)).all()
    assert (got[25:] == (1, 2, 3)).all()  # 11 rows of filling: 5 above, 6 below
    tall = prepare(red.swapaxes(0, 1), Preprocess((20, 20), "letterbox", fill=(9, 9, 9)))
    assert (tall[:, 5:15] == (200, 0, 0)).all()
    assert (tall[:, :5] == 9).all()


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("size", [(427, 640), (640, 427), (300, 301), (256, 900), (90, 70), (1200, 1000)])
def test_the_window_alone_equals_the_whole(filter, size):
    preprocess = torchvision_preprocess(filter=filter)
    image = Image.fromarray(photograph(*size))
    got, want = prepare(image, preprocess).astype(int), whole_then_cut(image, preprocess).astype(int)
    if filter in ("nearest", "box"):
        assert (got == want).all()
    else:
        assert np.abs(got - want).max() <= RESAMPLED_TWICE
        assert np.abs(got - want).mean() < RESAMPLED_MEAN


def test_the_comparison_would_notice_a_window_off_by_one():
    preprocess = torchvision_preprocess()
    image = Image.fromarray(photograph(427, 640))
    want = whole_then_cut(image, preprocess).astype(int)
    shifted = np.roll(prepare(image, preprocess).astype(int), 1, axis=1)
    assert np.abs(shifted - want).mean() > 10 * RESAMPLED_MEAN


@pytest.mark.parametrize("filter", FILTERS)
def test_stretch_is_pillows_resize(filter):
    image = Image.fromarray(noise(123, 77))
    want = np.asarray(image.resize((60, 40), Image.Resampling[filter.upper()]))
    assert (prepare(image, Preprocess((40, 60), "stretch", filter=filter)) == want).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (40_000, 2), (2, 40_000), (1, 200_000)])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("antialias", [True, False])
def test_extreme_shapes(size, rule, antialias):
    array = np.full((*size, 3), 77, np.uint8)
    for filter in FILTERS:
        got = prepare(
            array, Preprocess((224, 224), rule, 256 if rule == "crop" else 0, filter, antialias, fill=(77,) * 3)
        )
        assert (got == 77).all()


def test_the_centre_of_a_panorama_is_its_centre():
    array = np.zeros((10, 30_001, 3), np.uint8)
    array[:, 15_000] = 255
    got = prepare(array, torchvision_preprocess())[..., 0]
    assert got[112, 112] > 250  # 256 / 10 columns wide and as much to fade out, around the middle
    assert (got[:, : 112 - 40] == 0).all()
    assert (got[:, 112 + 40 :] == 0).all()


def test_sampling_without_antialias_by_hand():
    row = np.array([[0, 100, 200, 40]], np.uint8)[..., None].repeat(3, -1)
    half = prepare(row, Preprocess((1, 2), "stretch", antialias=False))[0, :, 0]
    assert half.tolist() == [50, 120]  # midway between neighbours
    third = prepare(row[:, :3], Preprocess((1, 1), "stretch", antialias=False))[0, :, 0]
    assert third.tolist() == [100]  # one stored pixel, not the mean of three
    double = prepare(row[:, :2], Preprocess((1, 4), "stretch", antialias=False))[0, :, 0]
    assert double.tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize("filter", ["bilinear", "hamming", "bicubic", "lanczos"])
def test_enlarging_needs_no_antialias(filter):
    array = photograph(40, 30)
    with_, without = (
        prepare(array, Preprocess((64, 64), "stretch", 0, filter, aa)).astype(int) for aa in (True, False)
    )
    assert np.abs(with_ - without).mean() < RESAMPLED


def test_weights_sum_to_one_at_the_edges():
    white = np.full((3, 3, 3), 255, np.uint8)
    for filter in ("bilinear", "hamming", "bicubic", "lanczos"):
        assert (sample(white, (0, 0), (3, 3), (17, 5), filter) == 255).all()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"), (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"), (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"), ([[1]], "list came"), (None, "NoneType came"),
    ],
)  # fmt: skip
def test_other_arrays_are_refused(bad, says):
    with pytest.raises(PictureError, match=says) as caught:
        prepare(bad, Preprocess())
    assert "uint8 of shape (height, width, 3)" in str(caught.value)


def test_pil_pictures_of_any_mode():
    scene = made.scene()
    for mode in ("L", "1", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "LA"):
        got = prepare(scene.convert(mode), Preprocess((40, 48), "stretch"))
        assert got.shape == (40, 48, 3)
    assert (prepare(scene, Preprocess((40, 48), "stretch")) == np.asarray(scene)).all()


def test_arrays_need_not_be_contiguous():
    array = noise(60, 80)
    assert (prepare(array[::-1, ::2], Preprocess()) == prepare(array[::-1, ::2].copy(), Preprocess())).all()


def test_what_is_wanted_of_a_jpeg():
    crop = torchvision_preprocess()
    assert wanted(crop, (427, 640)) is None
    assert wanted(crop, (900, 1200)) is None  # 450 would not be 2 × 256
    assert wanted(crop, (1024, 1365)) == (512, 682)
    assert wanted(crop, (3000, 4000)) == (359, 478)  # an eighth is 375
    assert wanted(Preprocess((224, 224), "stretch"), (3000, 4000)) == (314, 314)
    assert wanted(Preprocess((224, 224), "letterbox"), (3000, 4000)) == (236, 314)
    assert wanted(Preprocess((224, 224), "stretch", antialias=False), (3000, 4000)) is None
    assert wanted(Preprocess((224, 224), "stretch", filter="nearest"), (3000, 4000)) is None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("size", [(1101, 1403), (1801, 1511)])
def test_scaled_decoding_is_close_to_full(rule, orientation, size):
    preprocess = Preprocess((224, 224), rule, 256 if rule == "crop" else 0)
    data = made.saved(Image.fromarray(photograph(*size)), "JPEG", quality=92, exif=made.exif(orientation))
    full = prepare(decode(data), preprocess).astype(int)
    scaled = decode_and_prepare(data, preprocess).astype(int)
    assert (scaled != full).any()  # it was scaled
    assert np.abs(scaled - full).mean() < SCALED_DECODE
    assert np.abs(np.roll(scaled, 1, axis=1) - full).mean() > 2 * SCALED_DECODE


def test_bytes_that_need_no_scaling_are_prepared_the_same():
    for name, data in made.files().items():
        assert (decode_and_prepare(data, Preprocess()) == prepare(decode(data), Preprocess())).all(), name


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    rule=st.sampled_from(RULES),
    filter=st.sampled_from(FILTERS),
    antialias=st.booleans(),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    extra=st.integers(0, 20),
    value=st.integers(0, 255),
)
def test_any_plain_picture_stays_plain(height, width, rule, filter, antialias, size, extra, value):
    resize = max(size) + extra if rule == "crop" else 0
    preprocess = Preprocess(size, rule, resize, filter, antialias, fill=(value,) * 3)
    got = prepare(np.full((height, width, 3), value, np.uint8), preprocess)
    assert got.shape == (*size, 3)
    assert (got == value).all()


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 120), width=st.integers(1, 120), rule=st.sampled_from(RULES), seed=st.integers(0, 99),
    filter=st.sampled_from(["bilinear", "hamming", "bicubic", "lanczos"]), antialias=st.booleans(),
)  # fmt: skip
def test_a_mirrored_picture_gives_a_mirrored_result(height, width, rule, seed, filter, antialias):
    if rule != "stretch":
        width = height  # else an odd pixel may have to go to one side
    image = noise(height, width, seed)
    preprocess = Preprocess((24, 24), rule, 32 if rule == "crop" else 0, filter, antialias)
    got, mirrored = prepare(image, preprocess), prepare(image[:, ::-1], preprocess)
    assert np.abs(got.astype(int) - mirrored[:, ::-1]).max() <= RESAMPLED_TWICE


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)), seed=st.integers(0, 99), orientation=st.integers(1, 8),
    format=st.sampled_from(["PNG", "BMP", "TIFF", "QOI", "PPM"]),
)  # fmt: skip
def test_lossless_files_come_back_bit_for_bit(size, format, seed, orientation):
    array = noise(*size, seed)
    options = {"exif": made.exif(orientation)} if format == "PNG" else {}
    got = np.asarray(decode(made.saved(Image.fromarray(array), format, **options)))
    if options and orientation > 1:
        turned = {2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.swapaxes(0, 1)}
        turned |= {6: array.swapaxes(0, 1)[:, ::-1], 7: array[::-1, ::-1].swapaxes(0, 1), 8: array.swapaxes(0, 1)[::-1]}
        array = turned[orientation]
    assert (got == array).all()


def test_lossy_distance_is_a_real_bound():
    assert np.abs(np.asarray(decode(made.files()["jpeg"])).astype(int) - 255).mean() > LOSSY_PICTURE
