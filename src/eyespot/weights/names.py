"""Their tensors under our names, by the table of one source: no tensor without a place, no place without a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core.graph import Graph
from eyespot.errors import UsageError, WeightsError
from eyespot.weights import (
    cifar_resnet,
    efficientnet_lite,
    gluon,
    inception,
    keras,
    shufflenet_v1,
    timm,
    timm_branches,
    torchvision,
    transformers,
)
from eyespot.weights.arrays import Array, short_shape, shown
from eyespot.weights.scheme import Scheme, Tensors

Weights = dict[str, NDArray[np.float32]]

_SOURCES = (
    torchvision, timm, timm_branches, keras, inception, gluon, efficientnet_lite, cifar_resnet, transformers,
    shufflenet_v1,
)  # fmt: skip
SCHEMES: Mapping[str, Scheme] = {scheme.name: scheme for source in _SOURCES for scheme in source.SCHEMES}

OURS = "eyespot"


@dataclass(frozen=True, slots=True)
class Matched:
    """Weights of ``graph``, all of them, by our names: float32, C-contiguous, finite.

    graph: without its train-only nodes where the file has none of their tensors.
    scheme: the source whose names the file has, or 'by_order'.
    """

    weights: Weights
    graph: Graph
    scheme: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which of their tensors is which of ours, and everything that stands against it.

    pairs: our name → (their name, a view in our layout). misshapen: sentences; missing and left_over: names.
    """

    pairs: Mapping[str, tuple[str, Array]]
    missing: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    @property
    def problems(self) -> int:
        """How many tensors do not fit."""
        return len(self.missing) + len(self.misshapen) + len(self.left_over)

    def __str__(self) -> str:
        sentences = "; ".join(self.misshapen[:3]) + (f"; {len(self.misshapen) - 3} more" if self.misshapen[3:] else "")
        parts = (sentences, _some(self.missing, "missing"), _some(self.left_over, "left over"))
        return "; ".join(part for part in parts if part)


def match(tensors: Tensors, graph: Graph, scheme: str | None = None) -> Matched:
    """The tensors under the names of ``graph`` (as drawn, with its batch norms), by the table of a source.

    scheme: a name out of ``SCHEMES``; None finds the one that fits, and takes a file that has our own names as it is.
    Never a guess: WeightsError names what is missing, left over or misshapen; UsageError for an unknown scheme.
    """
    if scheme is None and tensors and tensors.keys() == graph.parameters.keys():
        return Matched(normalised(_ours(tensors, graph)), graph, OURS)
    if scheme is not None:
        known = scheme_named(scheme)
        pairing = pair(tensors, graph, known)
        if pairing.problems:
            raise WeightsError(f"the tensors are not this network's in the names of {known.name}: {pairing}")
        return Matched(normalised(pairing.pairs), _held(graph, pairing), known.name)
    tried = [(pair(tensors, graph, s), s) for s in SCHEMES.values() if s.recognises(s.prepared(tensors))]
    if not tried:
        sources = sorted({name.split(".")[0] for name in SCHEMES})
        raise WeightsError(
            f"the names of the tensors ({_first(tensors)}) are none that eyespot knows ({', '.join(sources)}); if they "
            "come in order of execution, import them by order"
        )
    pairing, best = min(tried, key=lambda item: item[0].problems)
    if pairing.problems:
        raise WeightsError(f"the tensors look like {best.name}, but are not this network's: {pairing}")
    return Matched(normalised(pairing.pairs), _held(graph, pairing), best.name)


def _held(graph: Graph, pairing: Pairing) -> Graph:
    """As much of the graph as the pairing without problems is of."""
    return graph if graph.parameters.keys() <= pairing.pairs.keys() else graph.inference()


def _ours(tensors: Tensors, graph: Graph) -> dict[str, tuple[str, Array]]:
    """A file in our own names, such as a bundle's weights or those of a network from a person's own file."""
    for name, parameter in graph.parameters.items():
        if tensors[name].shape != parameter.shape:
            raise WeightsError(
                f"{shown(name)} is {short_shape(tensors[name].shape)}, the network needs {short_shape(parameter.shape)}"
            )
    return {name: (name, tensors[name]) for name in graph.parameters}


def scheme_named(name: str) -> Scheme:
    """The scheme of that name; UsageError, with the legal ones, when there is none."""
    if name not in SCHEMES:
        raise UsageError(f"no source of names is called {name!r}; there are {', '.join(SCHEMES)}")
    return SCHEMES[name]


def pair(tensors: Tensors, graph: Graph, scheme: Scheme) -> Pairing:
    """Holds a file against a graph by one scheme; nothing is copied.

    A file may be without what only training needs (auxiliary heads): all of it, or none.
    """
    theirs = scheme.prepared(tensors)
    try:
        modules = scheme.modules(graph)
    except (LookupError, ValueError, StopIteration):
        # The table is for another family: it looks for blocks that this graph does not have.
        return Pairing({}, missing=tuple(graph.parameters), left_over=tuple(theirs))
    pairs: dict[str, tuple[str, Array]] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    used: set[str] = set()
    for node in graph.nodes:
        for parameter in graph.parameters_of(node):
            short = parameter.name.rsplit(".", 1)[1]
            module = modules.get(node.name)
            if module is None:
                missing.append(parameter.name)
                continue
            names = [f"{module}{scheme.layout.join}{n}" for n in scheme.layout.names(node.op, short)]
            name = next((n for n in names if n in theirs), None)
            if name is None:
                missing.append(names[0])
                continue
            used.add(name)
            view = scheme.layout.ours(node.op, short, theirs[name])
            if view.shape != parameter.shape:
                misshapen.append(
                    f"{shown(name)} is {short_shape(theirs[name].shape)}, {parameter.name} needs "
                    f"{short_shape(parameter.shape)}"
                )
            pairs[parameter.name] = (name, view)
    inference = graph.inference()
    if inference is not graph and pairs.keys() <= inference.parameters.keys():
        return pair(tensors, inference, scheme)
    left_over = tuple(name for name in theirs if name not in used)
    return Pairing(pairs, tuple(missing), tuple(misshapen), left_over)


def normalised(pairs: Mapping[str, tuple[str, Array]]) -> Weights:
    """Each tensor as contiguous float32. WeightsError for integers and for values that are not finite."""
    weights: Weights = {}
    for ours, (theirs, view) in pairs.items():
        if view.dtype.kind != "f":
            raise WeightsError(
                f"{shown(theirs)} holds {view.dtype}; weights are floating point (dequantise them first)"
            )
        with np.errstate(over="ignore"):  # said in words below
            tensor: NDArray[Any] = np.ascontiguousarray(view, dtype=np.float32)
        if not np.isfinite(tensor).all():
            raise WeightsError(f"{shown(theirs)} holds values that are not finite in float32; the file is not usable")
        weights[ours] = tensor
    return weights


def _some(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(map(shown, names[:3]))}{more} {'is' if len(names) == 1 else 'are'} {what}"


def _first(tensors: Tensors) -> str:
    names = [shown(name) for name in list(tensors)[:2]]
    return ", ".join([*names, "…"] if len(tensors) > 2 else names) or "none at all"
