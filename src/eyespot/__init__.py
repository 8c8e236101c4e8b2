"""An accurate light CNN on the hardware people have. The public names, resolved on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eyespot.arch.catalogue import backbone as backbone
    from eyespot.bundle.store import Bundle as Bundle
    from eyespot.core.card import Card as Card
    from eyespot.core.cost import cost as cost
    from eyespot.core.graph import Graph as Graph
    from eyespot.core.labels import Labels as Labels
    from eyespot.core.pixels import Preprocess as Preprocess
    from eyespot.core.sketch import Sketch as Sketch
    from eyespot.errors import EyespotError as EyespotError
    from eyespot.image.results import Classification as Classification
    from eyespot.run.predict import Model as Model
    from eyespot.run.predict import load as load

__version__ = "0.1.0"

_HOME = {
    "Bundle": "bundle.store",
    "Card": "core.card",
    "Classification": "image.results",
    "EyespotError": "errors",
    "Graph": "core.graph",
    "Labels": "core.labels",
    "Model": "run.predict",
    "Preprocess": "core.pixels",
    "Sketch": "core.sketch",
    "backbone": "arch.catalogue",
    "cost": "core.cost",
    "load": "run.predict",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'eyespot' has no attribute {name!r}")
    value = getattr(import_module(f"eyespot.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
