"""What the networks of the catalogue cost, on record, so that a list of all of them draws none.

``costs.json`` holds, per variant, the digest of its graph, and ``[parameters, MACs, peak activation bytes]`` by the
size of the picture and every argument that moves the cost. A test holds it against drawing; what is not on record is
drawn. After a change write it anew:  python -m eyespot.bundle.record_costs
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from eyespot.arch.catalogue import draw, variant
from eyespot.arch.variant import Size
from eyespot.core.cost import Cost, cost
from eyespot.core.graph import Graph

# Neither is the number of classes: what a variant costs is said for those it was published with.
_MOVES_NO_COST = ("classes", "padding", "eps", "dropout", "drop_path", "size", "shuffle_behind", "shortcut_first")


def cost_of(name: str, arguments: Mapping[str, Any], size: Size) -> Cost:
    """The cost of a variant at a size, with its own number of classes; from the record, else drawn."""
    row = recorded().get(name, {}).get(key(arguments, size))
    return Cost(*row) if row else deployed(draw(name, {**moving(arguments), "size": size}))


def deployed(graph: Graph) -> Cost:
    """What a network costs as it runs: as drawn, or, where it is trained with parallel branches, with them made one."""
    from eyespot.lower.reparam import reparam_graph

    drawn, merged = cost(graph), cost(reparam_graph(graph))
    return merged if merged.macs < drawn.macs else drawn


def own_size(name: str) -> tuple[int, int]:
    """The (height, width) that a variant is drawn at when nobody says another."""
    v = variant(name)
    size: Size = v.arguments.get("size", (v.function.__kwdefaults__ or {})["size"])  # type: ignore[assignment]
    return (size, size) if isinstance(size, int) else size


def key(arguments: Mapping[str, Any], size: Size) -> str:
    """What a row is filed under: '224', '192x256', '224 stride_on=1x1'."""
    height, width = (size, size) if isinstance(size, int) else size
    others = [f"{name}={value}" for name, value in sorted(moving(arguments).items())]
    return " ".join([str(height) if height == width else f"{height}x{width}", *others])


@cache
def recorded() -> Mapping[str, Mapping[str, Any]]:
    """The record; empty when there is none yet."""
    file = resources.files("eyespot.bundle") / "costs.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def moving(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that a cost depends on, without the size."""
    return {name: value for name, value in arguments.items() if name not in _MOVES_NO_COST}
