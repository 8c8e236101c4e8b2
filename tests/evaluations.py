"""Evaluations for tests, made of logits that a test writes down."""

import numpy as np

from eyespot.accuracy.answers import Answers
from eyespot.accuracy.evaluation import Evaluation
from eyespot.core.labels import Labels
from eyespot.image.readout import softmax

LABELS = Labels(("red fox", "grey-wolf", "Egyptian cat"), ("n1", "n2", "n3"))


def evaluation(
    logits, targets, *, labels=LABELS, temperature=1.0, threshold=None, wanted=0.9, name="m.test", names=(), failures=()
):
    """An evaluation of these logits, as ``evaluate`` would make it."""
    logits = np.array(logits, np.float32).reshape(len(targets), len(labels))
    targets = np.array(targets, np.int64)
    probabilities = softmax(logits, temperature)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    names = tuple(names) or tuple(f"{i}.jpg" for i in range(len(targets)))
    places = np.arange(len(targets))
    answers = Answers(names, places, targets, logits, best, probabilities.max(axis=1), tuple(failures))
    return Evaluation(name, labels, answers, temperature, threshold, wanted)
