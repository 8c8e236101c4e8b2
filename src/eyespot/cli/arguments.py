"""Values that more than one verb takes: runtimes, quantities (300M), picture sizes, an architecture's arguments."""

from __future__ import annotations

import ast

import click

from eyespot.errors import UsageError

# As `eyespot.run.open.Runtime`, which is not imported here for speed.
RUNTIME = click.Choice(["onnxruntime", "openvino", "reference"])
_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


class Quantity(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A number with a suffix: 300M, 1.5G, 600k."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error when it is none."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value).strip().lower()
        suffix = text[-1:] if text[-1:] in _SUFFIXES else ""
        try:
            number = float(text.removesuffix(suffix)) * _SUFFIXES[suffix]
        except ValueError:
            number = float("nan")
        if not 0 <= number < float("inf"):
            self.fail(f"{value!r} is not a number such as 300M, 1.5G or 600k", param, ctx)
        return number


class PictureSize(click.ParamType):  # type: ignore[type-arg]
    """A side in pixels, or HEIGHTxWIDTH."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
        """A side, or (height, width); a usage error when it is neither."""
        if isinstance(value, (int, tuple)):
            return value
        sides = str(value).lower().replace("×", "x").split("x")
        if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
            self.fail(f"{value!r} is not a size in pixels such as 224 or 192x256 (height x width)", param, ctx)
        return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def settings(given: tuple[str, ...]) -> dict[str, object]:
    """``--set KEY=VALUE`` as arguments of an architecture: Python's literals are values, anything else is text."""
    found: dict[str, object] = {}
    for setting in given:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting} is not KEY=VALUE; write it like --set size=160")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[key] = text
    return found
