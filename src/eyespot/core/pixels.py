"""Preprocess: the contract between a picture and a network, as a value. Nothing here touches a pixel.

The numbers are for 8-bit RGB: a network sees ``(pixel · scale - mean) / std`` per channel, in ``channels`` order. What
the geometry means is written once, in ``eyespot.image.prepare``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from eyespot.errors import BundleError

Rule = Literal["crop", "stretch", "letterbox"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Channels = Literal["rgb", "bgr"]
Centring = Literal["even", "down"]
Triple = tuple[float, float, float]

_LARGEST = 1e9
PIXELS, LOGITS = "pixels", "logits"  # what the input and the output of every exported network are called

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a picture becomes the network's input.

    size: (height, width) in pixels. rule: 'crop' makes the shorter side ``resize`` pixels and cuts the centre out;
    'stretch' ignores the aspect ratio; 'letterbox' fits the whole picture in and fills the rest with ``fill``.
    resize: the shorter side for 'crop' (0: the crop's own). antialias: whether shrinking widens the filter, as Pillow
    and torchvision do; TensorFlow and Keras do not. centring: where 'crop' cuts when the margin is odd, half a pixel up
    or down to an even start (torchvision, timm) or always down (transformers).
    """

    size: tuple[int, int] = (224, 224)
    rule: Rule = "crop"
    resize: int = 0
    filter: Filter = "bilinear"
    antialias: bool = True
    channels: Channels = "rgb"
    scale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    fill: tuple[int, int, int] = (128, 128, 128)
    centring: Centring = "even"

    def __post_init__(self) -> None:
        _check_types(self)
        if len(self.size) != 2 or min(self.size) < 1 or max(self.size) > 8192:
            raise BundleError(f"preprocess size {self.size} is not a (height, width) between 1 and 8192")
        if len(self.mean) != 3 or len(self.std) != 3 or 0 in self.std:
            raise BundleError(f"preprocess needs three means and three non-zero stds, not {self.mean} and {self.std}")
        for name, value, legal in (
            ("rule", self.rule, get_args(Rule)),
            ("filter", self.filter, get_args(Filter)),
            ("channels", self.channels, get_args(Channels)),
            ("centring", self.centring, get_args(Centring)),
        ):
            if value not in legal:
                raise BundleError(f"preprocess {name} {value!r} is not one of {', '.join(legal)}")
        if self.rule == "crop" and self.resize and self.resize < max(self.size):
            raise BundleError(f"preprocess resizes the shorter side to {self.resize}, too small to crop {self.size}")

    @property
    def shorter_side(self) -> int:
        """The length that 'crop' gives the shorter side before it cuts."""
        return self.resize or max(self.size)

    def affine(self) -> tuple[Triple, Triple]:
        """(multiplier, offset) per RGB-or-BGR channel: the network's input is ``pixel · multiplier + offset``."""
        m, s = self.mean, self.std
        multiplier = (self.scale / s[0], self.scale / s[1], self.scale / s[2])
        return multiplier, (-m[0] / s[0], -m[1] / s[1], -m[2] / s[2])

    def to_json(self) -> dict[str, Any]:
        """Every field, so that a card can be read without this code."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """The contract that ``to_json`` wrote; unknown fields are refused."""
        unknown = data.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise BundleError(
                f"preprocess has no field {', '.join(sorted(unknown))}; is the card from a newer eyespot?"
            )
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)


def _check_types(given: Preprocess) -> None:
    """BundleError for a value of another kind than its field's, or one that no picture needs."""
    whole = (*_tuple(given.size), given.resize, *_tuple(given.fill))
    real = (given.scale, *_tuple(given.mean), *_tuple(given.std))
    for value, kinds in (*((v, (int,)) for v in whole), *((v, (int, float)) for v in real)):
        if isinstance(value, bool) or not isinstance(value, kinds) or not abs(value) < _LARGEST:
            raise BundleError(f"preprocess holds {str(value)[:40]!r} where a number belongs")
    if not isinstance(given.antialias, bool):
        raise BundleError(f"preprocess antialias is {str(given.antialias)[:40]!r}, not true or false")
    if len(_tuple(given.fill)) != 3 or not 0 <= min(given.fill) <= max(given.fill) <= 255 or given.resize < 0:
        raise BundleError(f"preprocess fill {given.fill} and resize {given.resize} are no colour and no length")


def _tuple(value: object) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def torchvision_preprocess(size: int = 224, resize: int = 256, filter: Filter = "bilinear") -> Preprocess:
    """torchvision's and most of timm's: shorter side, centre crop, ImageNet mean and std."""
    return Preprocess((size, size), "crop", resize, filter, mean=IMAGENET_MEAN, std=IMAGENET_STD)
