"""How pictures become pixels for a Hugging Face model: ``preprocessor_config.json``, or timm's ``pretrained_cfg``.

Sources: transformers/image_processing_backends.py, transformers/models/*/image_processing_*.py, timm/data/config.py
and transforms_factory.py. What those do and a ``Preprocess`` cannot say is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from eyespot.bundle.json_fields import Fields
from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Filter, Preprocess, Triple
from eyespot.errors import BundleError, WeightsError

_RESAMPLE: tuple[Filter, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers
_HALF: Triple = (0.5, 0.5, 0.5)


class _Processor(NamedTuple):
    """The defaults of one class of theirs."""

    shortest_edge: int | None = None
    square: int | None = None
    crop: int | None = None
    resample: int = 2
    mean: Triple = _HALF
    std: Triple = _HALF


_PROCESSORS: Mapping[str, _Processor] = {
    "MobileNetV1": _Processor(shortest_edge=256, crop=224),
    "MobileNetV2": _Processor(shortest_edge=256, crop=224),
    "EfficientNet": _Processor(square=346, resample=3),
    "ConvNext": _Processor(shortest_edge=384, resample=3),  # ResNet's too
    "ViT": _Processor(square=224),
}
_IDLE = (
    "_processor_class", "processor_class", "_valid_processor_keys", "data_format", "input_data_format",
    "return_tensors", "device", "disable_grouping", "do_convert_rgb", "do_reduce_labels", "default_to_square",
)  # fmt: skip


def read_processor(fields: Fields) -> Preprocess:
    """The contract of a ``preprocessor_config.json``."""
    kind = fields.text("image_processor_type") or fields.text("feature_extractor_type")
    fields.drop(("image_processor_type", "feature_extractor_type", *_IDLE))
    name = kind
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(ending)
    if name not in _PROCESSORS:
        known = ", ".join(f"{n}ImageProcessor" for n in _PROCESSORS)
        raise fields.wrong("image_processor_type", kind, f"eyespot knows {known}")
    defaults = _PROCESSORS[name]
    fields.only("do_pad", (False,))
    fields.drop(("pad_size",))
    number = fields.value("resample", defaults.resample)
    if type(number) is not int or not 0 <= number < len(_RESAMPLE):
        raise fields.wrong("resample", number, "one of Pillow's filters, 0 to 5, was needed")
    try:
        geometry = _crop_share(fields, defaults) if name == "ConvNext" else _geometry(fields, defaults)
        scale, mean, std = _values(fields, defaults, again=name == "EfficientNet")
        size, rule, resize = geometry
        found = Preprocess(
            size, "crop" if rule else "stretch", resize, _RESAMPLE[number], scale=scale, mean=mean, std=std,
            centring="down",
        )  # fmt: skip
    except BundleError as error:
        raise WeightsError(f"{fields.where}: {error}") from None
    fields.done()
    return found


def _values(fields: Fields, defaults: _Processor, *, again: bool) -> tuple[float, Triple, Triple]:
    """Scale, mean and std. EfficientNet's processor may subtract one more, and may divide by std a second time."""
    scale = fields.number("rescale_factor", 1 / 255)
    if not fields.flag("do_rescale", True):
        scale = 1.0
    mean, std = fields.triple("image_mean", defaults.mean), fields.triple("image_std", defaults.std)
    if 0 in std or scale == 0:
        raise fields.wrong("image_std", std, "and rescale_factor, must not be zero")
    twice = fields.flag("include_top", True) if again else False
    offset = fields.flag("rescale_offset", False) if again else False
    first = std
    if not fields.flag("do_normalize", True):
        mean, first = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if offset:
        mean = (mean[0] + 1, mean[1] + 1, mean[2] + 1)
    if twice:
        first = (first[0] * std[0], first[1] * std[1], first[2] * std[2])
    return scale, mean, first


def _side(fields: Fields, key: str, value: object) -> int:
    if type(value) is not int or not 0 < value <= 8192:
        raise fields.wrong(key, value, "a side of 1 to 8192 pixels was needed")
    return value


def _sides(fields: Fields, key: str, value: object) -> tuple[int, int]:
    """{"height": …, "width": …}, or one number for both."""
    if isinstance(value, int):
        value = {"height": value, "width": value}
    if not isinstance(value, dict) or set(value) != {"height", "width"}:
        raise fields.wrong(key, value, "height and width were needed")
    return _side(fields, key, value["height"]), _side(fields, key, value["width"])


def _geometry(fields: Fields, defaults: _Processor) -> tuple[tuple[int, int], bool, int]:
    """Size, whether it is cropped, and the shorter side before that."""
    standard: object = {"shortest_edge": defaults.shortest_edge} if defaults.shortest_edge else defaults.square
    size, crop = fields.value("size", standard), fields.value("crop_size", defaults.crop or 0)
    crops, resizes = fields.flag("do_center_crop", defaults.crop is not None), fields.flag("do_resize", True)
    if not resizes:
        raise fields.wrong("do_resize", False, "eyespot's networks take pictures of one size, so they are resized")
    if isinstance(size, int) and defaults.shortest_edge:
        size = {"shortest_edge": size}
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        if not crops:
            raise fields.wrong("do_center_crop", False, "with a shortest_edge that leaves pictures of all sizes")
        window, short = _sides(fields, "crop_size", crop), _side(fields, "size", size["shortest_edge"])
        if short < max(window):
            raise fields.wrong("crop_size", crop, f"it is larger than the shortest_edge {short}")
        return window, True, short
    if crops:
        raise fields.wrong("do_center_crop", True, "with a height and width that stretches first and then cuts")
    return _sides(fields, "size", size), False, 0


def _crop_share(fields: Fields, defaults: _Processor) -> tuple[tuple[int, int], bool, int]:
    """ConvNeXt's: under 384 pixels the shorter side becomes size / crop_pct and is cut, from there on stretched."""
    size = fields.value("size", {"shortest_edge": defaults.shortest_edge})
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        size = size["shortest_edge"]
    side, share = _side(fields, "size", size), fields.number("crop_pct", 224 / 256)
    fields.only("do_center_crop", (False,))
    fields.only("do_resize", (True,))
    fields.drop(("crop_size",))
    if side >= 384:
        return (side, side), False, 0
    if not 0.01 <= share <= 1:
        raise fields.wrong("crop_pct", share, "a share between 0.01 and 1 was needed")
    return (side, side), True, int(side / share)


def read_pretrained_cfg(fields: Fields) -> Preprocess:
    """The contract that timm's ``resolve_data_config`` and ``create_transform`` make of a ``pretrained_cfg``."""
    shape = fields.value("input_size", [3, 224, 224])
    if not isinstance(shape, (list, tuple)) or len(shape) != 3 or shape[0] != 3:
        raise fields.wrong("input_size", shape, "three channels, height and width were needed")
    size = _side(fields, "input_size", shape[1]), _side(fields, "input_size", shape[2])
    if size[0] != size[1]:
        raise fields.wrong("input_size", shape, "eyespot reads timm's square sizes")
    share = fields.number("crop_pct", 0.875)
    if not 0.01 <= share <= 1:
        raise fields.wrong("crop_pct", share, "a share between 0.01 and 1 was needed")
    mode = fields.only("crop_mode", ("center", "squash"))
    if mode == "squash" and share != 1:
        raise fields.wrong("crop_mode", mode, "with a crop_pct under 1 it stretches first and then cuts")
    filter = fields.only("interpolation", ("bicubic", "bilinear", "nearest", "box", "hamming", "lanczos"))
    mean, std = fields.triple("mean", IMAGENET_MEAN), fields.triple("std", IMAGENET_STD)
    if 0 in std:
        raise fields.wrong("std", std, "it must not be zero")
    if mode == "squash":
        return Preprocess(size, "stretch", 0, filter, mean=mean, std=std)
    return Preprocess(size, "crop", math.floor(size[0] / share), filter, mean=mean, std=std)
