"""Who may be chosen: networks with published figures, weights that are on this machine, and scaled architectures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eyespot.arch.catalogue import FAMILIES, variant, variants
from eyespot.arch.scale import Coefficients, coefficients
from eyespot.bundle.costs import cost_of
from eyespot.bundle.listing import HERE, Listed, listing
from eyespot.bundle.published import published
from eyespot.bundle.resolve import INT8, is_here, open_bundle, quantization_file
from eyespot.choose.candidate import Candidate, shrunk_by
from eyespot.core.cost import Cost
from eyespot.core.pixels import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from eyespot.errors import EyespotError, UsageError

_GRID, _LEAST = 32, 64  # pixels: sizes are multiples of the networks' stride, from 64 on
_SMALL_OWN = 160  # pixels, up to which networks for smaller pictures than that gain from larger ones (learn.choices)
_ENLARGED = 1.25  # pictures that are smaller than a network's own gain from being enlarged a little (learn.choices)
_STEPS = (0.0, -2.0, -4.0, -6.0, -8.0)  # of compound scaling, from a family's own size down to 1/256 of its MACs
_UNKNOWN = -1000.0  # a promise below every known one


def by_figures(*, families: Sequence[str] = (), here: bool = False) -> list[Candidate]:
    """ImageNet classifiers: for each variant and size the recipe that was published with the highest top-1, and the
    scaled architectures, of which nothing is known. here: only those whose weights are on this machine."""
    best: dict[tuple[str, int], Listed] = {}
    for row in _wanted(families):
        if row.imagenet_top1 is None or row.macs is None or (here and row.weights not in HERE):
            continue
        card = published().get(row.name)
        if row.weights in ("none", "damaged") or (card is not None and card.preprocess.size != row.input):
            continue  # measured so by its publisher, but not to be had so
        place = row.variant, max(row.input)
        if place not in best or _worth(row) > _worth(best[place]):
            best[place] = row
    found = [c for row in best.values() for c in _of_row(row)]
    return _ordered(found + ([] if here else list(_scaled({}, families=families, most=math.inf))))


def by_weights(*, classes: int, side: int, families: Sequence[str] = ()) -> list[Candidate]:
    """Networks that start from weights on this machine, at sizes that suit pictures of ``side`` pixels (0: unknown),
    and, after them, architectures that would be trained from nothing. classes: of the person's pictures."""
    most = _GRID * math.ceil(side * _ENLARGED / _GRID) if side else math.inf
    found: list[Candidate] = []
    for row in _wanted(families):
        if row.weights in HERE and row.variant in variants():
            found += _at_sizes(row, classes=classes, most=most)
    return _ordered([*found, *_scaled({"classes": classes}, families=families, most=most)])


def _wanted(families: Sequence[str]) -> Iterator[Listed]:
    for family in families:
        if not any(known.startswith(family) for known in FAMILIES):
            raise UsageError(f"no family is called {family!r}; there are {', '.join(FAMILIES)}")
    return (row for row in listing() if not families or row.family.startswith(tuple(families)))


def _worth(row: Listed) -> tuple[float, bool, bool]:
    """By accuracy; of equals, the one whose weights are nearer."""
    return row.top1 or 0.0, row.weights in HERE, row.weights != "import"


def _of_row(row: Listed) -> Iterator[Candidate]:
    card = published().get(row.name)
    size = row.input
    here = row.weights in HERE and (card is None or card.preprocess.size == size)
    made = is_here(row.name + INT8) or (card is not None and quantization_file(card) is not None)
    pixels = card.preprocess if card else _plain(size)
    arguments = {**(card.arguments if card else {}), "size": size}
    one = Candidate(
        row.name,
        row.variant,
        arguments,
        pixels if pixels.size == size else replace(pixels, size=size, resize=0),
        Cost(row.parameters or 0, row.macs or 0, row.peak_activation_bytes or 0),
        start=row.name if here else "",
        quantized=row.name + INT8 if here and made else "",
        top1=row.imagenet_top1,
        source=row.source,
        weights=row.weights,
    )
    yield from _in_both(one)


def _at_sizes(row: Listed, *, classes: int, most: float) -> Iterator[Candidate]:
    """The network of these weights for the person's classes, at its own size and at smaller ones."""
    try:
        card = published().get(row.name) or open_bundle(row.name).card
    except EyespotError:  # damaged: `eyespot models` says so
        return
    if getattr(card, "precision", "float32") != "float32":
        return
    own = max(card.preprocess.size)
    largest = int(min(max(own, min(_SMALL_OWN, most)), max(most, _LEAST)))
    sides = {*range(_LEAST, largest + 1, _GRID), *([own] if own <= largest else [])}
    plain = {key: value for key, value in card.arguments.items() if key not in ("size", "classes")}
    for side in sorted(sides, reverse=True):
        arguments = {**plain, "classes": classes, "size": side}
        costs = _cost(row.variant, arguments)
        if costs is None:
            continue
        one = Candidate(
            row.name,
            row.variant,
            arguments,
            replace(card.preprocess, size=(side, side), resize=0),
            costs,
            start=row.name,
            top1=row.imagenet_top1 if side == own else None,
            source=row.source if side == own else "",
            weights=row.weights,
            # What was trained on other pictures than ImageNet knows less of a person's: it comes after, large first.
            promise=(row.imagenet_top1 or -100 + math.log10(costs.macs)) - shrunk_by(own, side),
        )
        yield from _in_both(one)


def _scaled(arguments: Mapping[str, Any], *, families: Sequence[str], most: float) -> Iterator[Candidate]:
    """Each family whose width, depth and size are free, at steps of compound scaling, and Eyelet at small sizes."""
    for name in ("mobilenet_v1_1.0", "mobilenet_v2_1.0", "mobilenet_v3_small_1.0", "efficientnet_b0"):
        if families and not name.startswith(tuple(families)):
            continue
        defaults = {**(variant(name).function.__kwdefaults__ or {}), **variant(name).arguments}
        for step in _STEPS:
            at: Coefficients = coefficients(step)
            side = int(min(_GRID * max(1, round(at.size / _GRID)), max(most, _GRID)))
            by = {"width": defaults["width"] * at.width, "depth": defaults["depth"] * at.depth, "size": side}
            yield from _untrained(name, {**arguments, **by})
    if not families or "eyelet".startswith(tuple(families)):
        for name, side in (("eyelet_1.0", 64), ("eyelet_0.5", 64), ("eyelet_1.0", 32), ("eyelet_0.5", 32)):
            yield from _untrained(name, {**arguments, "size": side})


def _untrained(name: str, arguments: Mapping[str, Any]) -> Iterator[Candidate]:
    costs = _cost(name, arguments)
    if costs is None:
        return
    side = int(arguments["size"])
    promise = _UNKNOWN + math.log10(max(costs.macs, 1))
    yield from _in_both(Candidate(name, name, dict(arguments), _plain((side, side)), costs, promise=promise))


def _cost(name: str, arguments: Mapping[str, Any]) -> Cost | None:
    """None for a picture too small for the network. A classifier for fewer classes counts only if it is drawn."""
    from eyespot.arch.catalogue import draw
    from eyespot.bundle.costs import deployed

    try:
        if "classes" in arguments:
            return deployed(draw(name, arguments))
        return cost_of(name, arguments, arguments["size"])
    except EyespotError:
        return None


def _plain(size: tuple[int, int]) -> Preprocess:
    return Preprocess(size, "crop", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _in_both(one: Candidate) -> Iterator[Candidate]:
    promise = one.promise if one.expected is None or one.promise else one.expected
    yield replace(one, promise=promise)
    yield replace(one, precision="int8", promise=promise - 0.5)


def _ordered(found: Iterable[Candidate]) -> list[Candidate]:
    """The most promising first; of equals, the one with fewer MACs."""
    return sorted(found, key=lambda one: (-one.promise, one.cost.macs))
