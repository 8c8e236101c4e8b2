"""Accuracy against a cost (MACs, milliseconds) as an SVG: a point per network, those that none beats by name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from eyespot.bundle.listing import Listed
from eyespot.lower.sketch.svg import Box, Page, point, text_width

_WIDTH, _HEIGHT = 1000.0, 640.0
_AREA = Box(64, 56, 730, 520)
_LABEL = 11.0
# Twelve colours that differ in lightness too; families beyond them take the same colours as squares.
_COLOURS = (
    "#0b6fa4", "#e07b00", "#2a8f3c", "#b3261e", "#7b4fb5", "#8a5a2b",
    "#d6499a", "#5f6b73", "#a3a800", "#14a3a8", "#1f2f8f", "#f2a69b",
)  # fmt: skip


class Point(NamedTuple):
    """A network that can be drawn: it has a cost (on its sheet's axis) and a top-1 in per cent."""

    name: str
    variant: str
    side: int
    family: str
    cost: float
    top1: float


class Sheet(NamedTuple):
    """What is drawn against what. in_words: a cost as it stands on the axis and in tips.

    limit: a cost that may not be exceeded, drawn as a line; chosen: the name of the point that gets a ring.
    """

    heading: str
    label: str
    in_words: Callable[[float], str]
    limit: float | None = None
    limit_name: str = ""
    chosen: str | None = None


def _macs(value: float) -> str:
    return f"{value / 1e9:g} G" if value >= 1e9 else f"{value / 1e6:g} M"


MACS = Sheet(
    "ImageNet-1K top-1, as published, against multiply-accumulates", "MACs for one picture (logarithmic)", _macs
)


def plotted(rows: Sequence[Listed]) -> list[Point]:
    """The rows that have both numbers."""
    return [
        Point(row.name, row.variant, row.input[0], row.family, row.macs, row.imagenet_top1)
        for row in rows
        if row.macs and row.imagenet_top1 is not None
    ]


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other equals or beats in cost while being as accurate, the cheapest first."""
    best: list[Point] = []
    for p in sorted(points, key=lambda p: (p.cost, -p.top1)):
        if not best or p.top1 > best[-1].top1:
            best.append(p)
    return best


def plot(points: Sequence[Point], sheet: Sheet = MACS) -> str:
    """The drawing, for one point or more."""
    page = Page(_WIDTH, _HEIGHT, title=sheet.heading)
    page.text(_AREA.x, 30, sheet.heading, size=17, bold=True)
    axes = _Axes(points, sheet)
    axes.draw(page)
    best = front(points)
    steps = [f"M{point(axes.x(best[0].cost), axes.y(best[0].top1))}"]
    steps += [f"H{axes.x(p.cost):.1f} V{axes.y(p.top1):.1f}" for p in best[1:]]
    page.path(f"{' '.join(steps)} H{_AREA.x + _AREA.width:.1f}", stroke="#222222", width=1.2)
    families = list(dict.fromkeys(p.family for p in points))
    for p in sorted(points, key=lambda p: p in best):
        x, y, tip = axes.x(p.cost), axes.y(p.top1), f"{p.name}: {p.top1:g} % at {sheet.in_words(p.cost)}"
        _marker(page, x, y, families.index(p.family), tip, bold=p in best)
        if p.name == sheet.chosen:
            page.circle(x, y, 10, fill="none", stroke="#b3261e", tip=f"chosen: {p.name}")
    _labels(page, axes, points, best)
    _families(page, families)
    return page.to_text()


class _Axes:
    """Where numbers lie on the page: the cost on a logarithmic axis, per cent on a straight one."""

    def __init__(self, points: Sequence[Point], sheet: Sheet) -> None:
        self.sheet = sheet
        costs, top1 = [p.cost for p in points], [p.top1 for p in points]
        costs += [] if sheet.limit is None else [sheet.limit]
        self.low, self.high = math.log10(min(costs)) - 0.08, math.log10(max(costs)) + 0.12
        self.bottom, self.top = math.floor(min(top1) - 1), math.ceil(max(top1) + 1)

    def x(self, cost: float) -> float:
        return _AREA.x + _AREA.width * (math.log10(cost) - self.low) / (self.high - self.low)

    def y(self, top1: float) -> float:
        return _AREA.y + _AREA.height * (self.top - top1) / (self.top - self.bottom)

    def draw(self, page: Page) -> None:
        bottom, right = _AREA.y + _AREA.height, _AREA.x + _AREA.width
        for cost in self._ticks():
            page.line(self.x(cost), _AREA.y, self.x(cost), bottom, stroke="#e3e3e3")
            page.text(self.x(cost), bottom + 18, self.sheet.in_words(cost), anchor="middle", fill="#555555")
        step = next(s for s in (0.5, 1, 2, 5, 10, 20) if (self.top - self.bottom) / s <= 12)
        for i in range(math.ceil(self.bottom / step), math.floor(min(self.top, 100) / step) + 1):
            page.line(_AREA.x, self.y(i * step), right, self.y(i * step), stroke="#e3e3e3")
            page.text(_AREA.x - 8, self.y(i * step) + 4, f"{i * step:g}", anchor="end", fill="#555555")
        page.line(_AREA.x, bottom, right, bottom, stroke="#888888")
        page.line(_AREA.x, _AREA.y, _AREA.x, bottom, stroke="#888888")
        page.text((_AREA.x + right) / 2, bottom + 44, self.sheet.label, anchor="middle", size=13)
        page.text(20, (_AREA.y + bottom) / 2, "top-1, %", anchor="middle", size=13, turned=True)
        if self.sheet.limit is not None:
            at = self.x(self.sheet.limit)
            page.line(at, _AREA.y, at, bottom, stroke="#b3261e", width=1.4, dashed=True)
            page.text(at, _AREA.y - 6, self.sheet.limit_name, anchor="middle", fill="#b3261e")

    def _ticks(self) -> Iterator[float]:
        decades = self.high - self.low
        digits: tuple[float, ...] = (1, 2, 5) if decades < 4 else (1,)
        digits = (1, 1.5, 2, 3, 4, 5, 6, 8) if decades < 0.8 else digits
        for exponent in range(math.floor(self.low), math.ceil(self.high) + 1):
            for digit in digits:
                value = digit * 10.0**exponent
                if self.low <= math.log10(value) <= self.high:
                    yield value


def _marker(page: Page, x: float, y: float, number: int, tip: str, *, bold: bool) -> None:
    colour, square = _COLOURS[number % len(_COLOURS)], number >= len(_COLOURS)
    radius, edge = (5.0, "#222222") if bold else (4.0, "#ffffff")
    if square:
        page.rect(Box(x - radius, y - radius, 2 * radius, 2 * radius), fill=colour, stroke=edge, tip=tip)
    else:
        page.circle(x, y, radius, fill=colour, stroke=edge, tip=tip)


def _labels(page: Page, axes: _Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Names each point of the front where nothing else is; the nearest free place, with a line to it when it is far."""
    taken = [Box(axes.x(p.cost) - 5, axes.y(p.top1) - 5, 10, 10) for p in points]
    for before, after in pairwise(best):  # the front's own steps
        x1, y1, x2, y2 = axes.x(before.cost), axes.y(before.top1), axes.x(after.cost), axes.y(after.top1)
        taken += [Box(x1, y1, x2 - x1, 0), Box(x2, y2, 0, y1 - y2)]
    area = Box(_AREA.x, _AREA.y - 12, _AREA.width + 8, _AREA.height + 8)
    placed: list[Box] = []
    repeated = Counter(p.variant for p in best)
    for p in sorted(best, key=lambda p: -p.cost):
        x, y = axes.x(p.cost), axes.y(p.top1)
        name = p.variant if repeated[p.variant] == 1 else f"{p.variant} at {p.side}"
        for box in _places(x, y, text_width(name, _LABEL), _LABEL):
            on_the_way = [Box(*spot, 0, 0) for spot in _between((x, y), _nearest_spot(box, x, y))]
            free = box.inside(area) and not any(box.overlaps(other, 2) for other in (*taken, *placed))
            if free and not any(spot.overlaps(other, 1) for spot in on_the_way for other in placed):
                placed += [box, *on_the_way]
                _label(page, box, x, y, name)
                break  # where no place is free, the point's tip still says its name


def _label(page: Page, box: Box, x: float, y: float, name: str) -> None:
    near_x, near_y = _nearest_spot(box, x, y)
    if math.hypot(near_x - x, near_y - y) > 14:
        page.line(x, y, near_x, near_y, stroke="#999999", width=0.8)
    leftwards = box.x + box.width / 2 < x  # the end that is near the point is exact; the other depends on the font
    at = box.x + box.width if leftwards else box.x
    page.text(at, box.y + box.height - 2, name, size=_LABEL, anchor="end" if leftwards else "start")


def _nearest_spot(box: Box, x: float, y: float) -> tuple[float, float]:
    return min(max(x, box.x), box.x + box.width), min(max(y, box.y), box.y + box.height)


def _between(start: tuple[float, float], end: tuple[float, float]) -> Iterator[tuple[float, float]]:
    for i in range(20):
        yield start[0] + (end[0] - start[0]) * i / 20, start[1] + (end[1] - start[1]) * i / 20


def _places(x: float, y: float, width: float, height: float) -> Iterator[Box]:
    """Places for a label around a point, the upper left first: there is no better network there to be in the way."""
    for distance in range(8, 300, 6):
        for angle in (150, 180, 120, 90, 210, 60, 30, 0, 330, 270, 300, 240):
            dx, dy = distance * math.cos(math.radians(angle)), -distance * math.sin(math.radians(angle))
            left = x + dx - width if dx < -1 else x + dx if dx > 1 else x + dx - width / 2
            yield Box(left, y + dy - (height if dy < -1 else height / 2 if abs(dy) <= 1 else 0), width, height)


def _families(page: Page, families: Sequence[str]) -> None:
    x, y = _AREA.x + _AREA.width + 30, _AREA.y + 8
    for number, family in enumerate(families):
        _marker(page, x, y + 20 * number - 4, number, "", bold=False)
        page.text(x + 12, y + 20 * number, family, fill="#333333")
    page.line(x - 6, y + 20 * len(families) - 4, x + 6, y + 20 * len(families) - 4, stroke="#222222", width=1.2)
    page.text(x + 12, y + 20 * len(families), "Pareto front", fill="#333333")
