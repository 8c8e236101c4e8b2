"""Writes SVG: shapes and text in pixels from the top left, no fonts or scripts of its own."""

from __future__ import annotations

from html import escape
from typing import Literal, NamedTuple

FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
_NARROW, _WIDE = set("fijltrI.,:;'|![]() -1"), set("mwMW%@×→")


class Box(NamedTuple):
    """A rectangle on the page."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box, gap: float = 0.0) -> bool:
        """Whether the two share a point, or come nearer than ``gap``."""
        return (
            self.x < other.x + other.width + gap
            and other.x < self.x + self.width + gap
            and self.y < other.y + other.height + gap
            and other.y < self.y + self.height + gap
        )

    def inside(self, other: Box) -> bool:
        """Whether it lies in the other."""
        return (
            self.x >= other.x
            and self.y >= other.y
            and self.x + self.width <= other.x + other.width
            and self.y + self.height <= other.y + other.height
        )


def text_width(text: str, size: float) -> float:
    """About how wide a text is; rather more than less, since the reader's font is not known."""
    return size * sum(0.4 if c in _NARROW else 0.92 if c in _WIDE else 0.64 for c in text)


class Page:
    """A drawing in the making; things drawn later lie above."""

    def __init__(self, width: float, height: float, *, title: str) -> None:
        self.width, self.height = width, height
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}" '
            f'viewBox="0 0 {_n(width)} {_n(height)}" font-family="{FONT}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{_n(width)}" height="{_n(height)}" fill="#ffffff"/>',
        ]

    def rect(
        self, box: Box, *, fill: str, stroke: str = "none", radius: float = 0.0, opacity: float = 1.0, tip: str = ""
    ) -> None:
        """A rectangle; ``tip`` is shown when the pointer rests on it."""
        self._parts.append(
            f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}" '
            f'rx="{_n(radius)}" fill="{fill}" fill-opacity="{opacity:g}" stroke="{stroke}"' + _tipped("rect", tip)
        )

    def circle(self, x: float, y: float, radius: float, *, fill: str, stroke: str = "none", tip: str = "") -> None:
        """A circle."""
        self._parts.append(
            f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}" stroke="{stroke}"'
            + _tipped("circle", tip)
        )

    def path(
        self, commands: str, *, stroke: str = "none", fill: str = "none", width: float = 1.0, dashed: bool = False
    ) -> None:
        """A path in SVG's own commands; ``point`` formats a coordinate."""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._parts.append(f'<path d="{commands}" stroke="{stroke}" fill="{fill}" stroke-width="{width:g}"{dash}/>')

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, stroke: str, width: float = 1.0, dashed: bool = False
    ) -> None:
        """A straight line."""
        self.path(f"M{point(x1, y1)} L{point(x2, y2)}", stroke=stroke, width=width, dashed=dashed)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        fill: str = "#222222",
        anchor: Literal["start", "middle", "end"] = "start",
        bold: bool = False,
        turned: bool = False,
    ) -> None:
        """A line of text whose baseline is at ``y``; ``turned``: reads upwards."""
        weight = ' font-weight="bold"' if bold else ""
        turn = f' transform="rotate(-90 {point(x, y)})"' if turned else ""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{fill}" text-anchor="{anchor}"{weight}{turn}>'
            f"{escape(text)}</text>"
        )

    def to_text(self) -> str:
        """The file."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"


def point(x: float, y: float) -> str:
    """A coordinate inside a path."""
    return f"{_n(x)} {_n(y)}"


def _n(value: float) -> str:
    return f"{round(value, 1):g}"


def _tipped(tag: str, tip: str) -> str:
    return f"><title>{escape(tip)}</title></{tag}>" if tip else "/>"
