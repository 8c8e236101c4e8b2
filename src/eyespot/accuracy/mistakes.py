"""The worst mistakes: the pictures that a model was most sure of, and wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eyespot.image.readout import softmax

if TYPE_CHECKING:
    from eyespot.accuracy.evaluation import Evaluation

WORST = 12


class Mistake(NamedTuple):
    """A picture that got a wrong label. example: its place among the examples; probabilities as they are served."""

    example: int
    name: str
    target: int
    predicted: int
    probability: float
    probability_of_target: float


def worst(result: Evaluation, limit: int = WORST) -> tuple[Mistake, ...]:
    """The wrong answers with the highest probability, the surest first."""
    answers = result.answers
    wrong = np.flatnonzero(~answers.right)
    order = wrong[np.argsort(-answers.confidences[wrong], kind="stable")][:limit]
    probabilities = softmax(answers.logits[order], result.temperature)
    return tuple(
        Mistake(
            int(answers.places[place]),
            answers.names[place],
            int(answers.targets[place]),
            int(answers.predicted[place]),
            float(answers.confidences[place]),
            float(row[answers.targets[place]]),
        )
        for place, row in zip(order.tolist(), probabilities, strict=True)
    )
