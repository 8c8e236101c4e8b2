"""The torch tower: the only folder that imports torch. Nobody below imports it; commands do, inside their bodies.

from eyespot.learn import resume, train

run = train("leaves", "runs/leaves")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyespot.learn.events import Watch as Watch
    from eyespot.learn.run import Run as Run
    from eyespot.learn.training import resume as resume
    from eyespot.learn.training import train as train

_HOME = {"Run": "run", "Watch": "events", "resume": "training", "train": "training"}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'eyespot.learn' has no attribute {name!r}")
    return getattr(import_module(f"eyespot.learn.{_HOME[name]}"), name)
