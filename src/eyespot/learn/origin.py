"""Origin: what a run starts from. A bundle, an architecture of the catalogue or a person's own function, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eyespot.arch.catalogue import draw, is_own, variant, variants
from eyespot.bundle.resolve import open_bundle, open_default
from eyespot.bundle.store import CARD, Bundle
from eyespot.core import ops
from eyespot.core.graph import Graph
from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from eyespot.errors import EyespotError, GraphError, UsageError
from eyespot.learn.start import fresh_head
from eyespot.lower.fold import fold_graph

_DRAWN_AT = 224  # pixels; where an own function or a variant is drawn before the run has chosen its size
_CHANGES = ("classes", "size")  # the arguments that a run chooses


@dataclass(frozen=True)
class Origin:
    """A network before its classes and its size are changed.

    bundle: whose weights it starts from; None for an architecture. drawn: the name under which the catalogue, or the
    person's file, draws it; "" when only the card's graph is left of it.
    """

    architecture: str
    arguments: Mapping[str, Any]
    graph: Graph
    preprocess: Preprocess
    drawn: str
    bundle: Bundle | None = None

    @property
    def side(self) -> int:
        """The longer side, in pixels, of the pictures that it was made for; 0 for an architecture."""
        return max(self.preprocess.size) if self.bundle else 0

    @property
    def is_folded(self) -> bool:
        """Whether it has convolutions but no batch norm left; one that never had any still has its dropout."""
        kinds = {type(node.op) for node in self.graph.nodes}
        return ops.Conv2d in kinds and ops.BatchNorm not in kinds and fold_graph(self.graph) == self.graph

    def at(self, *, size: int, classes: int) -> Origin:
        """The same network for square pictures of ``size`` and so many classes. GraphError, UsageError."""
        graph = self._redrawn(size, classes) or fresh_head(_sized(self.graph, size), classes)
        arguments = {**self.arguments, "classes": classes, "size": size} if self.drawn else {}
        preprocess = replace(self.preprocess, size=(size, size), resize=0)
        return replace(self, graph=graph, arguments=arguments, preprocess=preprocess)

    def unfolded(self) -> Graph | None:
        """The graph with the batch norms that it was drawn with, where the catalogue still draws what was folded."""
        drawn = _try_draw(self.drawn, self.arguments)
        return drawn if drawn is not None and fold_graph(drawn) == self.graph else None

    def _redrawn(self, size: int, classes: int) -> Graph | None:
        """The drawing at the other size, where the catalogue draws this very network: its padding may depend on it."""
        fold = fold_graph if self.is_folded else (lambda graph: graph)
        same = _try_draw(self.drawn, self.arguments)
        if same is None or fold(same) != self.graph:
            return None
        return fold(draw(self.drawn, {**self.arguments, "classes": classes, "size": size}))


def open_origin(name: str) -> Origin:
    """What ``name`` means: a bundle's directory or name ("": the default model), an architecture, FILE.py:FUNCTION.

    Raises UsageError, UnknownName, BundleError, FetchError, each in one line.
    """
    if is_own(name):
        return _own(name)
    if not (Path(name) / CARD).is_file() and name in variants():
        graph = draw(name)
        return Origin(name, {}, graph, _pixels(graph), name)
    bundle = open_bundle(name) if name else open_default(float32=True)
    card = bundle.card
    if card.task != "classify":
        raise UsageError(f"{card.name} does {card.task}; name a classifier to start from")
    drawn = card.architecture if card.architecture in variants() else ""
    arguments = {key: value for key, value in card.arguments.items() if not drawn or key not in _CHANGES}
    arguments |= {key: card.arguments[key] for key in _CHANGES if key in card.arguments}
    return Origin(card.architecture, arguments, card.graph, card.preprocess, drawn, bundle)


def _own(name: str) -> Origin:
    found = variant(name)
    takes: Mapping[str, Any] = found.function.__kwdefaults__ or {}
    missing = [key for key in _CHANGES if key not in takes]
    if missing:
        raise UsageError(f"{name} takes no argument {missing[0]!r}; write it like def net(*, classes=10, size=224)")
    graph = draw(name, {"classes": 10, "size": _DRAWN_AT})
    return Origin(f"{found.family}_{name.rpartition(':')[2]}", {}, graph, _pixels(graph), name)


def _pixels(graph: Graph) -> Preprocess:
    """How a network that nobody has trained yet shall see pixels: torchvision's scaling, for the most common."""
    if len(graph.input) != 3 or graph.input[0] != 3:
        raise GraphError(f"the network reads {graph.input}; pictures are (3, height, width): draw it with 3 channels")
    return Preprocess(graph.input[1:], "crop", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _try_draw(name: str, arguments: Mapping[str, Any]) -> Graph | None:
    try:
        return draw(name, arguments) if name else None
    except EyespotError:
        return None


def _sized(graph: Graph, size: int) -> Graph:
    """The graph for another input; GraphError when a tensor's shape would change with it."""
    sized = Graph.from_json({**graph.to_json(), "input": [graph.input[0], size, size]})
    if sized.parameters != graph.parameters:
        raise GraphError(
            f"the network's weights fit {graph.input[1:]} pixels only; train with --set size={graph.input[1]}"
        )
    return sized
