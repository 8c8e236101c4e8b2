"""The drawings of a report, as SVG inside its page: colours come from the page's style, in dark mode too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from eyespot.accuracy.abstain import Abstention
from eyespot.accuracy.calibrate import Bin
from eyespot.accuracy.interval import wilson

Point = tuple[float, float]
_WIDTH, _HEIGHT = 360, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 10, 42
_FINEST = 0.5  # pixels; nearer points of a curve are left out


class Axes(NamedTuple):
    """What the drawing's area shows: shares from ``low`` to 1 upwards, 0 to 1 across."""

    low: float = 0.0

    def x(self, share: float) -> float:
        """Pixels from the left."""
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, share: float) -> float:
        """Pixels from the top."""
        return _TOP + (1 - (share - self.low) / (1 - self.low)) * (_HEIGHT - _TOP - _BOTTOM)

    def ticks(self) -> list[float]:
        """Four to seven round shares from ``low`` to 1."""
        step = next(s for s in (0.2, 0.1, 0.05, 0.02, 0.01) if (1 - self.low) / s >= 3.5 or s == 0.01)
        return [1 - i * step for i in range(int((1 - self.low) / step + 1.5)) if 1 - i * step > self.low - 1e-9]


def reliability_chart(bins: Sequence[Bin]) -> str:
    """Accuracy against confidence, with the interval of each bin; below, how many pictures each bin has."""
    axes = Axes()
    most = max((b.pictures for b in bins), default=0) or 1
    parts = []
    for b in bins:
        if not b.pictures:
            continue
        left, right = axes.x(b.low) + 1, axes.x(b.high) - 1
        low, high = wilson(round(b.accuracy * b.pictures), b.pictures)
        middle = axes.x(b.confidence)
        tip = f"{b.pictures} pictures, {b.confidence:.1%} sure on average, {b.accuracy:.1%} right"
        parts.append(
            f'<g><title>{tip}</title><rect class="column" x="{_n(left)}" y="{_n(axes.y(b.accuracy))}" '
            f'width="{_n(right - left)}" height="{_n(axes.y(0) - axes.y(b.accuracy))}"/>'
            f'<path class="spread" d="M{_n(middle)} {_n(axes.y(low))}V{_n(axes.y(high))}"/></g>'
        )
    parts.append(_line([(0, 0), (1, 1)], axes, "ideal"))
    columns = "".join(
        f'<rect class="column" x="{_n(axes.x(b.low) + 1)}" width="{_n(axes.x(b.high) - axes.x(b.low) - 2)}" '
        f'y="{_n(54 - 48 * b.pictures / most)}" height="{_n(48 * b.pictures / most)}"/>'
        for b in bins
    )
    label = f"{most:,}"
    below = (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} 76" role="img" aria-label="How many pictures have which confidence">'
        f'<path class="axis" d="M{_LEFT} 54H{_WIDTH - _RIGHT}"/>{columns}'
        f'<text x="{_LEFT - 6}" y="14" text-anchor="end">{label}</text>'
        f'<text x="{_n(axes.x(0.5))}" y="72" text-anchor="middle">pictures by confidence</text></svg>'
    )
    title = "How often answers are right, against how sure they are"
    return _chart(title, axes, parts, across="confidence", upwards="right") + below


def coverage_chart(steps: Sequence[Abstention], *, chosen: Abstention | None, stored: Abstention | None) -> str:
    """Precision of the answers that are given, against how many are given, with a 95 % band.

    chosen and stored are marked, with a disc and with a ring.
    """
    spans = [(step.coverage, step.precision, *step.precision_interval) for step in steps]
    floor = min((low for coverage, _, low, _ in spans if coverage >= 0.05), default=0.0)
    axes = Axes(min(math.floor(floor * 20) / 20, 0.95))
    upper = _thinned([(coverage, high) for coverage, _, _, high in spans], axes)
    lower = _thinned([(coverage, max(low, axes.low)) for coverage, _, low, _ in spans], axes)
    parts = []
    if spans:
        outline = [*upper, *reversed(lower)]
        parts.append(f'<path class="band" d="{_path(outline, axes)}Z"/>')
        parts.append(_line([(coverage, max(middle, axes.low)) for coverage, middle, _, _ in spans], axes, "first"))
    for mark, css in ((chosen, "mark"), (stored, "mark open")):
        if mark and mark.precision >= axes.low:
            tip = f"from {mark.threshold:.3f} on: {mark.coverage:.1%} answered, {mark.precision:.1%} of them right"
            parts.append(
                f'<circle class="{css}" cx="{_n(axes.x(mark.coverage))}" cy="{_n(axes.y(mark.precision))}" r="6">'
                f"<title>{tip}</title></circle>"
            )
    title = "Precision against the share of pictures that get an answer"
    return _chart(title, axes, parts, across="share of pictures answered", upwards="answers right")


def curve_chart(title: str, first: Sequence[Point], second: Sequence[Point] = (), *, across: str, upwards: str) -> str:
    """One curve or two, the second dashed; from the same plain axes."""
    axes = Axes()
    parts = [_line(first, axes, "first")]
    if second:
        parts.append(_line(second, axes, "second"))
    else:
        parts.insert(0, _line([(0, 0), (1, 1)], axes, "ideal"))
    return _chart(title, axes, parts, across=across, upwards=upwards)


def whisker(share: float, low: float, high: float) -> str:
    """A share on a line from 0 to 1, with its interval."""
    return (
        f'<svg class="whisker" viewBox="0 0 200 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" y="4" width="200" height="4" rx="2"/>'
        f'<rect class="filled" y="4" width="{_n(200 * share)}" height="4" rx="2"/>'
        f'<path class="spread" d="M{_n(200 * low)} 1V11M{_n(200 * high)} 1V11M{_n(200 * low)} 6H{_n(200 * high)}" '
        f'vector-effect="non-scaling-stroke"/></svg>'
    )


def _chart(title: str, axes: Axes, parts: Iterable[str], *, across: str, upwards: str) -> str:
    grid = []
    for share in axes.ticks():
        y = axes.y(share)
        grid.append(f'<path class="axis" d="M{_LEFT} {_n(y)}H{_WIDTH - _RIGHT}"/>')
        grid.append(f'<text x="{_LEFT - 6}" y="{_n(y + 4)}" text-anchor="end">{_percent(share)}</text>')
    for share in Axes().ticks():
        x = axes.x(share)
        grid.append(f'<text x="{_n(x)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_percent(share)}</text>')
    grid.append(f'<text x="{_n(axes.x(0.5))}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>')
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    grid.append(
        f'<text transform="translate(11 {_n(middle)}) rotate(-90)" text-anchor="middle">{escape(upwards)}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(grid)
        + "".join(parts)
        + "</svg>"
    )


def _line(points: Sequence[Point], axes: Axes, css: str) -> str:
    return f'<path class="{css}" d="{_path(_thinned(points, axes), axes)}"/>'


def _path(points: Sequence[Point], axes: Axes) -> str:
    return "M" + "L".join(f"{_n(axes.x(x))} {_n(axes.y(y))}" for x, y in points)


def _thinned(points: Sequence[Point], axes: Axes) -> list[Point]:
    """The points that make a difference: not on the way from their neighbours, nor nearer than can be seen."""
    kept: list[Point] = []
    for i, point in enumerate(points):
        if kept and i + 1 < len(points):
            (x0, y0), (x, y), (x1, y1) = ((axes.x(p[0]), axes.y(p[1])) for p in (kept[-1], point, points[i + 1]))
            if math.hypot(x - x0, y - y0) < _FINEST:
                continue
            turn = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)
            ahead = (x - x0) * (x1 - x) + (y - y0) * (y1 - y) > 0
            if ahead and abs(turn) < 1e-6:
                continue
        kept.append(point)
    return kept


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _n(value: float) -> str:
    return f"{round(value, 2):g}"
