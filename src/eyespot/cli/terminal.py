"""What people see on a terminal: bars, aligned columns, progress."""

from __future__ import annotations

import re
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

import click

from eyespot.errors import EyespotError

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_ERASE = "\r\033[K"
_REDRAW_SECONDS = 0.1
_LEAST_BAR = 6  # columns; less says nothing
_QUIET_SECONDS = 0.5  # a job that is over by then draws nothing
LOG_SECONDS = 10.0  # between the lines of a log; in a long job a tenth of its time, up to six times this
BYTES = "bytes"  # the unit of a Progress that shows megabytes
Total = int | Callable[[], int | None] | None


class Escaped:
    """A terminal's stream that shows control characters instead of sending them.

    Labels, cards, names of files and servers' words come from strangers, and a terminal obeys what they say. Lines,
    tabs, our own colours and the redrawing of a line pass; whatever else cannot be printed comes as ``\\x1b``.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, escaped."""
        self._stream.write(_OURS.sub(_shown, text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes them one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# Colours and weight as click.style sends them, and the erasing of a line; then each character that is looked at.
_OURS = re.compile(r"\x1b\[(?:0|1|2|3[0-79]|9[0-7])m|\r\x1b\[K|\r\n|[^ -~]")


def _shown(found: re.Match[str]) -> str:
    text = found[0]
    if len(text) > 1 or text in "\n\t\u200c\u200d" or text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")


def escape_terminals() -> None:
    """Makes standard output and error escape what they show, where they are terminals."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty() and not isinstance(stream, Escaped):
            setattr(sys, name, Escaped(stream))


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


def note(text: str) -> None:
    """One line about what was chosen for the person, beside the results."""
    click.echo(click.style("note: ", fg="yellow") + text, err=True)


def number(value: float) -> str:
    """1234567 as 1.23 M."""
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:g}"


class Progress:
    """What is being done and how far it is, on standard error.

    On a terminal it is one line that is drawn anew. Elsewhere, as in a log, it is a plain line every ten seconds, less
    often in a long job, so that a short command prints nothing. Use it in a ``with`` block: its line is gone at the
    end, whatever happens.

    total: how many there are, None when unknown; a function is asked once, when the number is first shown. done: how
    many of them an earlier run did. unit: what is counted.
    """

    def __init__(self, total: Total = None, *, done: int = 0, unit: str = "images") -> None:
        self._unit, self._live = unit, sys.stderr.isatty()
        self._drawn, self._shown = 0.0, False
        self._stop = threading.Event()
        self._begin("", total, done)

    def __enter__(self) -> Self:
        if not self._live:
            threading.Thread(target=self._log, name="eyespot-progress", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self.clear()

    def stage(self, title: str, total: Total = None, done: int = 0) -> None:
        """Something else begins, which may be counted."""
        self._begin(title, total, done)
        if self._live:
            self._draw()

    def step(self, count: int = 1) -> None:
        """Adds to what is done."""
        self._count += count
        now = time.monotonic()
        if self._live and now - self._drawn >= _REDRAW_SECONDS and now - self._start >= _QUIET_SECONDS:
            self._draw()

    def above(self, text: str) -> None:
        """Prints a line of results, the progress line staying below it."""
        self.clear()
        click.echo(text)
        if self._live and time.monotonic() - self._start >= _QUIET_SECONDS:
            self._draw()

    def clear(self) -> None:
        """Takes the line away until something is drawn again."""
        if self._shown:
            click.echo(_ERASE, nl=False, err=True)
            self._shown = False

    def summary(self) -> str:
        """'5,000 images in 21 s, 238 a second'."""
        seconds = time.monotonic() - self._start
        return f"{self._count - self._before:,} {self._unit} in {duration(seconds)}, {self._rate():.3g} a second"

    def _begin(self, title: str, total: Total, done: int) -> None:
        self._title, self._total = title, total or None
        self._before = self._count = done
        self._start = time.monotonic()

    def _rate(self) -> float:
        return (self._count - self._before) / max(time.monotonic() - self._start, 1e-9)

    def _draw(self) -> None:
        share, text = self._text()
        line = self._headed(text)
        room = min(24, _columns() - 2 - width_of(line))  # the time left matters more than a bar
        if share is not None and room >= _LEAST_BAR:
            line = self._headed(f"{bar(share, room)} {text}")
        click.echo(_ERASE + line[: _columns() - 1], nl=False, err=True)
        self._drawn, self._shown = time.monotonic(), True

    def _log(self) -> None:
        """Prints a plain line now and then, until the block ends or nobody reads it."""
        begun = time.monotonic()
        while not self._stop.wait(min(max(LOG_SECONDS, (time.monotonic() - begun) / 10), 6 * LOG_SECONDS)):
            try:
                _, text = self._text()
                if self._title or text:  # else nothing was begun, as in the processes of a run but the first
                    text = text or duration(time.monotonic() - self._start)
                    click.echo(f"eyespot: {self._headed(text)}", err=True)
            except (OSError, ValueError, EyespotError):  # the last: of images that cannot be counted
                return

    def _headed(self, text: str) -> str:
        return ": ".join(part for part in (self._title, text) if part)

    def _text(self) -> tuple[float | None, str]:
        """(The share that is done, None where the total is unknown; how far it is in words, "" if nothing counts.)"""
        if callable(self._total):
            self._total = self._total() or None
        rate, unit = self._rate(), "" if self._unit == BYTES else f" {self._unit}"
        if not self._total:
            return None, f"{self._amount(self._count)}{unit}, {self._pace(rate)} a second" if self._count else ""
        left = f", {duration((self._total - self._count) / rate)} left" if rate else ""
        amounts = f"{self._amount(self._count)} of {self._amount(self._total)}{unit}"
        return min(self._count / self._total, 1.0), f"{amounts}, {self._pace(rate)} a second{left}"

    def _amount(self, count: int) -> str:
        return f"{count / 1e6:,.1f} MB" if self._unit == BYTES else f"{count:,}"

    def _pace(self, rate: float) -> str:
        return f"{rate / 1e6:.3g} MB" if self._unit == BYTES else f"{rate:.3g}"


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def columns() -> int:
    """The width of the terminal."""
    return max(_columns(), 40)


def duration(seconds: float) -> str:
    """'1.5 s', '2 min 05 s' or '3 h 07 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
