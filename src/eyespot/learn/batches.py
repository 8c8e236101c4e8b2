"""Batches of augmented training pictures, every random number of which follows from (seed, epoch, place)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from eyespot.core.pixels import Preprocess
from eyespot.core.recipe import Recipe
from eyespot.learn.augment import augment, mix
from eyespot.learn.pictures import Store, in_order
from eyespot.learn.probe import class_weights
from eyespot.learn.ranks import ONE, Ranks

_BATCHES_AHEAD = 2
# Keep the random numbers of an epoch's order, of a picture and of a batch apart.
_ORDER, _PICTURE, _MIX = 1, 2, 3


@dataclass(frozen=True)
class Batches:
    """The training pictures of one process. soft: a teacher's probabilities (n, classes), where there is one."""

    pictures: Store
    targets: NDArray[np.int64]
    classes: int
    preprocess: Preprocess
    recipe: Recipe
    soft: NDArray[np.float32] | None = None
    ranks: Ranks = ONE
    workers: int = 1

    @property
    def steps(self) -> int:
        """Batches in an epoch; a last one that is not full is left out, its pictures come in another epoch."""
        return max(len(self.targets) // self.recipe.batch, 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs (n, 3, H, W), targets (n, classes), or (n, 2 · classes) with the teacher's behind) from a step on.

        With several processes each gets its share of every batch. What a batch holds depends on the recipe, the epoch
        and the step alone.
        """
        order = self._order(epoch)
        size = min(self.recipe.batch, len(order))
        places = [
            place
            for step in range(start, self.steps)
            for place in range(step * size + self.ranks.rank, (step + 1) * size, self.ranks.world)
        ]
        each = len(places) // max(self.steps - start, 1)

        def picture(place: int) -> NDArray[np.uint8]:
            rng = np.random.default_rng((self.recipe.seed, epoch, place, _PICTURE))
            filter = Image.Resampling[self.preprocess.filter.upper()]
            return augment(self.pictures[order[place]], self.recipe.augment, self.preprocess.size, rng, filter=filter)

        pixels = in_order(picture, places, self.workers, ahead=_BATCHES_AHEAD * each)
        for step in range(start, self.steps):
            mine = order[step * size + self.ranks.rank : (step + 1) * size : self.ranks.world]
            inputs = to_inputs(np.stack([next(pixels) for _ in mine]), self.preprocess)
            rng = np.random.default_rng((self.recipe.seed, epoch, step, _MIX, self.ranks.rank))
            yield mix(inputs, self._targets(mine), self.recipe.augment, rng)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.recipe.seed, epoch, 0, _ORDER))
        count = len(self.targets)
        if self.recipe.loss.balance == "sampling":
            chances = class_weights(self.targets, self.classes)[self.targets].astype(np.float64)
            return rng.choice(count, count, p=chances / chances.sum())
        return rng.permutation(count)

    def _targets(self, rows: NDArray[np.int64]) -> Tensor:
        smoothing = self.recipe.loss.smoothing
        hard = np.full((len(rows), self.classes), smoothing / self.classes, np.float32)
        hard[np.arange(len(rows)), self.targets[rows]] += 1 - smoothing
        return torch.from_numpy(hard if self.soft is None else np.concatenate([hard, self.soft[rows]], 1))


def to_inputs(pixels: NDArray[np.uint8], preprocess: Preprocess) -> Tensor:
    """uint8 RGB (n, h, w, 3) → float32 (n, 3, h, w), channels last in memory, scaled as the bundle will do it."""
    if preprocess.channels == "bgr":
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    multiplier, offset = (torch.tensor(v, dtype=torch.float32) for v in preprocess.affine())
    return (torch.from_numpy(pixels) * multiplier + offset).permute(0, 3, 1, 2)
