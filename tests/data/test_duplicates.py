"""Duplicates: which copies are found, and which pictures are kept apart."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from collections_made import fill, pack, picture
from eyespot.data import duplicates as home
from eyespot.data.duplicates import duplicates, find
from eyespot.data.look import look, look_at
from eyespot.data.source import open_source
from eyespot.image.decode import decode
from tolerances import SAME_LEVEL


def saved(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def found(tmp_path, files):
    source = open_source(fill(tmp_path / "x", files))
    return find(source, look_at(source))


def photograph(examples, name="coffee.jpg"):
    return decode((examples / name).read_bytes(), at_least=(200, 200))


def test_the_same_file_and_the_same_pixels(tmp_path):
    image = Image.open(io.BytesIO(picture(1)))
    files = {
        "a/1.png": picture(1),
        "b/copy.png": picture(1),
        "b/stored otherwise.bmp": saved(image, "BMP"),
        "a/2.png": picture(2),
        "a/other pixel.png": saved(
            Image.fromarray(np.asarray(image) ^ np.eye(1, 40 * 48 * 3, 5, np.uint8).reshape(40, 48, 3))
        ),
    }
    sets = found(tmp_path, files)
    assert sets.exact == (("a/1.png", "b/copy.png", "b/stored otherwise.bmp"),)
    assert sets.near == (("a/1.png", "a/other pixel.png", "b/copy.png", "b/stored otherwise.bmp"),)
    assert sets.together == list(sets.near)


def cropped(image, share):
    width, height = image.size
    x, y = round(share * width), round(share * height)
    return image.crop((x, y // 2, width - x, height - y))


COPIES = {
    "recompressed": lambda image: saved(image, "JPEG", quality=30),
    "another format": lambda image: saved(image, "WEBP", quality=80),
    "darker": lambda image: saved(ImageEnhance.Brightness(image).enhance(0.85)),
    "cropped by 2 %": lambda image: saved(cropped(image, 0.02)),
    "smaller and recompressed": lambda image: saved(image.resize((96, 96)), "JPEG", quality=50),
    "half the size": lambda image: saved(image.resize((image.width // 2, image.height // 2))),
    "brighter": lambda image: saved(ImageEnhance.Brightness(image).enhance(1.15)),
    "flatter": lambda image: saved(ImageEnhance.Contrast(image).enhance(0.8)),
    "cropped a little": lambda image: saved(image.crop((3, 3, image.width - 2, image.height - 2))),
}


@pytest.mark.parametrize("kind", COPIES)
def test_near_copies_of_photographs(tmp_path, examples, kind):
    names = ("chelsea.jpg", "coffee.jpg")
    files = {}
    for name in names:
        image = photograph(examples, name)
        files |= {f"a/{name}.png": saved(image), f"a/{name} copy.png": COPIES[kind](image)}
    sets = found(tmp_path, files)
    assert sets.near == tuple((f"a/{name} copy.png", f"a/{name}.png") for name in names)
    assert sets.exact == ()


def test_pictures_of_one_composition_are_kept_apart(tmp_path):
    """Aligned pictures, as X-rays are: the same large shape, the rest of each its own."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    body = 90 + 120 * np.exp(-3 * (x**2 + 1.5 * y**2))
    files = {}
    for i in range(12):
        own = np.random.default_rng(i).normal(0, 1, (24, 24))
        own = np.asarray(Image.fromarray(own.astype(np.float32)).resize((96, 96), Image.Resampling.BICUBIC))
        files[f"a/{i}.png"] = saved(Image.fromarray(np.clip(body + 18 * own, 0, 255).astype(np.uint8)))
    assert found(tmp_path, files) == ((), ())


def test_blank_pictures_are_only_the_same_when_their_pixels_are(tmp_path):
    files = {f"a/{i}.png": saved(Image.new("RGB", (40, 40), (i, i, i))) for i in (100, 101)}
    files["a/x.png"] = files["a/100.png"]
    assert found(tmp_path, files) == ((("a/100.png", "a/x.png"),), ())


def test_order_broken_pictures_and_archives_do_not_matter(tmp_path, examples):
    image = photograph(examples)
    files = {
        "b/2.png": saved(image),
        "a/9.jpg": saved(image, "JPEG", quality=60),
        "a/broken.jpg": b"no",
        "a/1.png": picture(3),
    }
    steps = []
    folder = open_source(fill(tmp_path / "x", files))
    assert duplicates(folder, step=lambda: steps.append(1)) == [("a/9.jpg", "b/2.png")]
    assert len(steps) == 4
    assert duplicates(open_source(pack(tmp_path / "x.zip", files)), workers=1) == [("a/9.jpg", "b/2.png")]
    assert duplicates(folder, near=False) == []
    alone = open_source(fill(tmp_path / "y", {"a/broken.jpg": b"no"}))
    assert duplicates(alone) == []


def test_a_look(examples):
    grey = np.zeros((40, 60), np.uint8)
    grey[:, 30:] = 200
    seen = look(saved(Image.fromarray(grey)))
    assert (seen.size, seen.light, seen.thumb.shape) == ((40, 60), 200, (32, 32, 3))
    assert abs(seen.spread - 100) < SAME_LEVEL
    # The Laplacian is 200 and -200 in two of the 58 inner columns and 0 elsewhere.
    assert seen.sharpness == pytest.approx(2 * 200**2 / 58)
    assert look(saved(Image.new("RGB", (2, 50)))).sharpness == 0


def test_sharpness_does_not_depend_on_the_size(examples):
    image = decode((examples / "coffee.jpg").read_bytes())
    large, small = (look(saved(image.resize(size, Image.Resampling.LANCZOS))) for size in ((600, 400), (330, 220)))
    assert small.sharpness / 2 < large.sharpness < small.sharpness * 2
    blurred = look(saved(image.resize((image.width // 6, image.height // 6)).resize(image.size)))
    assert blurred.sharpness < small.sharpness / 10


def test_a_large_photograph_is_looked_at_in_part(examples):
    image = photograph(examples).resize((4000, 3000))
    seen = look(saved(image, "JPEG", quality=90))
    assert seen.size == (3000, 4000)


def test_mirror_images_are_others(tmp_path, examples):
    image = photograph(examples)
    assert found(tmp_path, {"a/1.png": saved(image), "a/2.png": saved(ImageOps.mirror(image))}) == ((), ())


def test_a_set_is_an_image_and_those_near_to_it():
    """A chain of small steps is no set: its ends have nothing in common."""
    chain = [(number, number + 1) for number in range(8)]
    assert home._stars(chain) == [[0, 1, 2], [3, 4], [5, 6], [7, 8]]
    assert home._stars([(0, 1), (0, 2), (0, 3), (3, 4)]) == [[0, 1, 2, 3]]
    assert home._stars([]) == []


def test_frames_that_move_little_by_little_are_no_chain(tmp_path):
    """A window that slides over a wide picture: each frame is near the next, the last is not the first."""
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 256, (7, 35, 3), np.uint8)).resize((600, 120), Image.Resampling.BICUBIC)
    frames = {f"a/{i:02}.png": saved(wide.crop((4 * i, 0, 4 * i + 120, 120))) for i in range(20)}
    sets = found(tmp_path, frames).near
    assert sets
    for names in sets:
        numbers = [int(name[2:4]) for name in names]
        assert max(numbers) - min(numbers) <= 4


def test_chest_x_rays_of_different_people_are_kept_apart_and_their_copies_found(assets, tmp_path):
    """Grey, centred, of low contrast: 120 people, and a copy of every sixth."""
    source = open_source(assets / "datasets" / "xray3")
    assert find(source, look_at(source)) == ((), ())
    files, kinds = {}, list(COPIES)
    for number, sample in enumerate(source.samples):
        data = source.read(sample)
        files[f"a/{number:03}.jpg"] = data
        if number % 6 == 0:
            files[f"a/{number:03} copy.png"] = COPIES[kinds[number // 6 % len(kinds)]](decode(data))
    copies = tuple((f"a/{n:03} copy.png", f"a/{n:03}.jpg") for n in range(0, len(source), 6))
    assert found(tmp_path, files).near == copies


def test_retinas_are_kept_apart(assets, tmp_path):
    """Bright discs of one size on black: what is the same in all is the border."""
    files = {
        f"a/{path.name}": path.read_bytes() for path in (assets / "datasets" / "drive_retina" / "images").iterdir()
    }
    assert len(files) == 20
    assert found(tmp_path, files) == ((), ())


def test_a_smear_in_two_focuses_is_found_among_smears(assets, tmp_path):
    folder = assets / "datasets" / "bccd" / "BCCD" / "JPEGImages"
    files = {f"a/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())[:60]}
    assert found(tmp_path, files).near == (("a/BloodImage_00037.jpg", "a/BloodImage_00038.jpg"),)


def test_leaves_that_are_stored_twice(assets):
    """The images of PlantVillage are numbered in the order they were taken; copies are of neighbours."""
    source = open_source(assets / "datasets" / "apple_leaves")
    sets = find(source, look_at(source))
    assert len(sets.exact) == 7
    assert len(sets.near) <= 3
    numbers = [[int(name.split()[-1].split("_")[0]) for name in names] for names in sets.together]
    assert all(max(row) - min(row) <= 15 for row in numbers)
