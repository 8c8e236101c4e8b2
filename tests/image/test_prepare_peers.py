"""prepare against the transforms that it reproduces: torchvision's, timm's, and torch's resize without antialias."""

import numpy as np
import pytest
from PIL import Image

from eyespot.core.pixels import Preprocess, torchvision_preprocess
from eyespot.image.prepare import prepare
from libraries import imported
from tolerances import POINT_SAMPLED, RESAMPLED_MEAN, RESAMPLED_TWICE

pytestmark = pytest.mark.peers

SIZES = [(427, 640), (640, 427), (333, 500), (256, 256), (100, 80), (1201, 1801), (375, 1200)]


def photograph(size):
    random = np.random.default_rng(sum(size))
    small = Image.fromarray(random.integers(0, 256, (size[0] // 6, size[1] // 6, 3), np.uint8))
    rough = np.asarray(small.resize(size[::-1])).astype(int) + random.integers(-20, 21, (*size, 3))
    return Image.fromarray(rough.clip(0, 255).astype(np.uint8))


def assert_same(got, want):
    difference = np.abs(got.astype(int) - np.asarray(want).astype(int))
    assert difference.max() <= RESAMPLED_TWICE
    assert difference.mean() < RESAMPLED_MEAN


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos", "nearest", "box", "hamming"])
def test_torchvision(size, filter):
    transforms = imported("torchvision.transforms")
    mode = transforms.InterpolationMode[filter.upper()]
    theirs = transforms.Compose([transforms.Resize(256, mode), transforms.CenterCrop(224)])
    image = photograph(size)
    assert_same(prepare(image, torchvision_preprocess(filter=filter)).pixels, theirs(image))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("pixels", "part"), [(224, 0.875), (240, 0.882), (260, 0.890), (299, 0.875)])
def test_timm(size, pixels, part):
    data = imported("timm.data")
    theirs = data.create_transform(
        (3, pixels, pixels), interpolation="bicubic", crop_pct=part, mean=(0,) * 3, std=(1,) * 3
    )
    resize = theirs.transforms[0].size
    image = photograph(size)
    want = theirs(image).numpy().transpose(1, 2, 0) * 255
    got = prepare(image, Preprocess((pixels, pixels), "crop", resize, "bicubic")).pixels
    assert_same(got, np.rint(want))


@pytest.mark.parametrize("size", SIZES)
def test_torch_without_antialias(size):
    torch = imported("torch")
    image = photograph(size)
    tensor = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy()).float()
    want = torch.nn.functional.interpolate(tensor, (224, 192), mode="bilinear", align_corners=False, antialias=False)
    got = prepare(image, Preprocess((224, 192), "stretch", antialias=False)).pixels
    assert np.abs(got - want[0].numpy().transpose(1, 2, 0)).max() <= POINT_SAMPLED
