"""The only resize in the house: a picture to the pixels that a network was trained to see.

    pixels, placement = prepare(image, preprocess)          # PIL image or uint8 (h, w, 3) → uint8 (H, W, 3), RGB
    pixels, placement = decode_and_prepare(data, preprocess)    # a file's bytes; a large JPEG is decoded smaller
    boxes = placement.to_image(boxes)                       # from the network's pixels back to the image's

No number is scaled to floats here and no channel reordered: that happens inside the session's graph.

Geometry, for a picture of h × w pixels and a network of H × W:

- 'crop' is torchvision's ``Resize(s)`` and ``CenterCrop``, and timm's: the shorter side becomes s, the longer one
  ``int(s · longer / shorter)``; the window starts at ``round((h' - H) / 2)``, half to even, or with centring 'down' at
  ``(h' - H) // 2``, as transformers cuts. Only the window is
  computed, across first and then down, as Pillow did when these networks were measured. It equals resizing all and
  cutting (0.1 % of values differ by one grey level); 'nearest' and 'box' are cut from the whole. Pillow from 13 on goes
  down first for some tall pictures, where its own bicubic and lanczos clip overshoots elsewhere than they used to.
- 'stretch' is Pillow's ``resize((W, H))``: transformers' ``size``, and Keras' ``load_img(target_size=…)``.
- 'letterbox' scales by ``min(H / h, W / w)``, rounds both sides, centres, and fills the rest; an odd pixel is at the
  bottom and right.

``antialias`` true is Pillow's resampling, whose filter widens as the picture shrinks. False reads the filter's taps at
the scale of the stored pixels, as TensorFlow's and Keras' ``resize`` do (half-pixel centres, taps outside left out);
'nearest' and 'box' then are Pillow's nearest.

How small a JPEG may be decoded, measured on the 500 sample photographs enlarged to a shorter side of 1500 with sensor
noise added, EfficientNet-Lite0, bicubic to 256, against decoding all pixels:

    decoded shorter side     mean difference    logits, share of range    same label    top-1
    1.46 × the resized one   0.61 grey levels   0.017                     98.8 %        88.4 (all pixels: 88.8)
    2.93 ×                   0.21               0.008                     98.8 %        88.2

So 2 × is asked for, which keeps logits within the budget that two decoders have anyway. Where 1/8 gives at least 1.4 ×,
as for 12 megapixels, it is taken: 14 ms instead of 18, the label as often the same. Nothing is scaled for a network
that does not antialias: it was trained on the noise of single pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyespot.core.pixels import Filter, Preprocess
from eyespot.errors import PictureError
from eyespot.image.decode import MAX_PIXELS, Decoded, open_picture, orientation_of, upright_rgb
from eyespot.image.orientation import UPRIGHT, Box
from eyespot.image.placement import Placement
from eyespot.image.sampling import sample

Pixels = NDArray[np.uint8]

_FILTERS: dict[Filter, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_SUPPORT = {"nearest": 0.0, "box": 0.5, "bilinear": 1.0, "hamming": 1.0, "bicubic": 2.0, "lanczos": 3.0}
_CUT_FROM_WHOLE = ("nearest", "box")  # these jump at a pixel's border, where a rounding error shows
_WHOLE_PIXELS = 1 << 24

_ENOUGH = 2.0  # times the resized side, for 1/2 and 1/4
_ENOUGH_AT_EIGHTH = 1.4


class Prepared(NamedTuple):
    """A network's input, (H, W, 3) uint8 RGB, C-contiguous and its own, and where the image lies in it."""

    pixels: Pixels
    placement: Placement


class _Plan(NamedTuple):
    """The whole picture becomes ``width`` × ``height``, of which the window is kept, at (x, y) of the result."""

    width: int
    height: int
    left: int
    top: int
    across: int
    down: int
    x: int = 0
    y: int = 0


def prepare(image: Image.Image | Pixels, preprocess: Preprocess) -> Prepared:
    """An image as a network sees it.

    image: a PIL picture of any mode, or uint8 (h, w, 3) RGB. One straight from ``PIL.Image.open`` is turned upright.
    Raises PictureError for any other array, and for a picture that cannot be decoded.
    """
    if isinstance(image, Image.Image):
        picture, orientation = upright_rgb(image), orientation_of(image)
    else:
        picture, orientation = _from_array(image), UPRIGHT
    return _place(Decoded(picture, (0, 0, *picture.size), picture.size[::-1], orientation), preprocess)


def decode_and_prepare(data: bytes, preprocess: Preprocess, *, max_pixels: int = MAX_PIXELS) -> Prepared:
    """The bytes of an image file as a network sees it, decoded no larger than needed. Errors as ``decode``."""
    opened = open_picture(data, max_pixels=max_pixels)
    return _place(opened.load(wanted(preprocess, opened.size)), preprocess)


def wanted(preprocess: Preprocess, size: tuple[int, int]) -> tuple[int, int] | None:
    """The least (height, width) worth decoding of a picture of ``size`` (height, width); None for all of it."""
    if not preprocess.antialias or preprocess.filter == "nearest":
        return None
    plan = _plan(preprocess, size)
    for times, eighth in ((_ENOUGH_AT_EIGHTH, True), (_ENOUGH, False)):
        need = math.ceil(plan.height * times), math.ceil(plan.width * times)
        if need[0] <= size[0] // (8 if eighth else 2) and need[1] <= size[1] // (8 if eighth else 2):
            return need
    return None


def _from_array(array: object) -> Image.Image:
    needed = "uint8 of shape (height, width, 3), RGB, was needed"
    if not isinstance(array, np.ndarray):
        raise PictureError(f"{type(array).__name__} came, {needed}; pass bytes, a PIL picture or such an array")
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or min(array.shape) < 1:
        raise PictureError(f"an array {array.dtype} of shape {array.shape} came, {needed}; convert it first")
    return Image.fromarray(array)


def _plan(preprocess: Preprocess, size: tuple[int, int]) -> _Plan:
    height, width = preprocess.size
    h, w = size
    if preprocess.rule == "stretch":
        return _Plan(width, height, 0, 0, width, height)
    if preprocess.rule == "letterbox":
        scale = min(height / h, width / w)
        fit_h, fit_w = min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale)))
        return _Plan(fit_w, fit_h, 0, 0, fit_w, fit_h, (width - fit_w) // 2, (height - fit_h) // 2)
    short = preprocess.shorter_side
    full_h, full_w = (short, int(short * w / h)) if h <= w else (int(short * h / w), short)
    left, top = full_w - width, full_h - height
    if preprocess.centring == "down":
        return _Plan(full_w, full_h, left // 2, top // 2, width, height)
    return _Plan(full_w, full_h, round(left / 2), round(top / 2), width, height)


def _place(decoded: Decoded, preprocess: Preprocess) -> Prepared:
    plan = _plan(preprocess, decoded.size)
    scale = plan.width / decoded.size[1], plan.height / decoded.size[0]
    offset = float(plan.x - plan.left), float(plan.y - plan.top)
    placement = Placement(decoded.size, scale, offset, decoded.orientation)
    if preprocess.antialias or preprocess.filter in _CUT_FROM_WHOLE:
        filter: Filter = preprocess.filter if preprocess.antialias else "nearest"
        pixels: Pixels = np.array(_resample(decoded.image, decoded.box, plan, filter))
    else:
        pixels = _sample(decoded.image, decoded.box, plan, preprocess.filter)
    if pixels.shape[:2] == preprocess.size:
        return Prepared(pixels, placement)
    canvas = np.empty((*preprocess.size, 3), np.uint8)
    canvas[:] = preprocess.fill
    canvas[plan.y : plan.y + plan.down, plan.x : plan.x + plan.across] = pixels
    return Prepared(canvas, placement)


def _resample(image: Image.Image, box: Box, plan: _Plan, filter: Filter) -> Image.Image:
    method = _FILTERS[filter]
    is_whole = (plan.across, plan.down) == (plan.width, plan.height)
    if is_whole or (filter in _CUT_FROM_WHOLE and plan.width * plan.height <= _WHOLE_PIXELS):
        whole = image.resize((plan.width, plan.height), method, box=box)
        return whole if is_whole else whole.crop((plan.left, plan.top, plan.left + plan.across, plan.top + plan.down))
    left, across = _source(box[0], box[2], plan.width, plan.left, plan.across)
    top, down = _source(box[1], box[3], plan.height, plan.top, plan.down)
    # What the filter reads is cut out first: boxes are float32 to Pillow, exact only near zero, and rows that begin at
    # zero spare it a pass. The cut is a resize that Pillow knows to be one; crop would ask its global limit.
    before, after = _around(left, across, plan.across, filter, image.width)
    above, below = _around(top, down, plan.down, filter, image.height)
    area = (before, above, after, below)
    image = image.resize((after - before, below - above), Image.Resampling.NEAREST, box=area)
    box = (left - before, 0, min(left - before + across, image.width), image.height)
    rows = image.resize((plan.across, image.height), method, box=box)
    box = (0, top - above, plan.across, min(top - above + down, image.height))
    return rows.resize((plan.across, plan.down), method, box=box)


def _around(start: float, length: float, count: int, filter: Filter, limit: int) -> tuple[int, int]:
    """The source pixels, first and behind the last, that the filter reads for ``count`` results over a stretch."""
    reach = math.ceil(_SUPPORT[filter] * max(1.0, length / count)) + 1
    return max(0, int(start) - reach), min(limit, math.ceil(start + length) + reach)


def _source(start: float, stop: float, whole: int, offset: int, count: int) -> tuple[float, float]:
    """Start and length, in source pixels, of ``count`` of ``whole`` result pixels from ``offset`` on."""
    scale = (stop - start) / whole
    return start + offset * scale, count * scale


def _sample(image: Image.Image, box: Box, plan: _Plan, filter: Filter) -> Pixels:
    left, across = _source(box[0], box[2], plan.width, plan.left, plan.across)
    top, down = _source(box[1], box[3], plan.height, plan.top, plan.down)
    before, after = _around(left, across, plan.across, filter, image.width)
    above, below = _around(top, down, plan.down, filter, image.height)
    pixels = np.asarray(image)[above:below, before:after]
    return sample(pixels, (top - above, left - before), (down, across), (plan.down, plan.across), filter)
