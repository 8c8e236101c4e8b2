"""Every network by its name. A family is a file beside this one; its variants' names begin with the file's name.

Node names are a public contract: dotted, a role and then ``conv``, ``norm`` or ``act`` (``stem.conv``,
``stage2.block1.expand.norm``), and the same for every padding, size and number of classes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from eyespot.arch.variant import Published, Variant
from eyespot.core.graph import Graph
from eyespot.errors import UnknownName, UsageError

__all__ = ["FAMILIES", "Published", "Variant", "backbone", "draw", "is_own", "variant", "variants"]

FAMILIES = (
    "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "mobilenet_v4", "mnasnet", "squeezenet", "shufflenet_v1",
    "shufflenet_v2", "ghostnet", "resnet", "resnext", "regnet", "efficientnet", "efficientnet_v2", "repvgg",
    "mobileone", "inception_v1", "inception_v3", "inception_v4", "inception_resnet_v2", "xception", "eyelet",
)  # fmt: skip


def variants() -> Mapping[str, Variant]:
    """Every variant of every family by name, in the families' order; nothing is drawn."""
    return _variants()


def variant(name: str) -> Variant:
    """One variant. ``FILE.py:FUNCTION`` runs that file and is the network that its function draws.

    UnknownName, with the nearest names, when there is none; UsageError for a file that holds none.
    """
    if is_own(name):
        from eyespot.arch.own import own_variant

        return own_variant(name)
    for family in FAMILIES:  # so that one name imports one file
        if name.startswith(family) and name in (rows := _family(family)):
            return rows[name]
    known = list(variants())
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
    raise UnknownName(f"no architecture is called {name!r}; the nearest are {', '.join(near)}")


def is_own(name: str) -> bool:
    """Whether a name means a person's own file: ``my_nets.py:tiny``, or ``my_nets.py`` with the function left out."""
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def draw(name: str, arguments: Mapping[str, object] = MappingProxyType({})) -> Graph:
    """The network of that name: ``draw("mobilenet_v2_1.0", {"classes": 10, "size": 160})``.

    arguments: keywords of the family's function, over the variant's own. UnknownName for a name that is not in the
    catalogue, UsageError for an argument that the family does not take or a value of the wrong kind, GraphError for a
    picture too small for the network.
    """
    v = variant(name)
    defaults: dict[str, Any] = v.function.__kwdefaults__ or {}
    for key, value in arguments.items():
        if key not in defaults:
            raise UsageError(f"{name} takes no argument {key!r}; it takes {', '.join(sorted(defaults)) or 'none'}")
        _check(name, key, value, defaults[key])
    return v.function(**{**v.arguments, **arguments})


def backbone(
    name: str, *, taps: Sequence[int] = (4, 8, 16, 32), arguments: Mapping[str, object] = MappingProxyType({})
) -> Graph:
    """A network without its head, for a head of another task: ``backbone("mobilenet_v3_small_1.0", taps=(8, 16, 32))``.

    A head is drawn on it with ``Sketch.extend(graph)``, reading ``sketch.maps(*graph.outputs)``. Names of nodes are
    those of the whole network, so its weights fit.

    Args:
        name: An architecture of the catalogue, or FILE.py:FUNCTION.
        taps: Strides, in network pixels per map pixel; the outputs are the last maps at these, in this order.
        arguments: Keywords of the family's function, as for ``draw``.

    Returns:
        The graph up to the deepest of these taps.

    Raises:
        UsageError: The network has no map at one of these strides.
        UnknownName: No architecture has this name.
    """
    graph = draw(name, arguments)
    missing = [stride for stride in taps if stride not in graph.taps]
    if missing or not taps:
        has = ", ".join(map(str, graph.taps)) or "none"
        raise UsageError(f"expected strides that {name} has ({has}), got {', '.join(map(str, taps)) or 'none'}")
    return graph.up_to(*(graph.taps[stride] for stride in taps))


@cache
def _variants() -> Mapping[str, Variant]:
    return MappingProxyType({name: v for family in FAMILIES for name, v in _family(family).items()})


@cache
def _family(family: str) -> dict[str, Variant]:
    module = import_module(f"eyespot.arch.{family}")
    table: Mapping[str, tuple[Callable[..., Graph], Mapping[str, object]]] = module.VARIANTS
    rows: tuple[Published, ...] = module.PUBLISHED
    return {
        name: Variant(name, family, function, arguments, tuple(row for row in rows if row.variant == name))
        for name, (function, arguments) in table.items()
    }


def _check(name: str, key: str, value: object, default: object) -> None:
    """Refuses a value that is not of its default's kind; arguments come from cards and command lines."""
    if key == "size":
        sides = (value, value) if isinstance(value, int) else value
        legal = isinstance(sides, (list, tuple)) and len(sides) == 2 and all(type(n) is int for n in sides)
        wanted = "an integer or a pair (height, width)"
    elif not isinstance(default, (bool, int, float, str)):  # only a person's own function has such defaults
        return
    elif isinstance(default, (bool, str)):
        legal, wanted = isinstance(value, type(default)), "true or false" if isinstance(default, bool) else "text"
    elif isinstance(default, int):
        legal, wanted = type(value) is int and value > 0, "a positive integer"
    else:
        legal = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
        wanted = "a number, zero or more"
    if not legal:
        raise UsageError(f"{name}: {key} is {value!r}; it must be {wanted}")
