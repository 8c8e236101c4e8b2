"""Reads other people's JSON: bounded in size, each field of the kind it must be, and none left unread."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from eyespot.errors import WeightsError

MAX_BYTES = 8 << 20  # names for 20,000 classes, twice, need two
_MISSING = object()


def shown(value: object) -> str:
    """A value out of a file for an error line: printable and of bounded length."""
    text = "".join(c if c.isprintable() else "?" for c in repr(value)[:80])
    return text if len(repr(value)) <= 80 else f"{text}…"


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. WeightsError, in one line, for anything else."""
    where = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise WeightsError(f"{where} is larger than {MAX_BYTES >> 20} MB; it is no description of a network")
        data = json.loads(raw.decode("utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise WeightsError(f"{where} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WeightsError(f"{where} is not JSON: {reason[:120]}; fetch it again") from None
    if not isinstance(data, dict):
        raise WeightsError(f"{where} holds no object; fetch it again")
    return data


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


class Fields:
    """The fields of an object, taken one by one; what nobody took is refused at the end."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self._left = dict(data)
        self.where = where

    def wrong(self, key: str, value: object, needed: str) -> WeightsError:
        """The error for a value that cannot be."""
        return WeightsError(f"{self.where}: {key} is {shown(value)}; {needed}")

    def peek(self, key: str) -> object:
        """A value that stays to be taken."""
        return self._left.get(key)

    def value(self, key: str, default: Any = None) -> Any:
        """Any value; ``default`` where the key is absent or null."""
        value = self._left.pop(key, None)
        return default if value is None else value

    def number(self, key: str, default: float) -> float:
        """A finite number."""
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.wrong(key, value, "a number was needed")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.value(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false was needed")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        value = self.value(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, value, "text was needed")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """An object; empty where the key is absent."""
        value = self.value(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, value, "an object was needed")
        return value

    def triple(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        """Three numbers, or one for all three channels."""
        value = self.value(key, default)
        values = [value] * 3 if isinstance(value, (int, float)) else value
        if not isinstance(values, (list, tuple)) or len(values) != 3 or not all(_is_number(v) for v in values):
            raise self.wrong(key, value, "three numbers were needed")
        return float(values[0]), float(values[1]), float(values[2])

    def only(self, key: str, legal: Collection[object], default: object = _MISSING) -> Any:
        """A value that is one of the legal ones, which are all that the network here has."""
        value = self.value(key, next(iter(legal)) if default is _MISSING else default)
        value = tuple(value) if isinstance(value, list) else value
        if not any(type(value) is type(item) and value == item for item in legal) and not _equal_number(value, legal):
            raise self.wrong(key, value, f"eyespot's network has {' or '.join(map(shown, legal))}")
        return value

    def drop(self, keys: Collection[str]) -> None:
        """Leaves out what changes no prediction."""
        for key in keys:
            self._left.pop(key, None)

    def done(self) -> None:
        """WeightsError when a field was not taken: it may change what the network computes."""
        if self._left:
            names = ", ".join(shown(key) for key in list(self._left)[:3])
            more = f" and {len(self._left) - 3} more" if len(self._left) > 3 else ""
            raise WeightsError(
                f"{self.where} says {names}{more}, which eyespot does not know and which may change the network; "
                "remove what does not, or import model.safetensors by itself with --arch and --pixels"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _equal_number(value: object, legal: Collection[object]) -> bool:
    return _is_number(value) and any(_is_number(item) and item == value for item in legal)
