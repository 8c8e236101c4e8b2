"""The validation part, seen as the exported bundle sees it; and that bundle, with the figures it earned."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.calibrate import fit_temperature
from eyespot.accuracy.interval import wilson
from eyespot.bundle.build import build
from eyespot.bundle.store import Bundle
from eyespot.core.card import Card, Metric
from eyespot.core.graph import Graph
from eyespot.core.labels import Labels
from eyespot.image.readout import readout
from eyespot.learn.origin import Origin
from eyespot.learn.pictures import Store
from eyespot.learn.run import Run
from eyespot.learn.serving import logits
from eyespot.lower.tensors import Weights

_TOP = 5
ENOUGH = 100  # images that tell one epoch from another


@dataclass(frozen=True)
class Verdict:
    """What a network says of some pictures. logits: (n, classes); loss: mean cross-entropy, of the logits as they are.

    temperature: the one that fits them best; losses: (n,) of each image, of the logits divided by it. first, fifth:
    how many have the right label first, or among five.
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    loss: float
    temperature: float
    losses: NDArray[np.float64]
    first: int
    fifth: int

    @property
    def count(self) -> int:
        """The pictures."""
        return len(self.targets)

    @property
    def top1(self) -> float | None:
        """0 to 1; None without pictures."""
        return self.first / self.count if self.count else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of top1."""
        return wilson(self.first, self.count) if self.count else None


def judge(answers: NDArray[np.float32], targets: NDArray[np.int64], labels: Labels, temperature: float = 0) -> Verdict:
    """Counts as ``eyespot evaluate`` would with the temperature in the card; 0 fits one to these answers."""
    if not len(targets):
        return Verdict(answers, targets, float("nan"), temperature or 1.0, np.zeros(0), 0, 0)
    temperature = temperature or fit_temperature(answers, targets)
    _, plain = readout(answers, labels)
    _, probabilities = readout(answers, labels, temperature=temperature)
    ranks = np.argsort(-probabilities, axis=1, kind="stable")[:, :_TOP]
    hits = ranks == targets[:, None]
    loss, losses = float(_losses(plain, targets).mean()), _losses(probabilities, targets)
    return Verdict(answers, targets, loss, temperature, losses, int(hits[:, 0].sum()), int(hits.any(1).sum()))


def _losses(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) cross-entropy of each image."""
    right = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return -np.log(np.maximum(right, 1e-12))


def is_better(losses: Sequence[float], best: Sequence[float], *, top1: float, floor: float, epoch: bool) -> bool:
    """Whether weights that were just validated replace others.

    losses, best: of each image, of the new weights and of the others, each at the temperature that fits: they tell more
    than top-1, for every image counts by how sure the network is of it. floor: the top-1 of the weights that the run
    began with, below which no loss makes up for it.

    Fewer than 100 images cannot tell one epoch from the next, and the best of many by chance is no better than the
    last. There the weights after an ``epoch`` are taken unless they are worse than the ``best``, which is then the
    beginning, by more than the standard error of the difference; others must be better by as much.
    """
    difference = np.subtract(losses, best)
    mean = float(difference.mean())
    if len(difference) >= ENOUGH:
        return top1 >= floor and mean < 0
    error = float(difference.std()) / math.sqrt(max(len(difference) - 1, 1))
    return mean <= error if epoch else mean < -error


@dataclass(frozen=True)
class Held:
    """Pictures that are not trained on, prepared, and their targets; ``name`` is of the part: validation or test."""

    name: str
    pictures: Store
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Jury:
    """Judges networks of one run by its validation part, and writes the best one's bundle."""

    run: Run
    origin: Origin
    graph: Graph
    labels: Labels
    held: Held
    workers: int

    def answers(
        self, weights: Weights, held: Held | None = None, step: Callable[[], None] = lambda: None
    ) -> NDArray[np.float32]:
        """(n, classes): what the exported network gives for each picture."""
        held = held or self.held
        if not len(held.targets):
            return np.zeros((0, len(self.labels)), np.float32)
        preprocess = self.origin.preprocess
        return logits(self.graph, weights, preprocess, held.pictures, workers=self.workers, step=step)

    def judge(self, weights: Weights, step: Callable[[], None] = lambda: None) -> Verdict:
        """The verdict on the validation part."""
        return judge(self.answers(weights, step=step), self.held.targets, self.labels)

    def publish(self, weights: Weights, verdict: Verdict, test: Verdict | None = None) -> Bundle:
        """Writes the run's best bundle. BundleError when the disk is full; the one before it stays."""
        images, parent = self.run.training_images(), self.origin.bundle
        if images and parent and self.run.recipe.kind != "scratch":
            images |= parent.training_images()
        return build(
            self.run.best, self._card(verdict, test),
            weights=weights, labels=self.labels, training_images=images, replace=True,
        )  # fmt: skip

    def _card(self, verdict: Verdict, test: Verdict | None) -> Card:
        parent = self.origin.bundle.card if self.origin.bundle else None
        recipe, data = self.run.recipe, Path(self.run.facts.data)
        start = f"from {parent.name}" if parent else "from random weights"
        metrics = (*self._metrics("validation", verdict), *(self._metrics("test", test) if test else ()))
        return Card(
            name=f"{self.origin.architecture}.{_slug(data)}",
            architecture=self.origin.architecture,
            arguments=self.origin.arguments,
            graph=self.graph,
            preprocess=self.origin.preprocess,
            metrics=metrics,
            temperature=verdict.temperature,
            parent=parent.name if parent else None,
            licence=parent.licence if parent else "",
            source=f"eyespot train {version('eyespot')}: {recipe.kind} {start}, recipe {recipe.digest[:12]}, "
            f"pictures {self.run.facts.digest[:12]}",
            description=f"Knows the {len(self.labels)} classes of {data.name}.",
        )

    def _metrics(self, part: str, verdict: Verdict) -> tuple[Metric, ...]:
        if not verdict.count:
            return ()
        data = f"{Path(self.run.facts.data).name}, {part} part, {verdict.count:,} pictures"
        rows = [("top1", verdict.first), *([("top5", verdict.fifth)] if len(self.labels) > _TOP else [])]
        return tuple(
            Metric(
                name, round(100 * hits / verdict.count, 3), data, "eyespot train", _percent(wilson(hits, verdict.count))
            )
            for name, hits in rows
        )


def _percent(interval: tuple[float, float]) -> tuple[float, float]:
    return round(100 * interval[0], 3), round(100 * interval[1], 3)


def _slug(data: Path) -> str:
    return re.sub(r"\W+", "_", data.stem.lower()).strip("_") or "own"
