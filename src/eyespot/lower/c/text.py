"""Numbers, strings and comments as C writes them."""

from __future__ import annotations

from collections.abc import Sequence

_PER_LINE = 20


def numbers(values: Sequence[int]) -> str:
    """The inside of an initialiser, in lines."""
    lines = (values[at : at + _PER_LINE] for at in range(0, len(values), _PER_LINE))
    return ",\n".join("    " + ", ".join(map(_number, line)) for line in lines)


def _number(value: int) -> str:
    return "(-2147483647 - 1)" if value == -(1 << 31) else str(value)  # C has no negative literals


def quoted(text: str) -> str:
    """A string literal; bytes beyond ASCII, and question marks (two of them begin a trigraph), as octal."""
    return '"' + "".join(_character(byte) for byte in text.encode()) + '"'


def _character(byte: int) -> str:
    text = chr(byte)
    if text in '"\\':
        return f"\\{text}"
    return text if 32 <= byte < 127 and text != "?" else f"\\{byte:03o}"


def comment(text: str) -> str:
    """Text that can stand in a comment: one line that does not end it."""
    return " ".join(text.split()).replace("*/", "* /").replace("/*", "/ *")
