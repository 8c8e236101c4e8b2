"""What people see on a terminal: bars, aligned columns, progress."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import TextIO

import click

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_REDRAW_SECONDS = 0.1
BYTES = "bytes"  # the unit of a Progress that shows megabytes


def bar(share: float, width: int = 20) -> str:
    """A horizontal bar of a number between 0 and 1; plain signs where the terminal knows no blocks."""
    share = min(max(share, 0.0), 1.0)
    if not can_draw(sys.stdout):
        return ("#" * round(share * width)).ljust(width)
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def can_draw(stream: TextIO) -> bool:
    """Whether a stream's encoding has block characters."""
    try:
        "█".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal; East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def fit(text: str, width: int) -> str:
    """A text cut or padded to exactly ``width`` columns; the end of a path says more than its beginning."""
    if width_of(text) > width:
        while text and width_of(text) > width - 1:
            text = text[1:]
        text = "…" + text
    return text + " " * (width - width_of(text))


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), gap: str = "  ") -> str:
    """Aligned columns; those whose number is in ``right`` are flush right."""
    widths = [max(width_of(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            pad = " " * (widths[i] - width_of(cell))
            cells.append(pad + cell if i in right else cell + pad)
        lines.append(gap.join(cells).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """1234567 as 1.23 M."""
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:g}"


class Progress:
    """One line on standard error with a bar, the rate and the time left; nothing when that is no terminal."""

    def __init__(self, total: int | None, *, done: int = 0, unit: str = "pictures", title: str = "") -> None:
        self.total, self.unit, self.title = total, unit, title
        self._before = self._count = done
        self._start = time.monotonic()
        self._drawn = 0.0
        self._on = sys.stderr.isatty()
        self._shown = False

    def step(self, count: int = 1) -> None:
        """One more is done, or so many."""
        self._count += count
        now = time.monotonic()
        if self._on and now - self._drawn >= _REDRAW_SECONDS and now - self._start >= 0.5:
            self._drawn = now
            self._draw()

    def above(self, text: str) -> None:
        """Prints a line of results, the progress line staying below it."""
        self.clear()
        click.echo(text)
        if self._on and time.monotonic() - self._start >= 0.5:
            self._draw()

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)
            self._shown = False

    def summary(self) -> str:
        """'5,000 pictures in 21 s, 238 a second'."""
        seconds = time.monotonic() - self._start
        count = self._count - self._before
        return f"{count:,} {self.unit} in {_duration(seconds)}, {self.rate():.3g} a second"

    def rate(self) -> float:
        """How many a second."""
        return (self._count - self._before) / max(time.monotonic() - self._start, 1e-9)

    def _draw(self) -> None:
        rate = self.rate()
        unit = "" if self.unit == BYTES else f" {self.unit}"
        text = f"{self._amount(self._count)}{unit}, {self._pace(rate)} a second"
        if self.total:
            left = (self.total - self._count) / rate if rate else 0.0
            share = min(self._count / self.total, 1.0)
            amounts = f"{self._amount(self._count)} of {self._amount(self.total)}"
            text = f"{bar(share, 24)} {amounts}, {self._pace(rate)} a second, {_duration(left)} left"
        text = f"{self.title}: {text}" if self.title else text
        click.echo("\r\033[K" + text[: _columns() - 1], nl=False, err=True)
        self._shown = True

    def _amount(self, count: int) -> str:
        return f"{count / 1e6:,.1f} MB" if self.unit == BYTES else f"{count:,}"

    def _pace(self, rate: float) -> str:
        return f"{rate / 1e6:.3g} MB" if self.unit == BYTES else f"{rate:.3g}"


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def columns() -> int:
    """The width of the terminal."""
    return max(_columns(), 40)


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
