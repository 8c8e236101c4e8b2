"""Networks in a person's own file: ``my_nets.py:tiny`` is the function ``tiny`` of the file ``my_nets.py``.

The file is run, because the person named it. No card and no other data that eyespot reads can name one: cards refuse
architectures with a path in them.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from eyespot.arch.variant import Variant
from eyespot.core.graph import Graph
from eyespot.errors import EyespotError, UsageError


def own_variant(name: str) -> Variant:
    """The network that ``FILE.py:FUNCTION`` names; its function is called when it is drawn.

    Raises UsageError, in one line, when the file cannot be read or run, or has no such function.
    """
    file, _, function = (name, "", "") if name.endswith(".py") else name.rpartition(":")
    module = _module(Path(file))
    networks = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    if function not in networks:
        near = difflib.get_close_matches(function, networks, n=3) or networks
        hint = (
            f"say which: {' or '.join(f'{file}:{key}' for key in near)}" if near else "write one that returns a Graph"
        )
        raise UsageError(
            f"{file} has no function {function!r}; {hint}" if function else f"{file} holds networks; {hint}"
        )
    return Variant(name, Path(file).stem, _guarded(name, getattr(module, function)), {})


def _module(path: Path) -> ModuleType:
    """Runs the file, once for each of its versions."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); it should hold a network of your own") from None
    name = f"eyespot_own_{hashlib.sha256(str(path.resolve()).encode() + text).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - the person named this file to be run
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{path} cannot be run: {_told(error, path)}") from None
    return module


def _guarded(name: str, function: Callable[..., Graph]) -> Callable[..., Graph]:
    """The same function, whose mistakes come as one line."""
    path = Path(name.rpartition(":")[0])

    def draw(**arguments: object) -> Graph:
        try:
            graph = function(**arguments)
        except EyespotError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(f"{name} cannot be drawn: {_told(error, path)}") from None
        if not isinstance(graph, Graph):
            raise UsageError(f"{name} returns a {type(graph).__name__}; end it with `return sketch.graph(…)`")
        return graph

    # What may be given by keyword, as the catalogue reads it of its own functions; None where there is no default.
    draw.__kwdefaults__ = {
        p.name: None if p.default is p.empty else p.default
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
    return draw


def _told(error: BaseException, path: Path) -> str:
    """An error in one line, with the last line of the person's own file that led to it."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    said = " ".join(str(error).split())
    return f"{f'line {line}: ' if line else ''}{type(error).__name__}{f': {said}' if said else ''}"
