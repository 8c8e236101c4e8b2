"""Weights whose names nobody knows, taken in order of execution and held against the shapes, tensor by tensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from eyespot.core.graph import Graph
from eyespot.errors import WeightsError
from eyespot.weights.arrays import Array, Shape, short_shape, shown
from eyespot.weights.names import Matched, normalised
from eyespot.weights.scheme import Tensors, no_counters

BY_ORDER = "by_order"

# What the last word of a name may be, by our word for it. Within one layer the order is the one of this table, whatever
# order the file has: 00_conv_bias comes before 00_conv_weight in a sorted file.
_ROLES = {
    "weight": ("weight", "kernel", "depthwise_kernel", "weights", "w"),
    "bias": ("bias", "biases", "b"),
    "norm weight": ("gamma", "scale"),
    "norm bias": ("beta", "offset"),
    "running_mean": ("running_mean", "moving_mean", "mean"),
    "running_var": ("running_var", "moving_variance", "moving_var", "variance", "var"),
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words}
_FITS = {
    "weight": ("weight", "norm weight"),
    "bias": ("bias", "norm bias"),
    "running_mean": ("running_mean",),
    "running_var": ("running_var",),
}
_LAST_WORD = re.compile(rf"(?:(.*?)[._/])?({'|'.join(sorted(_ROLE_OF, key=len, reverse=True))})(?::0)?")


class Ordered(NamedTuple):
    """One tensor in its place."""

    name: str
    role: str
    tensor: Array


def by_order(tensors: Tensors, graphs: Sequence[Graph]) -> Matched:
    """The tensors in order of execution, as the weights of the first of ``graphs`` that they fit to the last.

    graphs: the network as drawn, and the one with its batch norms folded, in either order; each node takes the next
    tensors, of its kinds and exactly of its shapes (a 1×1 convolution may be a linear layer and the other way round).
    WeightsError names the first layer that does not fit, in the graph that fitted longest, and both shapes.
    """
    ordered = in_order(tensors)
    failures: list[tuple[int, str]] = []
    for graph in graphs:
        taken, problem = _walk(ordered, graph)
        if problem is None:
            return Matched(normalised(taken), graph, BY_ORDER)
        failures.append((len(taken), problem))
    if not failures:
        raise WeightsError("no network to hold the tensors against")
    raise WeightsError(f"the tensors do not fit in order of execution: {max(failures, key=lambda f: f[0])[1]}")


def in_order(tensors: Tensors) -> list[Ordered]:
    """All tensors in the order in which layers run, as far as the file tells.

    By the number that every name begins with; else by the file, unless it is merely sorted by name, in which case the
    numbers within the names are read as numbers (conv2 before conv10).
    """
    tensors = no_counters(tensors)
    groups: dict[str, list[Ordered]] = {}
    for name, tensor in tensors.items():
        found = _LAST_WORD.fullmatch(name)
        if found is None:
            raise WeightsError(f"{shown(name)} ends in no word for a weight ({', '.join(_ROLE_OF)})")
        groups.setdefault(found[1] or "", []).append(Ordered(name, _ROLE_OF[found[2]], tensor))
    layers = list(groups)
    if all(re.match(r"\d", layer) for layer in layers) or list(tensors) == sorted(tensors):
        layers.sort(key=_natural)
    places = list(_ROLES)
    return [item for layer in layers for item in sorted(groups[layer], key=lambda item: places.index(item.role))]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """'10_dw' after '9_conv': runs of digits compare as numbers, and before any letters."""
    parts = re.findall(r"\d{1,18}|\D+|\d+", name)
    return [(False, int(p), "") if p.isdecimal() and len(p) <= 18 else (True, 0, p) for p in parts]


def _walk(ordered: Sequence[Ordered], graph: Graph) -> tuple[dict[str, tuple[str, Array]], str | None]:
    """What fits, and why the next tensor does not (None: all fitted)."""
    taken: dict[str, tuple[str, Array]] = {}
    for place, parameter in enumerate(graph.parameters.values()):
        needs = f"{parameter.name} needs {short_shape(parameter.shape)}"
        if place == len(ordered):
            return taken, f"they end after {place} of {len(graph.parameters)}, {needs}"
        item = ordered[place]
        view = _reshaped(item.tensor, parameter.shape)
        if item.role not in _FITS[parameter.name.rsplit(".", 1)[1]] or view.shape != parameter.shape:
            return taken, f"tensor {place + 1}, {shown(item.name)}, is {short_shape(item.tensor.shape)}, but {needs}"
        taken[parameter.name] = (item.name, view)
    if len(ordered) > len(taken):
        left = len(ordered) - len(taken)
        return taken, f"{left} are left over after the last layer, the first is {shown(ordered[len(taken)].name)}"
    return taken, None


def _reshaped(tensor: Array, shape: Shape) -> Array:
    """(out, in) as (out, in, 1, 1) and back; nothing else."""
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1) and len(shape) == 2:
        return tensor[:, :, 0, 0]
    if tensor.ndim == 2 and len(shape) == 4:
        return tensor[:, :, None, None]
    return tensor
