"""What a run chooses by itself: size, epochs and batch, from how many pictures there are and how large they are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from eyespot.core.recipe import Recipe
from eyespot.errors import GraphError, UsageError
from eyespot.learn.origin import Origin


class Row(NamedTuple):
    """For up to so many training pictures: so many epochs, of batches of so many pictures."""

    pictures: float
    epochs: int
    batch: int


# Few pictures: many epochs, small batches, so that there are some hundred steps. docs/train.md shows these tables.
FINETUNE = (
    Row(100, 25, 16),
    Row(500, 12, 16),
    Row(2_000, 8, 32),
    Row(10_000, 5, 32),
    Row(100_000, 4, 64),
    Row(math.inf, 3, 128),
)
SCRATCH = (Row(2_000, 150, 32), Row(10_000, 80, 64), Row(50_000, 40, 128), Row(math.inf, 20, 128))

_ENLARGED = 1.25  # pictures smaller than the network's own gain from being enlarged a little
_GRID = 32  # the networks' stride: sizes are its multiples
_LEAST, _LEAST_MOST, _FRESH_MOST = 64, 160, 224  # pixels: of any; the limit for small origins; for fresh networks
_STABLE = 8  # pictures in a batch from which on batch norm may measure its own statistics


def resolve(recipe: Recipe, origin: Origin, *, pictures: int, side: int, classes: int) -> Recipe:
    """The recipe with nothing left to choose but what is measured.

    pictures: for training. side: the typical shorter side in pixels, 0 when unknown. Small batches keep the statistics
    of batch norm that the network came with. UsageError when the recipe cannot start from this origin.
    """
    if recipe.kind in ("probe", "finetune") and origin.bundle is None:
        raise UsageError(
            f"{origin.architecture} is an architecture without weights, {recipe.kind} needs a trained network; name a "
            "bundle (`eyespot models` lists them), or train it with --recipe scratch"
        )
    if recipe.kind == "distill" and not recipe.teacher:
        raise UsageError("the recipe distill needs a teacher; name its bundle with --teacher")
    if recipe.kind != "distill" and recipe.teacher:
        raise UsageError(f"a teacher was named, but the recipe is {recipe.kind}; add --recipe distill")
    if classes < 2:
        raise UsageError(f"the pictures have {classes} class; a classifier needs two or more: add a folder of others")
    rows = FINETUNE if recipe.kind in ("probe", "finetune") else SCRATCH
    row = next(row for row in rows if pictures <= row.pictures)
    batch = min(recipe.batch or row.batch, pictures)
    trained = origin.bundle is not None
    return replace(
        recipe,
        size=_size(recipe, origin, side=side, classes=classes),
        epochs=0 if recipe.kind == "probe" else recipe.epochs or row.epochs,
        batch=batch,
        norm=replace(recipe.norm, frozen=recipe.norm.frozen or (trained and batch < _STABLE)),
    )


def _size(recipe: Recipe, origin: Origin, *, side: int, classes: int) -> int:
    """The side of the network's input; its own when it takes no other."""
    if recipe.size:
        origin.at(size=recipe.size, classes=classes)
        return recipe.size
    most = max(origin.side, _LEAST_MOST) if origin.bundle else _FRESH_MOST
    wanted = _GRID * math.ceil(side * (_ENLARGED if origin.bundle else 1) / _GRID)
    size = min(max(wanted, _LEAST), most) if side else most
    try:
        origin.at(size=size, classes=classes)
    except GraphError:
        size = max(origin.graph.input[1:])
        origin.at(size=size, classes=classes)
    return size
