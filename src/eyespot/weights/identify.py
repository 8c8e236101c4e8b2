"""Which network of the catalogue, drawn with which arguments, a file of weights is: its names and shapes say it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eyespot.arch import catalogue
from eyespot.core.graph import Graph
from eyespot.core.ops import Conv2d, Linear
from eyespot.errors import GraphError, UsageError, WeightsError
from eyespot.weights.arrays import Shape
from eyespot.weights.by_order import BY_ORDER, in_order
from eyespot.weights.names import SCHEMES, Pairing, pair
from eyespot.weights.scheme import Tensors

# TensorFlow's networks with batch norm already in the convolutions: numbers in order of execution.
_NUMBERED = re.compile(r"\d+_(conv|dw)_(weight|bias)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that the tensors fit exactly: ``catalogue.draw(architecture, arguments)`` draws it.

    scheme: for ``names.match``, or 'by_order' for ``by_order`` with the folded graph beside the drawn one.
    """

    scheme: str
    architecture: str
    arguments: Mapping[str, object]

    def __str__(self) -> str:
        arguments = ", ".join(f"{key} {value}" for key, value in self.arguments.items())
        return f"{self.architecture} in the names of {self.scheme} ({arguments})"


def identify(tensors: Tensors, *, architecture: str | None = None, scheme: str | None = None) -> tuple[Candidate, ...]:
    """Every network of the catalogue that the tensors fit to the last one, without missing or left-over tensors.

    The number of classes, width and depth come from shapes; padding and epsilon from the source, whose names the file
    has. ``architecture`` and ``scheme`` narrow the search to what the caller already knows; the scheme 'by_order'
    disregards the names.
    """
    numbered = bool(tensors) and all(_NUMBERED.fullmatch(name) for name in tensors)
    if scheme == BY_ORDER or numbered:
        return tuple(_by_order(tensors, architecture, {"padding": "same"} if numbered else {}))
    return tuple(_by_name(tensors, architecture, scheme))


def the_one(candidates: tuple[Candidate, ...], tensors: Tensors) -> Candidate:
    """The only candidate. WeightsError, which says what to pass, when there is none or more than one."""
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        schemes = sorted({c.scheme for c in candidates})
        what = f"a scheme ({' or '.join(schemes)})" if len(schemes) > 1 else "--arch"
        raise WeightsError(f"the file fits {'; and '.join(map(str, candidates))}; say which with {what}")
    if nearly := _nearest(tensors):
        raise WeightsError(nearly)
    first = next(iter(tensors), "no tensor at all")
    raise WeightsError(
        f"the {len(tensors)} tensors ({first}, …) are no network of the catalogue in names that eyespot knows; pass "
        "--arch, and --by-order if they come in order of execution"
    )


def _nearest(tensors: Tensors) -> str | None:
    """What the network that the tensors nearly are has otherwise; None where more than a tenth of them differ."""
    best: tuple[Pairing, str, str] | None = None
    for known in SCHEMES.values():
        prepared = known.prepared(tensors)
        if not known.has_stem(prepared):
            continue
        classes = known.classes(prepared) if known.recognises(prepared) else 1000
        for variant in catalogue.variants().values():
            if variant.family != known.family or not known.suits(variant.name):
                continue
            graph = _drawn(variant.name, {"classes": classes})
            pairing = pair(tensors, graph, known) if graph is not None else None
            if pairing is not None and (best is None or pairing.problems < best[0].problems):
                best = pairing, variant.name, known.name
    if best is None or not 0 < best[0].problems <= max(4, len(tensors) // 10):
        return None
    pairing, variant_name, scheme = best
    return f"the tensors are nearly {variant_name} in the names of {scheme}, but {pairing}"


def _by_name(tensors: Tensors, architecture: str | None, scheme: str | None) -> Iterator[Candidate]:
    drawn: dict[tuple[str, int, bool], Graph | None] = {}  # padding, epsilon change no shape: sources share drawings
    for known in SCHEMES.values():
        if scheme not in (None, known.name):
            continue
        prepared = known.prepared(tensors)
        if not known.recognises(prepared):
            continue
        for variant in catalogue.variants().values():
            if variant.family != known.family or architecture not in (None, variant.name):
                continue
            if not known.suits(variant.name):
                continue
            classes = known.classes(prepared)
            for hidden in (True, False) if "hidden" in inspect.signature(variant.function).parameters else (True,):
                arguments: dict[str, object] = {"classes": classes, **({} if hidden else {"hidden": False})}
                key = (variant.name, classes, hidden)
                if key not in drawn:
                    drawn[key] = _drawn(variant.name, arguments)
                graph = drawn[key]
                if graph is not None and not pair(tensors, graph, known).problems:
                    yield Candidate(known.name, variant.name, {**known.arguments(variant.name), **arguments})


def _by_order(tensors: Tensors, architecture: str | None, known: Mapping[str, object]) -> Iterator[Candidate]:
    """Networks of these shapes, with batch norms or with a bias in place of each; the last layer counts the classes."""
    shapes = [_plain(item.tensor.shape) for item in in_order(tensors)]
    if not shapes or not shapes[-1]:
        return
    arguments = {**known, "classes": shapes[-1][0]}
    for variant in catalogue.variants().values():
        graph = _drawn(variant.name, arguments) if architecture in (None, variant.name) else None
        if graph is None:
            continue
        inference = graph.inference()
        unfolded = ([_plain(p.shape) for p in drawn.parameters.values()] for drawn in (graph, inference))
        if shapes in (_folded(inference), *unfolded):
            yield Candidate(BY_ORDER, variant.name, arguments)


def _drawn(name: str, arguments: Mapping[str, object]) -> Graph | None:
    """The network; None where these arguments draw none, such as no classes at all."""
    try:
        return catalogue.draw(name, arguments)
    except (UsageError, GraphError):
        return None


def _folded(graph: Graph) -> list[Shape]:
    layers = (node for node in graph.nodes if isinstance(node.op, (Conv2d, Linear)))
    weights = (node.op.parameters(graph.input_shapes(node))["weight"] for node in layers)
    return [shape for weight in weights for shape in (_plain(weight), weight[:1])]


def _plain(shape: Shape) -> Shape:
    """The same for a 1×1 convolution and a linear layer."""
    return shape[:2] if shape[2:] == (1, 1) else shape
