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
    """A string literal; bytes beyond ASCII, and those that mean something to C, as octal."""
    plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(plain)}"'


def comment(text: str) -> str:
    """Text that can stand in a comment: one line that does not end it."""
    return " ".join(text.split()).replace("*/", "* /").replace("/*", "/ *")
