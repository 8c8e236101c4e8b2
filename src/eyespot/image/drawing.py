"""A photograph with what a classifier says of it: the labels and a bar for each probability, on a panel beside it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from eyespot.core.labels import Prediction

Font: TypeAlias = "ImageFont.FreeTypeFont | ImageFont.ImageFont"

LONGEST, SHORTEST = 1280, 320  # the photograph's longer side, in pixels, is brought between these
_PAPER, _INK, _FAINT, _TRACK, _BAR, _BEST = "#ffffff", "#1b1f24", "#6a737d", "#eceff2", "#9db4c9", "#1f6feb"
_NARROWEST = 14  # a panel's width in text heights, whatever the photograph's

# Tried in turn where a label is not ASCII, which is all that the font in Pillow has; the system finds them.
_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf", "Arial.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf",
    "msyh.ttc", "PingFang.ttc", "wqy-microhei.ttc",
)  # fmt: skip


def annotate(photograph: Image.Image, predictions: Sequence[Prediction], title: str) -> Image.Image:
    """The photograph, at most 1280 pixels long, and a panel: right of a tall picture, below a wide one. RGB."""
    photograph = _fit(photograph)
    beside = photograph.height > photograph.width
    text = max(13, min(28, round(max(photograph.size) / 32)))
    if beside:
        width, height = max(_NARROWEST * text, round(0.6 * photograph.height)), photograph.height
    else:
        width, height = max(_NARROWEST * text, photograph.width), 0
    panel = _panel(predictions, title, width, height, text)
    if beside:
        canvas = Image.new("RGB", (photograph.width + panel.width, max(photograph.height, panel.height)), _PAPER)
        canvas.paste(photograph, (0, (canvas.height - photograph.height) // 2))
        canvas.paste(panel, (photograph.width, (canvas.height - panel.height) // 2))
    else:
        canvas = Image.new("RGB", (max(photograph.width, panel.width), photograph.height + panel.height), _PAPER)
        canvas.paste(photograph, ((canvas.width - photograph.width) // 2, 0))
        canvas.paste(panel, (0, photograph.height))
    return canvas


def _fit(photograph: Image.Image) -> Image.Image:
    longer = max(photograph.size)
    scale = min(1.0, LONGEST / longer) if longer > SHORTEST else SHORTEST / longer
    size = max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale))
    return photograph.resize(size, Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC)


def _panel(predictions: Sequence[Prediction], title: str, width: int, least: int, text: int) -> Image.Image:
    """Rows of label, probability and bar, from the top down; at least ``least`` pixels high."""
    margin, row = text, round(2.1 * text)
    height = max(least, 2 * margin + row * len(predictions) + round(1.2 * text))
    panel = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(panel)
    y = margin + max(0, (least - (2 * margin + row * len(predictions) + round(1.2 * text))) // 2)
    for place, prediction in enumerate(predictions):
        _row(draw, prediction, (margin, y, width - margin), text, best=place == 0)
        y += row
    label, font = _readable(title, round(0.75 * text))
    draw.text((margin, y), _shorten(label, font, width - 2 * margin), _FAINT, font)
    return panel


def _row(
    draw: ImageDraw.ImageDraw, prediction: Prediction, place: tuple[int, int, int], text: int, *, best: bool
) -> None:
    left, y, right = place
    percent = f"{100 * prediction.probability:.1f} %"
    label, font = _readable(prediction.label, text)
    figures = _font("", text)
    room = right - left - round(figures.getlength("100.0 %")) - text // 2
    draw.text((left, y), _shorten(label, font, room), _INK if best else _FAINT, font)
    draw.text((right - figures.getlength(percent), y), percent, _INK if best else _FAINT, figures)
    bar, thick = y + round(1.35 * text), max(3, text // 4)
    draw.rectangle((left, bar, right - 1, bar + thick - 1), _TRACK)
    length = round((right - left) * min(1.0, max(0.0, prediction.probability)))
    if length:
        draw.rectangle((left, bar, left + length - 1, bar + thick - 1), _BEST if best else _BAR)


def _shorten(text: str, font: Font, room: float) -> str:
    """The text, or as much of it as fits in ``room`` pixels and an ellipsis."""
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle].rstrip(" ,") + "…") <= room else (low, middle - 1)
    return text[:low].rstrip(" ,") + "…"


def _readable(text: str, size: int) -> tuple[str, Font]:
    """One line of ``text`` and the font that has most of its letters; those it lacks are spelled out in ASCII."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:500]).split())
    best, missing = _font("", size), frozenset(c for c in text if not c.isascii())
    for name in _FONTS if missing else ():
        try:
            font = _font(name, size)
        except OSError:
            continue
        if len(lacking := _lacking(text, font)) < len(missing):
            best, missing = font, lacking
    return "".join(_spelled(c) if c in missing else c for c in text), best


def _spelled(letter: str) -> str:
    """The letter without its accents, or its code."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", letter) if c.isascii())
    return plain or letter.encode("ascii", "backslashreplace").decode("ascii")


def _lacking(text: str, font: Font) -> frozenset[str]:
    """The letters for which the font draws its box for missing ones."""
    box = bytes(font.getmask("\U0010fffd"))
    return frozenset(c for c in text if not c.isascii() and bytes(font.getmask(c)) == box)


def _font(name: str, size: int) -> Font:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
