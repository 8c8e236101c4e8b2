"""``eyespot prune``: what is asked for, and what came of it. ``learn.prune`` does it, since fine-tuning needs torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

from eyespot.accuracy.interval import wilson
from eyespot.accuracy.paired import Paired
from eyespot.bundle.store import Bundle
from eyespot.core.card import Card, Metric
from eyespot.core.cost import Cost
from eyespot.core.graph import Graph
from eyespot.core.labels import Labels
from eyespot.shrink.coupling import couple
from eyespot.shrink.timing import Timed

Score = Literal["gradients", "magnitudes"]
_MARK = "-pruned"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    macs: '0.5x' or '150M'. max_drop: of top-1 (a share), beyond which nothing is written; None for any. epochs: of
    fine-tuning in all; None: as many as fit in ``minutes``, or by the number of pictures. rounds: of cutting and
    fine-tuning, each cutting a like share; None: one for each halving. score: what a channel is worth. seed,
    validation, group: as for training. settings: 'optimizer.lr=0.01' texts over the recipe of fine-tuning.
    """

    macs: str = "0.5x"
    max_drop: float | None = None
    epochs: int | None = None
    minutes: float | None = None
    rounds: int | None = None
    score: Score = "gradients"
    seed: int = 0
    validation: float = 0.2
    group: str = ""
    settings: tuple[str, ...] = ()


class Round(NamedTuple):
    """One cut and what fine-tuning made of it. cut, tuned: top-1 (a share) on the pictures that were held out."""

    macs: int
    epochs: int
    cut: float
    tuned: float


class Layer(NamedTuple):
    """A layer's channels; others: how many layers more keep the same ones."""

    name: str
    others: int
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Pruned:
    """What came of it. bundle: None when it was not written, and ``why`` says why.

    learned, held: pictures that were fine-tuned on, and the name of the part that the figures are of. alone: the
    network before, and after the last cut; found: before, and after fine-tuning. costs, sizes: (before, after), sizes
    in bytes of the ONNX files. unreadable: pictures that did not count.
    """

    model: str
    learned: int
    held: str
    alone: Paired
    found: Paired
    rounds: tuple[Round, ...]
    layers: tuple[Layer, ...]
    costs: tuple[Cost, Cost]
    sizes: tuple[int, int]
    timed: Timed
    unreadable: tuple[str, ...]
    bundle: Bundle | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        before, after = self.costs
        return {
            "model": self.model,
            "bundle": str(self.bundle.path) if self.bundle else None,
            "why_not": self.why or None,
            "learned_from": self.learned,
            "part": self.held,
            **self.found.to_json(),
            "alone": self.alone.to_json(),
            "macs": {"before": before.macs, "after": after.macs},
            "parameters": {"before": before.parameters, "after": after.parameters},
            "model_bytes": {"before": self.sizes[0], "after": self.sizes[1]},
            **self.timed.to_json(),
            "rounds": [
                {"macs": r.macs, "epochs": r.epochs, "top1_cut": round(r.cut, 6), "top1_tuned": round(r.tuned, 6)}
                for r in self.rounds
            ],
            "layers": [{"layer": row.name, "others": row.others, "channels": list(row[2:])} for row in self.layers],
            "unreadable": list(self.unreadable),
        }


def halvings(before: int, after: int) -> int:
    """How many rounds cut to half, or less, at a time.

    A quarter of MobileNetV2's MACs on 600 apple leaves, six epochs in all: 71 % right in one round, 98 % in two.
    """
    return max(math.ceil(math.log2(before / after) - 1e-3), 1)


def rungs(before: int, after: int, rounds: int) -> list[int]:
    """The MACs after each round: each leaves the same share of those before it."""
    return [*(round(before * (after / before) ** (i / rounds)) for i in range(1, rounds)), after]


def epochs_of(total: int, rounds: int) -> list[int]:
    """Each round's epochs: half of them come after the last cut, and none goes without."""
    if rounds == 1:
        return [total]
    early = max(round(total / 2 / (rounds - 1)), 1)
    return [*[early] * (rounds - 1), max(total - early * (rounds - 1), 1)]


def layers(before: Graph, after: Graph) -> tuple[Layer, ...]:
    """What each space of channels kept, by the first layer that makes it, in order."""
    rows: dict[str, Layer] = {}
    for group in couple(before).groups:
        first, *others = group.makers
        if first not in rows:
            rows[first] = Layer(first, len(others), before.shape(first)[0], after.shape(first)[0])
    return tuple(rows.values())


def pruned_card(parent: Card, graph: Graph, *, source: str = "") -> Card:
    """The card of a network cut out of ``parent``'s; it draws itself, no architecture of the catalogue does."""
    architecture = parent.architecture.removesuffix(_MARK) + _MARK
    rest = parent.name.removeprefix(parent.architecture) if parent.name.startswith(parent.architecture) else ""
    return replace(
        parent,
        name=f"{architecture}{rest}" if rest else parent.name + _MARK,
        architecture=architecture,
        arguments={},
        graph=graph,
        files={},
        metrics=(),
        parent=parent.name,
        source=source or f"eyespot prune {version('eyespot')}, from {parent.name}",
        threshold=None,
    )


def measured(card: Card, found: Paired, *, data: str, temperature: float) -> Card:
    """The card with what was measured of the network; its parent's figures do not hold for it."""
    low, high = wilson(round(found.after * found.pictures), found.pictures)
    interval = (round(100 * low, 3), round(100 * high, 3))
    metric = Metric("top1", round(100 * found.after, 3), data, "eyespot prune", interval)
    return replace(card, metrics=(metric,), temperature=temperature)


def plain_labels(labels: Labels) -> Labels:
    """The labels without a background class, which is pruned first: no picture is of it."""
    return replace(labels, background=False)
