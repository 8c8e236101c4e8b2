"""Loss and accuracy over the epochs, as one SVG that any browser shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyespot.learn.run import write_text
from eyespot.lower.sketch.svg import Box, Page, point

_WIDTH, _HEIGHT, _LEFT, _TOP, _BETWEEN = 360.0, 220.0, 56.0, 48.0, 76.0
_TRAIN, _HELD, _GREY = "#b0562b", "#20639b", "#d0d0d0"
_LINES = 4

Points = list[tuple[float, float]]


def write_curves(path: Path, events: Sequence[dict[str, Any]]) -> None:
    """Draws the epochs among a run's events; a probe is epoch 0. Nothing is written when there are none."""
    rows = [event for event in events if event["event"] in ("probe", "epoch")]
    if not rows:
        return
    page = Page(2 * (_WIDTH + _BETWEEN), _TOP + _HEIGHT + 52, title="A training run")
    losses = [("training, as the recipe counts it", _TRAIN, _points(rows, "loss"))]
    losses.append(("validation", _HELD, _points(rows, "val_loss")))
    _panel(page, Box(_LEFT, _TOP, _WIDTH, _HEIGHT), "loss", losses)
    right = Box(_LEFT + _WIDTH + _BETWEEN, _TOP, _WIDTH, _HEIGHT)
    top1 = [(x, 100 * y) for x, y in _points(rows, "top1")]
    _panel(page, right, "top-1 in %", [("validation", _HELD, top1)])
    write_text(path, page.to_text())


def _points(rows: Sequence[dict[str, Any]], key: str) -> Points:
    return [(float(row.get("epoch", 0)), float(row[key])) for row in rows if row.get(key) is not None]


def _panel(page: Page, box: Box, title: str, curves: list[tuple[str, str, Points]]) -> None:
    """One chart: axes, at most five lines across, and the curves."""
    shown = [value for *_, points in curves for value in points]
    last = max((x for x, _ in shown), default=0.0) or 1.0
    low, high = min((y for _, y in shown), default=0.0), max((y for _, y in shown), default=1.0)
    spread = (high - low) or max(abs(high), 1.0) * 0.1
    low, high = max(low - 0.05 * spread, 0.0), high + 0.05 * spread  # neither loss nor top-1 is ever negative

    def place(x: float, y: float) -> tuple[float, float]:
        return box.x + box.width * x / last, box.y + box.height * (1 - (y - low) / (high - low))

    page.text(box.x, box.y - 28, title, size=13, bold=True)
    for i in range(_LINES + 1):
        value = low + (high - low) * i / _LINES
        _, y = place(0, value)
        page.line(box.x, y, box.x + box.width, y, stroke=_GREY)
        page.text(box.x - 6, y + 4, f"{value:.3g}", size=11, anchor="end")
    for tick in sorted({0, round(last / 2), round(last)}):
        page.text(place(tick, low)[0], box.y + box.height + 16, f"{tick}", size=11, anchor="middle")
    page.text(box.x + box.width / 2, box.y + box.height + 34, "epoch", size=11, anchor="middle")
    at = box.x
    for name, colour, points in curves:
        places = [place(*value) for value in points]
        if len(places) > 1:
            page.path("M" + " L".join(point(*p) for p in places), stroke=colour, width=1.8)
        for (x, y), (epoch, value) in zip(places, points, strict=True):
            page.circle(x, y, 2.2, fill=colour, tip=f"epoch {epoch:g}: {value:.4g}")
        page.circle(at + 4, box.y - 12, 4, fill=colour)
        page.text(at + 12, box.y - 8, name, size=11)
        at += 12 + 6.2 * len(name) + 14
