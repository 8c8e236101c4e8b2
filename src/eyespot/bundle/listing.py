"""Every network one can name, in one table: what it costs, how well it does by which recipe, where its weights are.

The catalogue's variants are joined with the published cards, with the bundles on this machine, and with accuracies that
others published (``accuracy.csv``: facts, each with its source). Nothing is drawn, fetched or hashed, and no numpy is
loaded.
"""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eyespot.arch.catalogue import FAMILIES, variants
from eyespot.arch.variant import Size
from eyespot.bundle.cache import bundle_directory
from eyespot.bundle.costs import cost_of, own_size
from eyespot.bundle.published import Published, published
from eyespot.bundle.resolve import BUILT_IN, built_in_names, cached_names, download_place, is_here
from eyespot.bundle.store import CARD
from eyespot.core.cost import cost
from eyespot.core.graph import Graph
from eyespot.errors import EyespotError, UsageError

# Where weights are, nearest first: the first three are on this machine; 'fetch' and 'pip' bring them; 'import' needs a
# file that the person has; 'none' has figures only; 'damaged' cannot be read.
Weights = Literal["built in", "cached", "installed", "fetch", "pip", "import", "none", "damaged"]
HERE: tuple[Weights, ...] = ("built in", "cached", "installed")
_NEAREST: tuple[Weights, ...] = (*HERE, "fetch", "pip", "import", "none", "damaged")
_IMAGENET = "ImageNet"


@dataclass(frozen=True, slots=True)
class Listed:
    """A row: a variant by a recipe, at an input size. MACs and peak activations are for one picture of that size.

    recipe is empty for a variant of which nothing was published. top1 and top5 are percentages on ``data``, as
    ``source`` published them. peak_activation_bytes: float32.
    """

    variant: str
    family: str
    recipe: str
    parameters: int | None
    macs: int | None
    peak_activation_bytes: int | None
    input: tuple[int, int]
    top1: float | None = None
    top5: float | None = None
    data: str = ""
    source: str = ""
    licence: str = ""
    weights: Weights = "none"

    @property
    def name(self) -> str:
        """The name that opens it, where it has weights: ``variant.recipe``."""
        return f"{self.variant}.{self.recipe}" if self.recipe else self.variant

    @property
    def imagenet_top1(self) -> float | None:
        """Its top-1 when that is comparable with the others': on ImageNet."""
        return self.top1 if self.data.startswith(_IMAGENET) else None

    def to_json(self) -> dict[str, Any]:
        """Every field, and the name; None for what nobody published."""
        return {"name": self.name, **asdict(self), "input": list(self.input)}


class Figure(NamedTuple):
    """A published accuracy: per cent on ImageNet-1K's validation pictures."""

    variant: str
    recipe: str
    size: int
    top1: float
    top5: float | None
    source: str


@cache
def figures() -> tuple[Figure, ...]:
    """The rows of ``accuracy.csv``."""
    text = (resources.files("eyespot.bundle") / "accuracy.csv").read_text(encoding="utf-8")
    return tuple(
        Figure(variant, recipe, int(size), float(top1), float(top5) if top5 else None, source)
        for variant, recipe, size, top1, top5, source in list(csv.reader(text.splitlines()))[1:]
    )


def listing() -> list[Listed]:
    """All rows, in the catalogue's order: cards and bundles first, then figures, then variants without any."""
    rows = [*_local(), *map(_of_card, _cards())]
    known = {(row.variant, row.recipe, row.input) for row in rows}
    same = {(row.variant, row.recipe): row for row in rows}
    rows += [
        _of_figure(f, same.get((f.variant, f.recipe)))
        for f in figures()
        if (f.variant, f.recipe, (f.size, f.size)) not in known
    ]
    named = {row.variant for row in rows}
    rows += [_row(name, "", {}, own_size(name)) for name in variants() if name not in named]
    place = {name: i for i, name in enumerate(variants())}
    return sorted(rows, key=lambda row: place.get(row.variant, len(place)))


def nearest(rows: Iterable[Listed]) -> list[Listed]:
    """One row per variant: of the recipes whose weights are nearest, the best at the variant's own input size."""
    best: dict[str, Listed] = {}
    for row in rows:
        if row.variant not in best or _worth(row) > _worth(best[row.variant]):
            best[row.variant] = row
    return list(best.values())


def select(
    rows: Iterable[Listed],
    *,
    max_macs: float | None = None,
    max_parameters: float | None = None,
    min_top1: float | None = None,
    families: Sequence[str] = (),
    here: bool = False,
) -> list[Listed]:
    """The rows within these limits; a figure that is not known is within none. top-1 is ImageNet's.

    families: beginnings of families' names ('mobilenet' takes all of them). UsageError for one that begins none.
    """
    for family in families:
        if not any(known.startswith(family) for known in FAMILIES):
            raise UsageError(f"no family is called {family!r}; there are {', '.join(FAMILIES)}")
    return [
        row
        for row in rows
        if (max_macs is None or (row.macs is not None and row.macs <= max_macs))
        and (max_parameters is None or (row.parameters is not None and row.parameters <= max_parameters))
        and (min_top1 is None or (row.imagenet_top1 is not None and row.imagenet_top1 >= min_top1))
        and (not families or row.family.startswith(tuple(families)))
        and (not here or row.weights in HERE)
    ]


SORT_KEYS: Mapping[str, Callable[[Listed], Any]] = {
    "name": lambda row: row.name,
    "family": lambda row: row.family,
    "parameters": lambda row: row.parameters,
    "macs": lambda row: row.macs,
    "memory": lambda row: row.peak_activation_bytes,
    "input": lambda row: row.input,
    "top1": lambda row: row.imagenet_top1,
    "top5": lambda row: row.top5 if row.data.startswith(_IMAGENET) else None,
    "weights": lambda row: _NEAREST.index(row.weights),
}


def ordered(rows: Iterable[Listed], by: str) -> list[Listed]:
    """Sorted by one of ``SORT_KEYS``, descending after a '-'; what is not known comes last. UsageError otherwise."""
    value = SORT_KEYS.get(by.removeprefix("-"))
    if value is None:
        raise UsageError(f"cannot sort by {by!r}; sort by {', '.join(SORT_KEYS)}, or -macs for the largest first")
    rows = list(rows)
    known = [row for row in rows if value(row) is not None]
    known.sort(key=value, reverse=by.startswith("-"))
    return known + [row for row in rows if value(row) is None]


def wanted_costs() -> Iterator[tuple[str, Mapping[str, Any], Size]]:
    """What ``costs.json`` should hold: every variant at its own size, and what cards and figures are published for."""
    for name in variants():
        yield name, {}, own_size(name)
        for card in _cards():
            if card.architecture == name:
                yield name, card.arguments, _size(card)
        for figure in figures():
            if figure.variant == name:
                yield name, {}, figure.size


def _cards() -> list[Published]:
    return [card for card in published().values() if card.architecture in variants()]


def _worth(row: Listed) -> tuple[float, ...]:
    own = row.variant in variants() and row.input == own_size(row.variant)
    return -_NEAREST.index(row.weights), own, row.top1 or 0.0


def _row(name: str, recipe: str, arguments: Mapping[str, Any], size: tuple[int, int]) -> Listed:
    c = cost_of(name, arguments, size)
    family = variants()[name].family
    return Listed(name, family, recipe, c.parameters, c.macs, c.peak_activation_bytes, size)


def _of_figure(f: Figure, same: Listed | None) -> Listed:
    """same: a row with the weights of this recipe. timm measures one file at several sizes; others publish one each."""
    row = _row(f.variant, f.recipe, {}, (f.size, f.size))
    if same is not None and f.source.startswith("timm"):
        row = replace(row, weights=same.weights, licence=same.licence)
    return replace(row, top1=f.top1, top5=f.top5, data="ImageNet-1K val", source=f.source)


def _of_card(card: Published) -> Listed:
    recipe = card.name.removeprefix(f"{card.architecture}.")
    row = _row(card.architecture, recipe, card.arguments, _size(card))
    metrics = {m.name: m for m in card.metrics}
    if "top1" in metrics:
        first = metrics["top1"]
        top5 = metrics["top5"].value if "top5" in metrics else None
        row = replace(row, top1=first.value, top5=top5, data=first.data, source=first.source)
    else:
        for f in figures():
            if (f.variant, f.recipe, (f.size, f.size)) == (row.variant, row.recipe, row.input):
                row = replace(row, top1=f.top1, top5=f.top5, data="ImageNet-1K val", source=f.source)
    return replace(row, licence=card.licence, weights=_where(card))


def _size(card: Published) -> tuple[int, int]:
    size: Size = card.arguments.get("size", card.preprocess.size)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _where(card: Published) -> Weights:
    if (BUILT_IN / card.name / CARD).is_file():
        return "built in"
    if is_here(card.name) or (card.file_name and download_place(card).is_file()):
        return "cached"
    if card.file is not None and _is_installed(card.file):
        return "installed"
    if card.published_at:
        return "fetch"
    return "pip" if card.distribution else "import"


def _is_installed(file: str) -> bool:
    """Whether a distribution's file is there, without importing it, and without the price of reading its metadata."""
    package, _, inside = file.partition("/")
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations or ()) if spec else ()
    return any((Path(place) / inside).is_file() for place in places)


def _local() -> list[Listed]:
    """The bundles inside the package and those that the user imported, but for those with a published card."""
    built_in: list[tuple[Path, Weights]] = [(BUILT_IN / name, "built in") for name in built_in_names()]
    imported: list[tuple[Path, Weights]] = [(bundle_directory(name), "cached") for name in cached_names()]
    cards = published()
    return [_of_bundle(place, where) for place, where in (*built_in, *imported) if place.name not in cards]


def _of_bundle(place: Path, where: Weights) -> Listed:
    """Read without its weights; a bundle that cannot be read is listed too, and says so."""
    try:
        card = json.loads((place / CARD).read_text(encoding="utf-8"))
        name, architecture = str(card["name"]), str(card["architecture"])
        metrics = {m["name"]: m for m in card["metrics"]}
        top1, top5 = (float(metrics[key]["value"]) if key in metrics else None for key in ("top1", "top5"))
        height, width = card["graph"]["input"][1:]
        known = variants().get(architecture)
        c = cost(Graph.from_json(card["graph"]))
        return Listed(
            architecture,
            known.family if known else "",
            name.removeprefix(f"{architecture}."),
            c.parameters, c.macs, c.peak_activation_bytes,
            (height, width),
            top1, top5,
            str(metrics["top1"]["data"]) if top1 is not None else "",
            str(metrics["top1"]["source"]) if top1 is not None else "",
            str(card["licence"]),
            where,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, EyespotError):
        return Listed(place.name, "", "", None, None, None, (0, 0), weights="damaged")
