"""Compound scaling (Tan and Le 2019, arXiv 1905.11946, section 3.3): depth, width and resolution grow together.

``scaled`` draws any family at a step of EfficientNet's ladder; ``search`` finds the network that spends a budget with
the three in balance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from eyespot.arch.catalogue import FAMILIES, draw, variant, variants
from eyespot.arch.variant import Size
from eyespot.core.cost import Cost, cost
from eyespot.core.graph import Graph
from eyespot.core.ops import Conv2d
from eyespot.errors import GraphError, UsageError

Family = str | Callable[..., Graph]  # a family or variant of the catalogue, or a function that draws

DEPTH, WIDTH, RESOLUTION = 1.2, 1.1, 1.15  # α, β, γ of the paper: by how much one step of φ multiplies each
# What one step of φ multiplies a cost by: MACs α · β² · γ², parameters α · β², the largest maps β · γ².
GROWTH = {
    "macs": DEPTH * WIDTH**2 * RESOLUTION**2,
    "parameters": DEPTH * WIDTH**2,
    "peak_activation_bytes": WIDTH * RESOLUTION**2,
}
CHOICES = 10  # values of each of the three that a search tries: a thousand networks
_STEPS = {"width": 0.05, "depth": 0.1, "size": 16.0}  # between those values


class Coefficients(NamedTuple):
    """Multipliers of width and depth, and the side of the picture for a network whose own is 224."""

    width: float
    depth: float
    size: int


# B0 to B7 as the authors published them (tensorflow/tpu, efficientnet_builder.py). α, β and γ alone do not give them:
# they were rounded by hand, and the larger ones are less deep than the formula has it (B7: 1.2⁷ = 3.6).
PUBLISHED = (
    Coefficients(width=1.0, depth=1.0, size=224),
    Coefficients(width=1.0, depth=1.1, size=240),
    Coefficients(width=1.1, depth=1.2, size=260),
    Coefficients(width=1.2, depth=1.4, size=300),
    Coefficients(width=1.4, depth=1.8, size=380),
    Coefficients(width=1.6, depth=2.2, size=456),
    Coefficients(width=1.8, depth=2.6, size=528),
    Coefficients(width=2.0, depth=3.1, size=600),
)


class Candidate(NamedTuple):
    """A network that keeps to a budget: ``draw(name, arguments)`` draws it.

    unused: how many steps of φ larger it could be by its tightest budget. imbalance: how many steps the farthest of
    depth, width and resolution lies from the middle.
    """

    width: float
    depth: float
    size: int
    cost: Cost
    unused: float
    imbalance: float

    @property
    def loss(self) -> float:
        """What the best has least of."""
        return self.unused + self.imbalance

    @property
    def arguments(self) -> dict[str, object]:
        """Keywords of the family's function, over the variant's own."""
        return {"width": self.width, "depth": self.depth, "size": self.size}


class Found(NamedTuple):
    """What a search found, the best first, of ``weighed`` networks. name: the variant whose arguments they change."""

    name: str
    candidates: tuple[Candidate, ...]
    weighed: int


def coefficients(phi: float) -> Coefficients:
    """The step φ of EfficientNet's ladder, counted as its names are: φ = 0 to 7 are B0 to B7, exactly.

    Between two published steps each coefficient grows geometrically, beyond them by α, β and γ.
    """
    if not math.isfinite(phi):
        raise UsageError(f"phi is {phi}; give a number, such as 0 to 7")
    low = min(max(math.floor(phi), 0), len(PUBLISHED) - 1)
    base, rest = PUBLISHED[low], phi - low
    if rest > 0 and low + 1 < len(PUBLISHED):
        following = PUBLISHED[low + 1]
        growth = [after / before for before, after in zip(base, following, strict=True)]
    else:
        growth = [WIDTH, DEPTH, RESOLUTION]
    width, depth, size = (value * g**rest for value, g in zip(base, growth, strict=True))
    return Coefficients(round(width, 3), round(depth, 3), _multiple(size, 4))


def scaled(family: Family, *, phi: float, arguments: Mapping[str, object] = {}) -> Graph:
    """The family at step φ: ``scaled("efficientnet", phi=3)`` is B3's network, ``scaled("mobilenet_v2", phi=-1.5)`` a
    light MobileNetV2. The coefficients multiply the family's (or the variant's) own width, depth and size.

    arguments: keywords of the family's function, over its own; of width, depth and size they are what is multiplied.
    UsageError for a family that has no width, depth and size.
    """
    base = _Base.of(family, arguments)
    step = coefficients(phi)
    size = tuple(_multiple(side * step.size / PUBLISHED[0].size, 4) for side in base.sides)
    by_phi = {"width": base.width * step.width, "depth": base.depth * step.depth, "size": size}
    return base.function(**{**base.arguments, **by_phi})


def search(
    family: Family,
    *,
    macs: float | None = None,
    parameters: float | None = None,
    peak_bytes: float | None = None,
    arguments: Mapping[str, object] = {},
    count: int = 10,
) -> Found:
    """The ``count`` best networks of a family that keep to every budget given.

    Budgets: MACs and peak float32 activation bytes of one picture, trained parameters. A thousand networks around the
    point where φ spends the budget are weighed, with round numbers for width, depth and size. Depth counts as the
    convolutions that are really there, and of depths that draw the same blocks one is weighed. UsageError without a
    budget, for one that no network of the family keeps to, or for a family that cannot be scaled.
    """
    budgets = {"macs": macs, "parameters": parameters, "peak_activation_bytes": peak_bytes}
    limits = {name: float(limit) for name, limit in budgets.items() if limit is not None}
    if not limits or not all(math.isfinite(limit) and limit > 0 for limit in limits.values()):
        raise UsageError("a search needs a budget above zero: of MACs, of parameters, or of bytes of memory")
    base = _Base.of(family, arguments)
    phi = _phi_of(base, limits)
    widths = _around(base.width * WIDTH**phi, _STEPS["width"])
    depths = _around(base.depth * DEPTH**phi, _STEPS["depth"])
    sizes = [int(size) for size in _around(base.side * RESOLUTION**phi, _STEPS["size"])]
    points = sorted(_points(base, widths, depths, sizes))
    best: list[Candidate] = []
    beyond: list[_Point] = []
    for point in points:
        if len(best) >= count and point.imbalance >= best[count - 1].loss:
            break  # what follows is less balanced than the last of the best is bad
        if any(point.holds(other) for other in beyond):
            continue
        graph = base.draw(point.width, point.depth, point.size)
        if graph is None:
            continue
        spent = cost(graph)
        unused = _unused(spent, limits)
        if unused < 0:
            beyond.append(point)
        else:
            best.append(Candidate(point.width, point.depth, point.size, spent, unused, point.imbalance))
            best.sort(key=lambda candidate: candidate.loss)
    if not best:
        wanted = ", ".join(f"{limit:,.0f} {name.replace('_', ' ')}" for name, limit in limits.items())
        raise UsageError(f"no {base.name} of those weighed keeps to {wanted}; give a larger budget or another family")
    return Found(base.name, tuple(best[:count]), len(widths) * len(depths) * len(sizes))


class _Point(NamedTuple):
    """A network that may be tried; the most balanced sort first."""

    imbalance: float
    width: float
    depth: float
    size: int

    def holds(self, other: _Point) -> bool:
        """Whether it is at least as large in everything, and so costs at least as much."""
        return self.width >= other.width and self.depth >= other.depth and self.size >= other.size


def _points(base: _Base, widths: list[float], depths: list[float], sizes: list[int]) -> Iterator[_Point]:
    layers = base.convolutions(base.depth)
    distinct: dict[int, float] = {}
    for depth in sorted(depths, key=lambda depth: abs(depth - base.depth)):
        distinct.setdefault(base.convolutions(depth), depth)
    for width, (there, depth), size in itertools.product(widths, distinct.items(), sizes):
        steps = (
            math.log(width / base.width, WIDTH),
            math.log(there / layers, DEPTH),
            math.log(size / base.side, RESOLUTION),
        )
        yield _Point((max(steps) - min(steps)) / 2, width, depth, size)


class _Base(NamedTuple):
    """A family as it stands, before scaling."""

    name: str
    function: Callable[..., Graph]
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, family: Family, arguments: Mapping[str, object] = {}) -> _Base:
        if callable(family):
            base = cls(getattr(family, "__name__", "the network"), family, arguments)
        elif family in FAMILIES:
            base = cls.of(_plain(family), arguments)
        else:
            v = variant(family)
            base = cls(family, v.function, {**v.arguments, **arguments})
        if not _scales(base.function):
            names = dict.fromkeys(v.family for v in variants().values() if _scales(v.function))
            raise UsageError(
                f"{base.name} takes no width, depth and size, so it cannot be scaled; these can: {', '.join(names)}"
            )
        if isinstance(family, str):
            draw(base.name, arguments)  # refuses arguments that the family does not take
        return base

    def _own(self, name: str) -> Any:
        defaults: Mapping[str, Any] = self.function.__kwdefaults__ or {}
        return self.arguments.get(name, defaults[name])

    @property
    def width(self) -> float:
        return float(self._own("width"))

    @property
    def depth(self) -> float:
        return float(self._own("depth"))

    @property
    def sides(self) -> tuple[int, int]:
        size: Size = self._own("size")
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def side(self) -> float:
        """Of the square with as many pixels."""
        return math.sqrt(math.prod(self.sides))

    def draw(self, width: float, depth: float, size: int) -> Graph | None:
        """None for a picture or a width too small for the network."""
        try:
            return self.function(**{**self.arguments, "width": width, "depth": depth, "size": size})
        except GraphError:
            return None

    def convolutions(self, depth: float) -> int:
        """Of the network at this depth and its own width and size."""
        graph = self.draw(self.width, depth, round(self.side))
        return sum(isinstance(node.op, Conv2d) for node in graph.nodes) if graph else 1


def _plain(family: str) -> str:
    """The variant that a family's function draws by itself, or else its first."""
    rows = [v for v in variants().values() if v.family == family]
    plain = (v for v in rows if v.arguments.items() <= (v.function.__kwdefaults__ or {}).items())
    return next(plain, rows[0]).name


def _scales(function: Callable[..., Graph]) -> bool:
    """A depth that is a multiplier, that is; ResNet's counts layers."""
    defaults = getattr(function, "__kwdefaults__", None) or {}
    return "size" in defaults and all(isinstance(defaults.get(name), float) for name in ("width", "depth"))


def _phi_of(base: _Base, limits: Mapping[str, float]) -> float:
    """The φ at which depth, width and resolution together spend the tightest budget, to a hundredth of a step."""
    low, high = -20.0, 20.0
    while high - low > 0.01:
        phi = (low + high) / 2
        size = max(1, round(base.side * RESOLUTION**phi))
        graph = base.draw(base.width * WIDTH**phi, base.depth * DEPTH**phi, size)
        if graph is not None and _unused(cost(graph), limits) < 0:
            high = phi
        else:
            low = phi
    return low


def _unused(spent: Cost, limits: Mapping[str, float]) -> float:
    """How many steps of φ the tightest budget leaves; negative beyond it."""
    return min(
        math.log(limit / max(1, getattr(spent, name))) / math.log(GROWTH[name]) for name, limit in limits.items()
    )


def _around(value: float, step: float) -> list[float]:
    """``CHOICES`` round numbers, whole steps, of which ``value`` lies in the middle; all above zero."""
    first = max(1, round(value / step) - CHOICES // 2)
    return [round(i * step, 6) for i in range(first, first + CHOICES)]


def _multiple(value: float, step: int) -> int:
    return max(step, round(value / step) * step)
