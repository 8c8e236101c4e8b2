"""Darknet's network descriptions (``.cfg``): text to a graph and its detection heads.

A file is a list of sections, each a layer with ``key=value`` lines; routes and shortcuts name layers by their number
or how many lines of layers they lie back. Layer ``i`` becomes nodes ``layer{i}.conv``, ``.norm``, ``.act`` and so on.
What Darknet pads, rounds and defaults is done as it does it; a section or key that is not known is refused by its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from eyespot.core.graph import Graph
from eyespot.core.ops import ActivationName
from eyespot.core.sketch import Map, Sketch
from eyespot.errors import GraphError, WeightsError

MAX_CHARACTERS = 1 << 20
MAX_LAYERS = 2000
EPSILON = 1e-6  # of batch norm, as OpenCV takes it; Darknet's own adds it to the deviation instead of the variance

_ACTIVATIONS: Mapping[str, ActivationName | None] = {
    "linear": None, "leaky": "leaky_relu", "relu": "relu", "relu6": "relu6", "logistic": "sigmoid", "swish": "silu",
    "mish": "mish", "tanh": "tanh",
}  # fmt: skip
_LEAKY_SLOPE = 0.1

_TRAINING = {
    "net": "batch subdivisions momentum decay learning_rate burn_in max_batches policy steps scales power angle "
    "saturation exposure hue aspect max_crop min_crop mosaic cutmix mixup blur flip gamma adam b1 b2 eps letter_box "
    "max_chart_loss optimized_memory workspace_size_limit_MB time_steps try_fix_nan gaussian_noise dynamic_minibatch "
    "label_smooth_eps ema_alpha show_receptive_field num_steps scale step sequential_subdivisions",
    "yolo": "jitter ignore_thresh truth_thresh random resize iou_thresh iou_normalizer obj_normalizer cls_normalizer "
    "iou_loss nms_kind beta_nms max_delta label_smooth_eps map counters_per_class focal_loss max thresh truth_thresh "
    "uc_normalizer track embedding_layer",
    "region": "bias_match jitter rescore object_scale noobject_scale class_scale coord_scale absolute thresh random "
    "log map max focal_loss",
    "dropout": "probability dropblock dropblock_size_abs dropblock_size_rel",
    "cost": "type",
}
_KEYS = {
    "net": "width height channels",
    "convolutional": "filters size stride stride_x stride_y pad padding dilation groups batch_normalize activation",
    "maxpool": "size stride stride_x stride_y padding",
    "avgpool": "",
    "route": "layers groups group_id",
    "shortcut": "from activation",
    "scale_channels": "from activation",
    "sam": "from activation",
    "upsample": "stride",
    "dropout": "",
    "softmax": "groups",
    "cost": "",
    "yolo": "mask anchors classes num scale_x_y new_coords",
    "region": "anchors classes coords num softmax",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a file: its kind, its first line (from 1), and each key's text and line."""

    kind: str
    line: int
    values: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def text(self, key: str, default: str | None = None) -> str:
        """A value as it stands."""
        if key in self.values:
            return self.values[key][0]
        if default is None:
            raise WeightsError(f"line {self.line}: expected {key}= in [{self.kind}], got none; add it")
        return default

    def number(self, key: str, default: int | None = None, *, low: int = 0, high: int = 1 << 20) -> int:
        """A whole number."""
        return self.numbers(key, None if default is None else str(default), low=low, high=high, count=1)[0]

    def numbers(
        self, key: str, default: str | None = None, *, low: int = 0, high: int = 1 << 20, count: int | None = None
    ) -> list[int]:
        """Whole numbers with commas between them."""
        text = self.text(key, default)
        parts = [part.strip() for part in text.rstrip(" ,").split(",")]
        if not all(re.fullmatch(r"[-+]?\d{1,9}", part) for part in parts) or (count and len(parts) != count):
            raise self.wrong(key, "a whole number" if count == 1 else "whole numbers")
        numbers = [int(part) for part in parts]
        if not all(low <= number <= high for number in numbers):
            raise self.wrong(key, f"numbers from {low} to {high}")
        return numbers

    def floats(self, key: str, default: str | None = None) -> list[float]:
        """Finite decimal numbers with commas between them."""
        parts = self.text(key, default).rstrip(" ,").split(",")
        try:
            values = [float(part) for part in parts]
        except ValueError:
            raise self.wrong(key, "numbers") from None
        if not all(abs(value) < 1e6 for value in values):
            raise self.wrong(key, "finite numbers")
        return values

    def wrong(self, key: str, expected: str) -> WeightsError:
        """The error for a value that cannot be."""
        text, line = self.values.get(key, ("nothing", self.line))
        return WeightsError(f"line {line}: expected {expected} as {key} of [{self.kind}], got {text[:60]!r}")


@dataclass(frozen=True, slots=True)
class DarknetHead:
    """A ``[yolo]`` or ``[region]`` layer: what the numbers of one output map mean.

    Attributes:
        kind: 'yolo' (versions 3 and 4) or 'region' (version 2).
        output: The node it reads, whose channels are ``len(anchors) · (5 + classes)``.
        anchors: (width, height) of each box that a cell predicts: in network pixels, for 'region' in cells.
        classes: Number of classes.
        scale_xy: How far a box's centre may leave its cell (version 4's ``scale_x_y``), 1 for not at all.
        softmax: Whether class scores are a softmax instead of sigmoids.
    """

    kind: Literal["yolo", "region"]
    output: str
    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_xy: float = 1.0
    softmax: bool = False


@dataclass(frozen=True, slots=True)
class DarknetNetwork:
    """A drawn file: the graph, whose outputs are the heads' maps (or the last layer's), and the heads."""

    graph: Graph
    heads: tuple[DarknetHead, ...]


def read_cfg(text: str, *, size: tuple[int, int] | None = None) -> DarknetNetwork:
    """Draws the network that a ``.cfg`` file describes.

    Args:
        text: The file's text.
        size: (height, width) of the input in pixels, instead of the file's own.

    Raises:
        WeightsError: Something in it is not known or cannot be drawn; the message names the line.
    """
    return _Drawing(_sections(text), size).draw()


def _sections(text: str) -> list[Section]:
    if len(text) > MAX_CHARACTERS:
        raise WeightsError(f"expected a cfg of at most {MAX_CHARACTERS >> 20} MB, got {len(text):,} characters")
    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.split(r"[#;]", raw, maxsplit=1)[0].strip().lstrip("\ufeff")
        if not line:
            continue
        if line.startswith("["):
            kind = line.strip("[] ")
            kind = {"network": "net", "conv": "convolutional", "max": "maxpool", "avg": "avgpool"}.get(kind, kind)
            if kind not in _KEYS:
                raise WeightsError(f"line {number}: expected a known section ({', '.join(_KEYS)}), got {line[:40]!r}")
            sections.append(Section(kind, number, {}))
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not sections:
            raise WeightsError(f"line {number}: expected key=value in a section, got {line[:60]!r}")
        section = sections[-1]
        if key not in f"{_KEYS[section.kind]} {_TRAINING.get(section.kind, '')}".split():
            raise WeightsError(f"line {number}: expected a known key of [{section.kind}], got {key[:40]!r}")
        sections[-1] = Section(section.kind, section.line, {**section.values, key: (value, number)})
    if not sections or sections[0].kind != "net":
        raise WeightsError("expected [net] as the first section of a Darknet cfg; is it another kind of file?")
    if not 1 < len(sections) <= MAX_LAYERS:
        raise WeightsError(f"expected 1 to {MAX_LAYERS - 1} layers behind [net], got {len(sections) - 1}")
    return sections


class _Drawing:
    """One network being drawn; ``_maps[i]`` is what layer i gives."""

    def __init__(self, sections: Sequence[Section], size: tuple[int, int] | None) -> None:
        net, *self._layers = sections
        height, width = size or (net.number("height", low=1, high=8192), net.number("width", low=1, high=8192))
        self._sketch = Sketch((net.number("channels", 3, low=1, high=64), height, width))
        self._maps: list[Map] = []
        self._heads: list[DarknetHead] = []

    def draw(self) -> DarknetNetwork:
        kinds: Mapping[str, Callable[[Section, Map], Map]] = {
            "convolutional": self._convolution, "maxpool": self._max_pool, "avgpool": self._avg_pool,
            "route": self._route, "shortcut": self._shortcut, "scale_channels": self._product, "sam": self._product,
            "upsample": self._upsample, "softmax": self._softmax, "yolo": self._yolo, "region": self._region,
        }  # fmt: skip
        x = self._sketch.input
        for section in self._layers:
            if section.kind == "net":
                raise WeightsError(f"line {section.line}: expected one [net], got a second")
            try:
                with self._sketch.scope(f"layer{len(self._maps)}"):
                    x = kinds[section.kind](section, x) if section.kind in kinds else x
            except GraphError as error:
                raise WeightsError(f"line {section.line}: [{section.kind}] cannot be drawn: {error}") from None
            self._maps.append(x)
        outputs = dict.fromkeys([head.output for head in self._heads] or [x.name])
        graph = self._sketch.graph(*self._sketch.maps(*outputs)).up_to(*outputs)
        return DarknetNetwork(graph, tuple(self._heads))

    def _convolution(self, section: Section, x: Map) -> Map:
        s, kernel = self._sketch, section.number("size", 1, low=1, high=64)
        stride = self._stride(section)
        padding = kernel // 2 if section.number("pad", 0) else section.number("padding", 0, high=64)
        norm = bool(section.number("batch_normalize", 0))
        x = s.conv(
            "conv", x, section.number("filters", 1, low=1),
            kernel=kernel, stride=stride, padding=(padding,) * 4,
            dilation=section.number("dilation", 1, low=1, high=64),
            groups=section.number("groups", 1, low=1), bias=not norm,
        )  # fmt: skip
        return self._activation(section, s.norm("norm", x, eps=EPSILON) if norm else x, "logistic")

    def _stride(self, section: Section) -> tuple[int, int]:
        stride = section.number("stride", 1, low=1, high=64)
        return section.number("stride_y", stride, low=1, high=64), section.number("stride_x", stride, low=1, high=64)

    def _activation(self, section: Section, x: Map, default: str = "linear") -> Map:
        name = section.text("activation", default)
        if name not in _ACTIVATIONS:
            raise section.wrong("activation", f"one of {', '.join(_ACTIVATIONS)}")
        return self._sketch.act("act", x, _ACTIVATIONS[name], slope=_LEAKY_SLOPE if name == "leaky" else 0.01)

    def _max_pool(self, section: Section, x: Map) -> Map:
        stride = self._stride(section)
        kernel = section.number("size", stride[0], low=1, high=64)
        padding = section.number("padding", kernel - 1, high=64)
        sides = [_pool_pads(n, kernel, step, padding) for n, step in zip(x.shape[1:], stride, strict=True)]
        pads = (sides[0][0], sides[1][0], sides[0][1], sides[1][1])
        return self._sketch.max_pool("pool", x, kernel=kernel, stride=stride, padding=pads)

    def _avg_pool(self, _section: Section, x: Map) -> Map:
        return self._sketch.global_pool("pool", x)

    def _route(self, section: Section, _x: Map) -> Map:
        maps = [self._back(section, "layers", n) for n in section.numbers("layers", low=-MAX_LAYERS, high=MAX_LAYERS)]
        groups = section.number("groups", 1, low=1)
        group = section.number("group_id", 0, high=groups - 1)
        if groups > 1:
            if any(m.channels % groups for m in maps):
                raise section.wrong("groups", f"a divisor of {' and '.join(str(m.channels) for m in maps)} channels")
            maps = [
                self._sketch.slice(f"slice{i}", m, group * m.channels // groups, (group + 1) * m.channels // groups)
                for i, m in enumerate(maps)
            ]
        return self._sketch.concat("concat", *maps) if len(maps) > 1 else maps[0]

    def _back(self, section: Section, key: str, number: int) -> Map:
        place = len(self._maps) + number if number < 0 else number
        if not 0 <= place < len(self._maps):
            raise section.wrong(key, f"layers drawn before this one ({len(self._maps)})")
        return self._maps[place]

    def _shortcut(self, section: Section, x: Map) -> Map:
        sources = section.numbers("from", low=-MAX_LAYERS, high=MAX_LAYERS)
        others = [self._back(section, "from", number) for number in sources]
        if any(other.shape[1:] != x.shape[1:] for other in others):
            raise section.wrong("from", f"layers of the same size {x.shape[1]}×{x.shape[2]}")
        fitted = [self._with_channels(f"fit{i}", other, x.channels) for i, other in enumerate(others)]
        return self._activation(section, self._sketch.sum("add", x, *fitted))

    def _with_channels(self, name: str, x: Map, channels: int) -> Map:
        """The first channels, or zeros behind them: how Darknet adds maps of different depth."""
        if x.channels > channels:
            return self._sketch.slice(name, x, 0, channels)
        return x if x.channels == channels else self._sketch.pad_channels(name, x, 0, channels - x.channels)

    def _product(self, section: Section, x: Map) -> Map:
        other = self._back(section, "from", section.number("from", low=-MAX_LAYERS, high=MAX_LAYERS))
        return self._activation(section, self._sketch.mul("mul", other, x))

    def _upsample(self, section: Section, x: Map) -> Map:
        return self._sketch.resize("resize", x, section.number("stride", 2, low=1, high=16))

    def _softmax(self, section: Section, x: Map) -> Map:
        if section.number("groups", 1) != 1:
            raise section.wrong("groups", "1")
        return self._sketch.softmax("softmax", self._sketch.flatten("flatten", x))

    def _yolo(self, section: Section, x: Map) -> Map:
        pairs = self._anchors(section)
        chosen = section.numbers("mask", ",".join(map(str, range(len(pairs)))), high=len(pairs) - 1)
        if section.number("new_coords", 0):
            raise section.wrong("new_coords", "0")
        scale = section.floats("scale_x_y", "1")[0]
        return self._head(section, x, DarknetHead("yolo", x.name, tuple(pairs[i] for i in chosen), 0, scale))

    def _region(self, section: Section, x: Map) -> Map:
        if section.number("coords", 4) != 4:
            raise section.wrong("coords", "4")
        softmax = bool(section.number("softmax", 0))
        return self._head(section, x, DarknetHead("region", x.name, tuple(self._anchors(section)), 0, softmax=softmax))

    def _anchors(self, section: Section) -> list[tuple[float, float]]:
        values = section.floats("anchors")
        count = section.number("num", len(values) // 2, low=1)
        if len(values) != 2 * count or min(values) <= 0:
            raise section.wrong("anchors", f"{count} pairs of positive numbers (num={count})")
        return list(zip(values[::2], values[1::2], strict=True))

    def _head(self, section: Section, x: Map, head: DarknetHead) -> Map:
        classes = section.number("classes", 20, low=1)
        channels = len(head.anchors) * (5 + classes)
        if len(x.shape) != 3 or x.channels != channels:
            raise section.wrong(
                "classes", f"a number for which {len(head.anchors)} · (5 + classes) are {x.shape[0]} channels"
            )
        self._heads.append(DarknetHead(head.kind, head.output, head.anchors, classes, head.scale_xy, head.softmax))
        return x


def _pool_pads(size: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Darknet's padding of a pool: half before, rounded down, and behind what its last window needs."""
    windows = (size + padding - kernel) // stride + 1
    before = padding // 2
    return before, max((windows - 1) * stride + kernel - size - before, 0)
