"""Pieces of a page of HTML that needs nothing but itself. What comes from outside goes in through ``text``."""

from __future__ import annotations

import base64
import io
import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from PIL import Image

from eyespot.errors import UsageError

_JOINERS = "\u200c\u200d"  # Persian, Hindi and emoji need them
_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def page(title: str, sections: Iterable[str]) -> str:
    """The whole file; the title is from outside, the sections are HTML."""
    style = (resources.files("eyespot.pages") / "page.css").read_text(encoding="utf-8")
    return _TEMPLATE.format(title=text(title), style=style, body="\n".join(sections))


def check_place(path: Path, *, option: str) -> None:
    """UsageError when no page can be written there. option: how the caller names it, for the message."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{option} {path}: the page is HTML; name a file that ends in .html")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: the folder {path.parent} does not exist; make it first")


def save(path: Path, page: str, *, option: str) -> None:
    """Writes a page whole, or leaves what was there; UsageError when the file cannot be written."""
    try:
        handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(page)
            Path(staging).chmod(0o644)
            Path(staging).replace(path)
        finally:
            Path(staging).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written: {error.strerror or error}") from None


def text(value: object) -> str:
    """Any text as it may stand in HTML, in an attribute too: escaped, without control signs or bytes that are none."""
    plain = str(value).encode("utf-8", "replace").decode()
    return escape("".join(c if c.isprintable() or c in _JOINERS else "\N{REPLACEMENT CHARACTER}" for c in plain))


def name(value: object) -> str:
    """A name from outside within a sentence; its direction of writing stays its own."""
    return f"<bdi>{text(value)}</bdi>"


def section(heading: str, *parts: str, id: str) -> str:
    """A part of the page under its heading."""
    return f'<section id="{id}">\n<h2>{heading}</h2>\n' + "\n".join(filter(None, parts)) + "\n</section>"


def value(figure: float | None, shown: str, *, key: str = "") -> str:
    """A figure as it is read, with its exact value for machines; ``key`` names it."""
    if figure is None:
        return '<span class="none">none</span>'
    named = f' data-figure="{text(key)}"' if key else ""
    return f'<data value="{figure!r}"{named}>{shown}</data>'


def percent(share: float, *, key: str = "", digits: int = 1) -> str:
    """A share as a percentage."""
    return value(share, f"{100 * share:.{digits}f}&#8239;%", key=key)


def count(number: int, *, key: str = "") -> str:
    """A number of things."""
    return value(number, f"{number:,}", key=key)


def figure(drawing: str, caption: str) -> str:
    """A drawing and what is to be seen in it."""
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def interval(low: float, high: float) -> str:
    """A 95 % interval of a share."""
    return f"{100 * low:.1f} to {100 * high:.1f}&#8239;%"


def bar(share: float | None) -> str:
    """A share in a table: the number over a bar."""
    if share is None:
        return '<td class="number none">none</td>'
    return f'<td class="number">{percent(share)}<span class="bar" style="--v:{share:.4f}"></span></td>'


def table(head: Sequence[str], rows: Iterable[str], *, caption: str = "", css: str = "") -> str:
    """A table that scrolls by itself where the screen is narrow. head and rows are HTML; '>' marks heads of numbers."""
    cells = "".join(
        f'<th scope="col" class="number">{cell[1:]}</th>' if cell.startswith(">") else f'<th scope="col">{cell}</th>'
        for cell in head
    )
    title = f"<caption>{caption}</caption>" if caption else ""
    attribute = f' class="{css}"' if css else ""
    return (
        f'<div class="scroll" tabindex="0"><table{attribute}>{title}<thead><tr>{cells}</tr></thead>\n<tbody>\n'
        + "\n".join(f"<tr>{row}</tr>" for row in rows)
        + "\n</tbody></table></div>"
    )


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of what and which; the second is HTML."""
    return '<dl class="facts">' + "".join(f"<dt>{what}</dt><dd>{which}</dd>" for what, which in rows) + "</dl>"


def picture(image: Image.Image, description: str) -> str:
    """A picture inside the page, as JPEG, without anything else that its file knew."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=82)
    encoded = base64.b64encode(data.getvalue()).decode()
    width, height = image.size
    source = f'src="data:image/jpeg;base64,{encoded}"'
    return f'<img {source} width="{width}" height="{height}" alt="{text(description)}">'
