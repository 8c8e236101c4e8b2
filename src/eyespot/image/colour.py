"""Any of Pillow's modes to 8-bit RGB, each handled once.

- Transparency lies over WHITE: most cut-out pictures (shop listings, clip art, logos) were drawn for a white page, and
  so are the white backgrounds in ImageNet; the black that lies under transparent pixels when alpha is just dropped is
  in neither. The blend happens before any resize, so no colour of a transparent pixel can bleed into its neighbours.
- Pictures of more than 8 bits (16-bit grey, 32-bit integer, float) have no agreed white: a 12-bit X-ray in a 16-bit
  file would be black. They are scaled by their own range, smallest to 0 and largest to 255; one of a single value is
  mid grey (128). Not-a-number counts as the smallest, infinities as the ends; GDAL's nodata is white and out of the
  range. Where white is zero (TIFF), largest and smallest change places. 16-bit RGB has an agreed white (``deep``).
- CMYK as Pillow converts it: the readers have already undone Adobe's inversion, and YCCK.
- CIE Lab to sRGB through LittleCMS. Other colour profiles (ICC) are ignored, as they are by the libraries that trained
  the published networks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = (255, 255, 255)
MID_GREY = 128
_BLOCK = 1 << 20  # values per step, so that scaling needs no second picture in float64


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as "RGB"; the same object when it is that already."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _by_range(image)
    if image.has_transparency_data:
        return _over_white(image)
    if image.mode == "LAB":
        return _from_lab(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    page = Image.new("RGB", image.size, WHITE)
    page.paste(layer, (0, 0), layer)
    return page


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    return converted or image  # never None: that is for conversions in place


_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1
_NODATA = 42113


def _tag(image: Image.Image, number: int) -> Any:
    """A TIFF's tag; None for other images."""
    return getattr(image, "tag_v2", {}).get(number)


def _is_unsigned_tiff(image: Image.Image) -> bool:
    """Whether a TIFF's integers have no sign; Pillow reads 32 bits of them as if they had one."""
    return _tag(image, _BITS_PER_SAMPLE) is not None and _tag(image, _SAMPLE_FORMAT) in (None, _UNSIGNED, (_UNSIGNED,))


def _hidden(image: Image.Image, values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which values are no measurement: PNG's transparent one, GDAL's nodata."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        try:
            key = float(str(_tag(image, _NODATA))[:64].strip("\0 "))
        except ValueError:
            return None
    return np.isnan(values) if math.isnan(key) else np.asarray(values == key)


def _by_range(image: Image.Image) -> Image.Image:
    values: NDArray[Any] = np.asarray(image).ravel()
    if values.dtype == np.int32 and _is_unsigned_tiff(image):
        values = values.view(np.uint32)
    hidden = _hidden(image, values)
    seen = values if hidden is None else values[~hidden]
    if seen.dtype.kind == "f":
        seen = seen[np.isfinite(seen)]
    grey = np.full(values.size, MID_GREY, np.uint8)
    if seen.size and (low := float(seen.min())) < (high := float(seen.max())):
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK].astype(np.float64)
            block = np.nan_to_num(np.clip(block, low, high), nan=low)
            grey[start : start + _BLOCK] = np.rint((block - low) * (255 / (high - low)))
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = np.subtract(255, grey, dtype=np.uint8)
    if hidden is not None:
        grey[hidden] = WHITE[0]
    return Image.fromarray(grey.reshape(image.height, image.width)).convert("RGB")
