"""Augmentation: one generator state is one picture, areas are what the recipe says, targets follow the pixels."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from eyespot.core.recipe import Augment
from tolerances import PROBABILITY, SAME_LEVEL

torch = pytest.importorskip("torch")
augmentation = import_module("eyespot.learn.augment")  # after the skip

OFF = Augment(area=(1, 1), aspect=(1, 1), flip=0)
ALL = Augment(policy="rand", erase=0.5)


def places():
    """256×256 whose red says the column and whose green says the row."""
    column, row = np.meshgrid(np.arange(256), np.arange(256))
    return np.stack([column, row, np.full_like(row, 90)], 2).astype(np.uint8)


def photograph(examples):
    return Image.open(examples / "rocket.jpg").convert("RGB").resize((160, 120))


def test_nothing_asked_for_changes_nothing():
    picture = places()
    view = augmentation.augment(picture, OFF, (256, 256), np.random.default_rng(0))
    assert np.array_equal(view, picture)
    assert view.dtype == np.uint8
    assert view.flags.owndata
    assert view.flags.c_contiguous


def test_what_is_off_cuts_the_middle_out_as_serving_does():
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 100:200] = 255
    assert (augmentation.augment(picture, OFF, (50, 50), np.random.default_rng(0)) == 255).mean() > 0.95


@pytest.mark.parametrize("policy", ["none", "rand", "trivial"])
def test_one_state_of_the_generator_gives_one_picture_in_every_process(policy, examples):
    spec = replace(ALL, policy=policy)
    picture, rng = np.asarray(photograph(examples)), np.random.default_rng(5)
    views = np.stack([augmentation.augment(picture, spec, (64, 48), rng) for _ in range(30)])
    assert views.shape == (30, 64, 48, 3)
    assert len({view.tobytes() for view in views}) == 30
    rng = np.random.default_rng(5)
    from_pillow = np.stack([augmentation.augment(photograph(examples), spec, (64, 48), rng) for _ in range(30)])
    assert np.array_equal(views, from_pillow)
    code = f"""
import hashlib, sys, numpy as np
from PIL import Image
from eyespot.core.recipe import Augment
from eyespot.learn.augment import augment
picture = np.asarray(Image.open(sys.argv[1]).convert("RGB").resize((160, 120)))
rng = np.random.default_rng(5)
views = [augment(picture, Augment(policy={policy!r}, erase=0.5), (64, 48), rng) for _ in range(30)]
print(hashlib.sha256(np.stack(views).tobytes()).hexdigest())
"""
    command = [sys.executable, "-c", code, str(examples / "rocket.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(views.tobytes()).hexdigest()


def test_crops_have_the_areas_and_proportions_that_were_asked_for():
    spec, rng = replace(OFF, area=(0.2, 0.5), aspect=(0.5, 2.0)), np.random.default_rng(1)
    areas, aspects, places_seen = [], [], []
    for _ in range(200):
        # Values between the middles of the first and the last pixel of 64: 63/64 of a side.
        view = augmentation.augment(places(), spec, (64, 64), rng).astype(int)
        width, height = ((view[-1, -1, i] - view[0, 0, i]) * 64 / 63 for i in (0, 1))
        areas.append(width * height / 256**2)
        aspects.append(width / height)
        places_seen.append(view[0, 0, :2])
    assert 0.19 < min(areas) < 0.23
    assert 0.46 < max(areas) < 0.52
    assert 0.48 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.1
    assert np.ptp(places_seen, 0).min() > 100  # everywhere


def test_proportions_are_kept_for_oblong_inputs_and_pictures():
    """The middle of the aspects is the input's own, whatever the picture's."""
    spec, rng = replace(OFF, area=(0.1, 0.1)), np.random.default_rng(1)
    view = augmentation.augment(places(), spec, (32, 64), rng).astype(int)
    across, down = view[-1, -1, 0] - view[0, 0, 0], view[-1, -1, 1] - view[0, 0, 1]
    assert 1.9 < across / down < 2.2


def test_a_panorama_gives_its_largest_legal_part():
    picture = np.zeros((20, 1000, 3), np.uint8)
    picture[:, :, 0] = np.linspace(0, 255, 1000)
    view = augmentation.augment(picture, replace(OFF, area=(0.9, 1)), (32, 32), np.random.default_rng(0))
    assert abs(int(view[0, -1, 0]) - int(view[0, 0, 0])) < 10
    assert 120 < view[:, :, 0].mean() < 135


def test_mirrored_as_often_as_asked_for():
    rng = np.random.default_rng(0)
    mirrored = augmentation.augment(places(), replace(OFF, flip=1), (256, 256), rng)
    assert np.array_equal(mirrored, places()[:, ::-1])
    spec = replace(OFF, flip=0.3)
    turned = [augmentation.augment(places(), spec, (256, 256), rng)[0, 0, 0] > 100 for _ in range(300)]
    assert 0.22 < np.mean(turned) < 0.38


@pytest.mark.parametrize("name", list(augmentation.CHANGES))
def test_every_change_keeps_the_size_and_grows_with_its_strength(name, examples):
    row, picture = augmentation.CHANGES[name], photograph(examples)
    before = np.asarray(picture).astype(float)

    def difference(extreme, strength):
        view = augmentation._changed(picture, row, extreme, strength, np.random.default_rng(0))
        assert view.size == picture.size
        return np.abs(np.asarray(view) - before).mean()

    if name in ("identity", "auto contrast", "equalize"):
        assert (difference(0, 1) > 1) == (name != "identity")
        return
    assert difference(row.wide, 0) <= SAME_LEVEL
    half, rand, wide = difference(row.rand, 0.5), difference(row.rand, 1), difference(row.wide, 1)
    assert 0 < half < rand
    assert (wide >= rand) == (not name.startswith("shift"))


def test_strong_policies_change_more(examples):
    picture = photograph(examples)

    def mean(spec):
        rng = np.random.default_rng(0)
        views = [augmentation.augment(picture, spec, (120, 160), rng) for _ in range(60)]
        return np.mean([np.abs(view.astype(float) - np.asarray(picture)).mean() for view in views])

    weak, strong = (mean(replace(OFF, aspect=(1, 1), policy="rand", magnitude=m)) for m in (1.0, 10.0))
    assert weak < 0.6 * strong
    assert mean(replace(OFF, policy="trivial")) > 5


def test_an_erased_patch_has_a_legal_area_and_many_colours():
    picture, rng = np.full((64, 64, 3), 77, np.uint8), np.random.default_rng(0)
    shares = []
    for _ in range(100):
        view = augmentation.augment(picture, replace(OFF, erase=1), (64, 64), rng)
        changed = (view != 77).any(2)
        shares.append(changed.mean())
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9  # a rectangle
        assert view.std() > 5
    assert 0.015 < min(shares) < 0.06
    assert 0.34 < max(shares) < 0.42
    assert (augmentation.augment(picture, OFF, (64, 64), rng) == 77).all()


def one_value_each(n=6):
    """Picture i is all i, and its class is i: what a mixture's target should say is what its pixels' mean says."""
    values = torch.arange(float(n))
    return values.reshape(n, 1, 1, 1).expand(n, 3, 20, 30).clone(), torch.eye(n)


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_targets_are_mixed_as_the_pixels_are(alphas):
    spec, rng = replace(OFF, **alphas), np.random.default_rng(3)
    uniform = set()
    for _ in range(40):
        inputs, targets = one_value_each()
        mixed, soft = augmentation.mix(inputs, targets, spec, rng)
        assert torch.equal(inputs, one_value_each()[0])
        assert torch.equal(targets, torch.eye(6))
        assert float((soft.sum(1) - 1).abs().max()) < PROBABILITY
        assert float((soft @ torch.arange(6.0) - mixed.mean((1, 2, 3))).abs().max()) < SAME_LEVEL
        uniform.add(bool((mixed.amax((1, 2, 3)) == mixed.amin((1, 2, 3))).all()))
    assert (True in uniform) == ("mixup" in alphas)
    assert (False in uniform) == ("cutmix" in alphas)


def test_mixing_draws_from_its_generator_alone():
    spec = replace(OFF, mixup=0.2, cutmix=1.0)
    first, again, other = (
        [augmentation.mix(*one_value_each(), spec, rng)[0] for _ in range(5)]
        for rng in (np.random.default_rng(1), np.random.default_rng(1), np.random.default_rng(2))
    )
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_one_picture_or_no_alpha_is_not_mixed():
    inputs, targets = one_value_each()
    assert augmentation.mix(inputs, targets, OFF, np.random.default_rng(0))[0] is inputs
    spec = replace(OFF, mixup=1.0)
    assert augmentation.mix(inputs[:1], targets[:1], spec, np.random.default_rng(0))[1].shape == (1, 6)


def test_what_is_worth_decoding_fills_the_smallest_crop():
    assert augmentation.worth_decoding(replace(OFF, area=(0.25, 1)), (224, 160)) == (448, 320)
