"""What a model said to every picture of a data set: collected in one pass, on the path that serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.dataset import Example
from eyespot.run.many import Failure, classify_many
from eyespot.run.predict import Model

BEST = 5  # labels kept in their order


@dataclass(frozen=True, eq=False)
class Answers:
    """The pictures that could be read, in the order given, and the ``failures`` of those that could not.

    names: what the pictures are called. places: (n,) where each stands among the examples given. targets: (n,) the
    right labels. logits: float32 (n, labels), without a background class. best: (n, up to 5) the most probable labels,
    in their order. confidences: float32 (n,) the probability of the first of them, as it is served.
    """

    names: tuple[str, ...]
    places: NDArray[np.int64] = field(repr=False)
    targets: NDArray[np.int64] = field(repr=False)
    logits: NDArray[np.float32] = field(repr=False)
    best: NDArray[np.int64] = field(repr=False)
    confidences: NDArray[np.float32] = field(repr=False)
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def only(self, rows: NDArray[np.bool_]) -> Answers:
        """Those of some rows, (n,); the failures stay."""
        names = tuple(name for name, wanted in zip(self.names, rows.tolist(), strict=True) if wanted)
        return Answers(
            names,
            self.places[rows],
            self.targets[rows],
            self.logits[rows],
            self.best[rows],
            self.confidences[rows],
            self.failures,
        )

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the label given to each picture."""
        return self.best[:, 0]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether it is the right one."""
        correct: NDArray[np.bool_] = self.predicted == self.targets
        return correct


def collect(
    model: Model,
    data: Sequence[Example],
    *,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Answers:
    """Classifies every example as ``eyespot classify`` would; ``step`` is called after each."""
    labels = len(model.bundle.labels)
    kept: list[int] = []
    best: list[list[int]] = []
    failures = []
    logits = np.empty((len(data), labels), np.float32)
    confidences = np.empty(len(data), np.float32)
    outcomes = classify_many(model, data, workers=workers, read=Example.picture)
    for place, (example, outcome) in enumerate(zip(data, outcomes, strict=True)):
        if isinstance(outcome, Failure):
            failures.append(Failure(example.path, outcome.error))
        else:
            logits[len(kept)] = outcome.logits
            confidences[len(kept)] = outcome.probability
            best.append([p.index for p in outcome.top(BEST)])
            kept.append(place)
        step()
    count = len(kept)
    return Answers(
        tuple(data[place].path for place in kept),
        np.array(kept, np.int64),
        np.array([data[place].target for place in kept], np.int64),
        logits[:count],
        np.array(best, np.int64).reshape(count, min(BEST, labels)),
        confidences[:count],
        tuple(failures),
    )
