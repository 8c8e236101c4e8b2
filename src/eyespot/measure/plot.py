"""Every sample of some measurements as an SVG: a dot for each, the median, p95, and where most of them lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from eyespot.core.timing import Measurement, Samples
from eyespot.lower.sketch.svg import Page, point, text_width

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 1000.0, 36.0, 36.0, 64.0, 104.0
_COLOURS = ("#0b6fa4", "#e07b00", "#2a8f3c", "#b3261e", "#7b4fb5", "#8a5a2b")
_BINS = 120
_GOLDEN = 0.618034  # multiples of it, without their whole part, fill a band evenly and in no visible order


def plot(found: Sequence[Measurement]) -> str:
    """The drawing: two rows for each measurement, all on one logarithmic axis of milliseconds."""
    rows = [
        (number, f"{one.bundle}, {one.precision}, {one.runtime}: {name}", samples)
        for number, one in enumerate(found)
        for name, samples in (("network alone", one.network), ("JPEG to label", one.latency))
        if samples is not None
    ]
    height = _TOP + _ROW * len(rows) + 56
    page = Page(_WIDTH, height, title="Latency of one picture, every sample")
    page.text(_LEFT, 30, "Latency of one picture, every sample", size=17, bold=True)
    first = found[0]
    where = (
        f"{first.machine.processor}, {first.machine.cores} cores, {first.threads} threads; line: median; dashes: p95"
    )
    page.text(_LEFT, 48, f"{where}; line: median, dashes: p95", fill="#555555")
    axis = _Axis([samples for _, _, samples in rows], height - 52)
    axis.draw(page)
    for at, (number, title, samples) in enumerate(rows):
        _row(page, axis, _TOP + _ROW * at, title, samples, _COLOURS[number % len(_COLOURS)])
    return page.to_text()


class _Axis:
    """Where milliseconds lie across the page; logarithmic, so that equal ratios are equal distances."""

    def __init__(self, samples: Sequence[Samples], bottom: float) -> None:
        low = min(min(each.values) for each in samples)
        high = max(1e-9, *(max(each.values) for each in samples))
        low = max(low, high * 1e-6, 1e-9)
        margin = max(0.03 * math.log10(high / low), 0.01)
        self.low, self.high = math.log10(low) - margin, math.log10(high) + margin
        self.bottom = bottom

    def x(self, milliseconds: float) -> float:
        share = (math.log10(max(milliseconds, 10**self.low)) - self.low) / (self.high - self.low)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share

    def draw(self, page: Page) -> None:
        free = 0.0
        for value in self._ticks():
            x, name = self.x(value), f"{value:.6g}"
            page.line(x, _TOP, x, self.bottom, stroke="#e3e3e3")
            if x - text_width(name, 12) / 2 > free:
                page.text(x, self.bottom + 18, name, anchor="middle", fill="#555555")
                free = x + text_width(name, 12) / 2 + 6
        page.line(_LEFT, self.bottom, _WIDTH - _RIGHT, self.bottom, stroke="#888888")
        page.text(_WIDTH / 2, self.bottom + 40, "milliseconds (logarithmic)", anchor="middle", size=13)

    def _ticks(self) -> Iterator[float]:
        """Round numbers, 5 to 15 of them however narrow the range."""
        if self.high - self.low > 0.8:
            digits = (1.0, 2.0, 5.0) if self.high - self.low < 4 else (1.0,)
            for exponent in range(math.floor(self.low), math.ceil(self.high) + 1):
                yield from (d * 10.0**exponent for d in digits if self.low <= math.log10(d) + exponent <= self.high)
            return
        low, high = 10**self.low, 10**self.high
        rough = (high - low) / 8
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        yield from (step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1))


def _row(page: Page, axis: _Axis, top: float, title: str, samples: Samples, colour: str) -> None:
    page.text(_LEFT, top + 18, title, size=13, bold=True)
    figures = (
        f"median {samples.median:.3g} ms, MAD {samples.mad:.2g}, p95 {samples.p95:.3g}, {len(samples.values)} runs"
    )
    page.text(_WIDTH - _RIGHT, top + 18, figures, anchor="end", fill="#333333")
    base = top + 64
    page.path(_density(axis, samples, base, 38), fill="#e6eaed", stroke="#b8c2c9", width=0.8)
    for at, value in enumerate(samples.values):
        y = base + 6 + 24 * (at * _GOLDEN % 1)
        page.circle(axis.x(value), y, 1.8, fill=colour, tip=f"{value:.4g} ms, run {at + 1}")
    for value, dashed in ((samples.median, False), (samples.p95, True)):
        page.line(axis.x(value), base - 38, axis.x(value), base + 32, stroke="#222222", width=1.2, dashed=dashed)
    page.line(_LEFT, top + _ROW - 2, _WIDTH - _RIGHT, top + _ROW - 2, stroke="#f0f0f0")


def _density(axis: _Axis, samples: Samples, base: float, height: float) -> str:
    """The outline of how many samples lie where, smoothed over three bins."""
    counts = [0] * _BINS
    width = (_WIDTH - _LEFT - _RIGHT) / _BINS
    for value in samples.values:
        counts[min(int((axis.x(value) - _LEFT) / width), _BINS - 1)] += 1
    padded = [0, *counts, 0]
    smooth = [padded[i] + 2 * padded[i + 1] + padded[i + 2] for i in range(_BINS)]
    most = max(smooth)
    spots = [point(_LEFT + width * (i + 0.5), base - height * n / most) for i, n in enumerate(smooth)]
    return f"M{point(_LEFT, base)} L{' L'.join(spots)} L{point(_WIDTH - _RIGHT, base)} Z"
