"""Random changes of training pictures: a crop, a flip, a policy, an erased patch; mixup and cutmix of whole batches.

Pillow does the work, which is in the base install, and the tables below are the papers'. The libraries that hold these
policies do not serve a person with torch's CPU build: torchvision cannot be imported beside it as the package index has
them ("operator torchvision::nms does not exist"); kornia does 16 pictures of 224×224 per second and core by RandAugment
and 35 by TrivialAugment, where this module does 1,150 and 1,530, the crop included; albumentations is no longer
maintained, and what follows it is AGPL.

Every random number comes from the numpy generator that is passed, so that one generator state gives one picture, in any
process and any thread. 8-bit pixels go in and come out: scaling to floats is the network's own business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

if TYPE_CHECKING:
    from eyespot.core.recipe import Augment

Pixels = NDArray[np.uint8]
Random = np.random.Generator

_TRIES = 10  # to place a crop of the wanted area and aspect inside the picture
_FILL = (128, 128, 128)  # what a shear, a shift or a turn brings in, as AutoAugment's authors filled it
_NEAREST = Image.Resampling.NEAREST  # theirs too: a tenth of bilinear's time
_RAND_OPS = 2  # RandAugment's N, of its figures for ImageNet
_RAND_MAXIMUM = 10.0  # the magnitude at which RandAugment's changes reach the end of AutoAugment's ranges
_WIDE_LEVELS = 30  # TrivialAugment draws its strength from 0 to 30
_ERASED_AREA = (0.02, 0.4)  # Zhong et al. 2017, section 4.2: s_l, s_h
_ERASED_ASPECT = (0.3, 1 / 0.3)  # r_1, r_2


def augment(
    pixels: Image.Image | Pixels,
    spec: Augment,
    size: tuple[int, int],
    rng: Random,
    *,
    filter: Image.Resampling = Image.Resampling.BILINEAR,
) -> Pixels:
    """A random view of one picture, uint8 (H, W, 3), its own and C-contiguous.

    pixels: an upright RGB picture, uint8 (h, w, 3) or Pillow's. size: (H, W). In this order: the crop, resized by
    ``filter``; the flip; the policy; the erased patch. spec.aspect is that of the crop as a share of W / H, so that
    things keep their proportions in the middle of its range, whatever the picture's own.
    """
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    box = _crop(spec, image.height, image.width, size, rng)
    image = image.resize((size[1], size[0]), filter, box)
    if rng.random() < spec.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if spec.policy == "rand":
        image = _rand(image, spec, rng)
    elif spec.policy == "trivial":
        image = _trivial(image, rng)
    view = np.array(image)
    if rng.random() < spec.erase:
        _erase(view, rng)
    return view


def worth_decoding(spec: Augment, size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of a whole picture from which even the smallest crop need not be enlarged: for ``decode``."""
    share = math.sqrt(spec.area[0])
    return math.ceil(size[0] / share), math.ceil(size[1] / share)


def _crop(
    spec: Augment, height: int, width: int, size: tuple[int, int], rng: Random
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a part with a random area and aspect (Szegedy et al. 2014, section 6)."""
    low, high = (math.log(aspect) for aspect in spec.aspect)
    for _ in range(_TRIES):
        area = rng.uniform(*spec.area) * height * width
        aspect = math.exp(rng.uniform(low, high)) * size[1] / size[0]
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    # No such part fits, as of a panorama: the largest one in the middle whose aspect is allowed.
    shape = size[1] / size[0]
    aspect = min(max(width / height, spec.aspect[0] * shape), spec.aspect[1] * shape)
    w, h = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def _erase(view: Pixels, rng: Random) -> None:
    """Overwrites a rectangle with random values, in place (Zhong et al. 2017, arXiv 1708.04896, algorithm 1)."""
    height, width = view.shape[:2]
    for _ in range(_TRIES):
        area = rng.uniform(*_ERASED_AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            view[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3), np.uint8)
            return


def _affine(
    image: Image.Image, *, shear: tuple[float, float] = (0, 0), shift: tuple[float, float] = (0, 0)
) -> Image.Image:
    """Sheared about the centre and shifted, by shares of the sides; (across, down)."""
    (across, down), (width, height) = shear, image.size
    x = -shift[0] * width - across * height / 2
    y = -shift[1] * height - down * width / 2
    coefficients = (1, across, x, down, 1, y)
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, _NEAREST, fillcolor=_FILL)


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, _NEAREST, fillcolor=_FILL)


class Change(NamedTuple):
    """One row of the policies' common table: how strongly it can be done, and how it is done.

    From ``neutral``, which changes nothing, the value goes to ``rand`` (RandAugment) or ``wide`` (TrivialAugment) as
    the strength goes from 0 to 1; ``signed`` ones as far to the other side, at random.
    """

    apply: Callable[[Image.Image, float], Image.Image]
    neutral: float = 0
    rand: float = 0
    wide: float = 0
    signed: bool = False


# AutoAugment's ranges (Cubuk et al. 2018, table 6; shifts as shares of its 331 pixels), and the wide ones of Müller &
# Hutter 2021, table 6, whose shift of 32 pixels was of 224.
CHANGES = {
    "identity": Change(lambda image, _: image),
    "auto contrast": Change(lambda image, _: ImageOps.autocontrast(image)),
    "equalize": Change(lambda image, _: ImageOps.equalize(image)),
    "rotate": Change(_rotate, 0, 30, 135, signed=True),
    "solarize": Change(lambda image, value: ImageOps.solarize(image, round(value)), 256, 0, 0),
    "posterize": Change(lambda image, value: ImageOps.posterize(image, round(value)), 8, 4, 2),
    "colour": Change(lambda image, value: ImageEnhance.Color(image).enhance(value), 1, 1.9, 1.99, signed=True),
    "contrast": Change(lambda image, value: ImageEnhance.Contrast(image).enhance(value), 1, 1.9, 1.99, signed=True),
    "brightness": Change(lambda image, value: ImageEnhance.Brightness(image).enhance(value), 1, 1.9, 1.99, signed=True),
    "sharpness": Change(lambda image, value: ImageEnhance.Sharpness(image).enhance(value), 1, 1.9, 1.99, signed=True),
    "shear across": Change(lambda image, value: _affine(image, shear=(value, 0)), 0, 0.3, 0.99, signed=True),
    "shear down": Change(lambda image, value: _affine(image, shear=(0, value)), 0, 0.3, 0.99, signed=True),
    "shift across": Change(lambda image, value: _affine(image, shift=(value, 0)), 0, 150 / 331, 1 / 7, signed=True),
    "shift down": Change(lambda image, value: _affine(image, shift=(0, value)), 0, 150 / 331, 1 / 7, signed=True),
}
_ROWS = tuple(CHANGES.values())


def _changed(image: Image.Image, row: Change, extreme: float, strength: float, rng: Random) -> Image.Image:
    by = (extreme - row.neutral) * strength
    if row.signed and rng.random() < 0.5:
        by = -by
    return row.apply(image, row.neutral + by)


def _rand(image: Image.Image, spec: Augment, rng: Random) -> Image.Image:
    """RandAugment (Cubuk et al. 2019, arXiv 1909.13719, figure 2): two changes, each at the one magnitude."""
    for _ in range(_RAND_OPS):
        row = _ROWS[rng.integers(len(_ROWS))]
        image = _changed(image, row, row.rand, spec.magnitude / _RAND_MAXIMUM, rng)
    return image


def _trivial(image: Image.Image, rng: Random) -> Image.Image:
    """TrivialAugment (Müller & Hutter 2021, arXiv 2103.10158, algorithm 1): one change at a strength drawn for it."""
    row = _ROWS[rng.integers(len(_ROWS))]
    return _changed(image, row, row.wide, int(rng.integers(_WIDE_LEVELS + 1)) / _WIDE_LEVELS, rng)


def mix(inputs: Tensor, targets: Tensor, spec: Augment, rng: Random) -> tuple[Tensor, Tensor]:
    """A batch of which every picture is mixed with another one of it, by mixup or cutmix; as it came without either.

    inputs: (n, channels, height, width). targets: probabilities (n, classes), which are mixed in the same proportion.
    spec.mixup and spec.cutmix are the alphas of the Beta distribution that the proportion is drawn from (Zhang et al.
    2017, arXiv 1710.09412; Yun et al. 2019, arXiv 1905.04899), 0 for never; with both, each takes half of the batches.
    """
    if len(inputs) < 2 or not (spec.mixup or spec.cutmix):
        return inputs, targets
    cut = bool(spec.cutmix) and (not spec.mixup or rng.random() < 0.5)
    alpha = spec.cutmix if cut else spec.mixup
    share = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(inputs))).to(inputs.device)
    if cut:
        inputs, share = _paste(inputs, inputs[other], share, rng)
    else:
        inputs = inputs * share + inputs[other] * (1 - share)
    return inputs, targets * share + targets[other.to(targets.device)] * (1 - share)


def _paste(inputs: Tensor, others: Tensor, share: float, rng: Random) -> tuple[Tensor, float]:
    """A rectangle of 1 - share of the others' area pasted in, cut off at the border; and the share that is left."""
    height, width = inputs.shape[2:]
    h, w = (round(side * math.sqrt(1 - share)) for side in (height, width))
    middle = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(middle[0] - h // 2, 0), max(middle[1] - w // 2, 0)
    bottom, right = min(middle[0] - h // 2 + h, height), min(middle[1] - w // 2 + w, width)
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
