"""Labels that look wrong: a linear classifier that has seen every other picture is sure of another class.

The features are the logits that a bundle gives to each picture, standardised, their MOST_FEATURES main directions. On
them a ridge regression to the classes is fitted, classes weighted to count alike, and each picture's scores are those
of the regression that was fitted without it, in closed form: (p - h·y) / (1 - h) with its fitted scores p, its leverage
h and its own label y (Allen's PRESS, Technometrics 16, 1974). The strength of the ridge is the one with the smallest
such error. A picture is suspicious when another class scores MARGIN or more above its own.

It is a suspicion, not a proof: rare and odd pictures look wrong too. With 30 labels changed at random among 1,586
pictures of leaves, three times over, EfficientNet-Lite0's logits found 29, 27 and 23 of them, with one false alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.data.look import Looks
from eyespot.data.source import Source
from eyespot.run.many import Failure, classify_many
from eyespot.run.predict import Model

MARGIN = 0.5  # of a score that is 1 for a picture's own class and 0 for the others
MOST_FEATURES = 256
FEWEST = 5  # pictures; a class of fewer gives too little to learn it from
ENOUGH = 0.6  # the share of labels that must be found without their own picture, or nothing is said
_STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)  # per picture
_LEVERAGE = 1 - 1e-9

Floats = NDArray[np.float64]


class Suspect(NamedTuple):
    """A picture whose label looks wrong. margin: how far ``other`` scores above ``label`` (0.5 and more)."""

    name: str
    label: int
    other: int
    margin: float


class Suspicion(NamedTuple):
    """What was suspected, the surest first.

    model: whose logits were the features. agreement: the share of labels (0–1) that the classifier found without having
    seen the picture, each class counting alike; below ENOUGH the features do not tell these classes apart, and nothing
    is suspected. judged: pictures, those of classes with FEWEST or more.
    """

    model: str
    agreement: float
    judged: int
    suspects: tuple[Suspect, ...]


def suspicious(
    source: Source,
    looks: Looks,
    model: Model,
    *,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Suspicion:
    """Looks for wrong labels among the pictures that were looked at; ``step`` is called after each.

    model: opened with ``threads=1``; any classifier will do, the labels it knows do not matter.
    """
    rows, features = [], []
    outcomes = classify_many(model, looks.samples, workers=workers, read=source.read)
    for row, outcome in enumerate(outcomes):
        if not isinstance(outcome, Failure):
            rows.append(row)
            features.append(outcome.logits)
        step()
    labels = np.array([looks.samples[row].label for row in rows], np.intp)
    name = model.bundle.card.name
    sizes = np.bincount(labels, minlength=len(source.labels))
    kept = np.flatnonzero(sizes[labels] >= FEWEST) if rows else labels
    known, classes = np.unique(labels[kept], return_inverse=True)
    if len(known) < 2:
        return Suspicion(name, 0.0, 0, ())
    scores = held_out_scores(np.stack(features)[kept], classes)
    places = np.arange(len(kept))
    best = scores.argmax(1)
    right = np.bincount(classes, best == classes) / np.bincount(classes)
    agreement = float(right.mean())
    margins = scores[places, best] - scores[places, classes]
    order = np.argsort(-margins, kind="stable")
    found = tuple(
        Suspect(looks.samples[rows[kept[i]]].name, int(known[classes[i]]), int(known[best[i]]), float(margins[i]))
        for i in order[: int((margins >= MARGIN).sum())].tolist()
    )
    return Suspicion(name, agreement, len(kept), found if agreement >= ENOUGH else ())


def held_out_scores(features: NDArray[np.floating], classes: NDArray[np.intp]) -> Floats:
    """(n, classes) scores of each picture by the regression that was fitted without it.

    features: (n, anything), finite. classes: (n,) from 0 on, each at least twice.
    """
    count, total = len(classes), int(classes.max()) + 1
    weight = np.sqrt(count / (total * np.bincount(classes)[classes]))[:, None]
    target = np.eye(total)[classes]
    strengths, directions = _directions(features, weight)
    projected = directions.T @ (target * weight)
    best, scores = np.inf, target
    for strength in _STRENGTHS:
        shrunk = directions / (strengths + strength * count)
        leverage = np.minimum((directions * shrunk).sum(1), _LEVERAGE)[:, None]
        held_out = (shrunk @ projected / weight - leverage * target) / (1 - leverage)
        error = float((weight * (held_out - target) ** 2).sum())
        if error < best:
            best, scores = error, held_out
    return scores


def _directions(features: NDArray[np.floating], weight: Floats) -> tuple[Floats, Floats]:
    """The largest eigenvalues of the weighted features' products, and the features along those directions."""
    values = features.astype(np.float64)
    values -= values.mean(0)
    values /= values.std(0) + 1e-6
    values /= np.sqrt(values.shape[1])
    values = np.concatenate([values, np.ones((len(values), 1))], axis=1) * weight
    strengths, vectors = np.linalg.eigh(values.T @ values)
    return np.maximum(strengths[::-1][:MOST_FEATURES], 0.0), values @ vectors[:, ::-1][:, :MOST_FEATURES]
