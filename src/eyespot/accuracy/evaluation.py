"""How good a bundle is on labelled pictures: every figure from one pass, on the path that serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.abstain import Abstention, at_threshold, for_precision
from eyespot.accuracy.answers import BEST, Answers, collect
from eyespot.accuracy.calibrate import Bin, expected_error, fit_temperature, reliability
from eyespot.accuracy.curves import Curves, curves
from eyespot.accuracy.dataset import Example
from eyespot.accuracy.figures import ClassCount, Confusion, Macro, confused, confusion_matrix, macro, per_class
from eyespot.accuracy.interval import Interval, wilson
from eyespot.accuracy.overlap import TRAINED, VALIDATED, Overlap, known_images
from eyespot.core.labels import Labels
from eyespot.errors import UsageError
from eyespot.image.readout import softmax
from eyespot.run.many import Failure
from eyespot.run.predict import Model

MATRIX = 30  # a confusion matrix of more classes is no longer read; the most confused pairs say more


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The answers of a model to labelled pictures, and every figure that follows from them.

    temperature, threshold: the card's. wanted: the precision (0–1) for which ``abstention`` seeks a threshold. Shares
    are between 0 and 1; intervals are at 95 %. Pictures that could not be read are ``failures`` and count nowhere.
    overlap: what of the images the model knows from its training, None where its bundle does not say; those that it
    was trained on are not among ``answers`` unless there are no others.
    """

    model: str
    labels: Labels
    answers: Answers
    temperature: float = 1.0
    threshold: float | None = None
    wanted: float = 0.99
    overlap: Overlap | None = None

    @property
    def pictures(self) -> int:
        """How many could be read."""
        return len(self.answers)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Those that could not."""
        return self.answers.failures

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The label given to each picture of ``answers.names``: (pictures,) indices."""
        return self.answers.predicted

    @property
    def top1(self) -> float:
        """How often the right label was the first."""
        return self._hits(1) / max(self.pictures, 1)

    @property
    def top1_interval(self) -> Interval:
        """Wilson's interval of ``top1``."""
        return wilson(self._hits(1), self.pictures)

    @property
    def top5(self) -> float:
        """How often the right label was among the first five."""
        return self._hits(BEST) / max(self.pictures, 1)

    @property
    def top5_interval(self) -> Interval:
        """Wilson's interval of ``top5``."""
        return wilson(self._hits(BEST), self.pictures)

    @cached_property
    def classes(self) -> tuple[ClassCount, ...]:
        """Every class that has pictures or was given as an answer."""
        return per_class(self.answers.targets, self.predictions, len(self.labels))

    @property
    def macro(self) -> Macro:
        """Averages over the classes that have pictures."""
        return macro(self.classes)

    @cached_property
    def confused(self) -> tuple[Confusion, ...]:
        """What was taken for what, the most frequent first."""
        return confused(self.answers.targets, self.predictions, len(self.labels))

    @cached_property
    def matrix(self) -> NDArray[np.int64] | None:
        """Counts (right label, given label) over ``classes``; None when there are more than 30."""
        if not 0 < len(self.classes) <= MATRIX:
            return None
        shown = [c.label for c in self.classes]
        return confusion_matrix(self.answers.targets, self.predictions, shown, len(self.labels))

    @cached_property
    def bins(self) -> tuple[Bin, ...]:
        """The reliability of the probabilities as they are served."""
        return reliability(self.answers.confidences, self.answers.right)

    @property
    def ece(self) -> float:
        """The expected calibration error of the probabilities as they are served."""
        return expected_error(self.bins)

    @cached_property
    def ece_untempered(self) -> float:
        """The same without the card's temperature."""
        return self.ece if self.temperature == 1 else self._error_at(1.0)

    @cached_property
    def fitted(self) -> tuple[float, float]:
        """(temperature, ECE) had it been fitted to pictures like these.

        The temperature is that of all of them; for the error each half gets the one that was fitted to the other half,
        since a temperature looks better on the pictures that it was fitted to.
        """
        logits, targets = self.answers.logits, self.answers.targets
        confidences = np.empty(self.pictures, np.float32)
        right = np.empty(self.pictures, np.bool_)
        for mine, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
            temperature = fit_temperature(logits[other], targets[other])
            confidences[mine], right[mine] = _at(logits[mine], targets[mine], temperature)
        return fit_temperature(logits, targets), expected_error(reliability(confidences, right))

    @cached_property
    def abstention(self) -> Abstention | None:
        """The lowest threshold that reaches the wanted precision on these pictures; None when none does."""
        return for_precision(self.answers.confidences, self.answers.right, self.wanted)

    @cached_property
    def certain(self) -> Abstention | None:
        """What the card's own threshold leaves here; None when it has none."""
        if self.threshold is None:
            return None
        return at_threshold(self.answers.confidences, self.answers.right, self.threshold)

    @cached_property
    def curves(self) -> tuple[Curves, Curves] | None:
        """ROC and precision-recall of a model of two labels, for each of them; None unless both have pictures."""
        if len(self.labels) != 2 or len(np.unique(self.answers.targets)) != 2:
            return None
        margin = self.answers.logits[:, 1] - self.answers.logits[:, 0]  # probabilities round to 1 and tie
        return curves(-margin, self.answers.targets == 0), curves(margin, self.answers.targets == 1)

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values; shares to six digits."""
        from eyespot.accuracy.as_json import evaluation_json

        return evaluation_json(self)

    def _hits(self, best: int) -> int:
        return int((self.answers.best[:, :best] == self.answers.targets[:, None]).any(axis=1).sum())

    def _error_at(self, temperature: float) -> float:
        return expected_error(reliability(*_at(self.answers.logits, self.answers.targets, temperature)))


def evaluate(
    model: Model,
    data: Sequence[Example],
    *,
    precision: float = 0.99,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Classifies every example as ``eyespot classify`` would and counts; ``step`` is called after each.

    precision: the one for which a threshold is sought. The logits of all pictures are kept, four bytes for each label.
    Images that the bundle was trained on do not count where there are others; see ``Evaluation.overlap``.
    """
    if not 0 < precision <= 1:
        raise UsageError(f"a precision of {precision:g} was asked for; it must lie above 0 and be at most 1")
    answers = collect(model, data, workers=workers, step=step)
    answers, overlap = _apart(answers, known_images(model.bundle, data, workers=workers))
    card = model.bundle.card
    return Evaluation(card.name, model.bundle.labels, answers, card.temperature, card.threshold, precision, overlap)


def _apart(answers: Answers, known: NDArray[np.int8] | None) -> tuple[Answers, Overlap | None]:
    """The answers that count, and what there is to say of the others; known: of the examples, as ``known_images``."""
    if known is None:
        return answers, None
    known = known[answers.places]
    trained, others = known == TRAINED, known != TRAINED
    counted = bool(trained.any() and not others.any())
    overlap = Overlap(
        trained=int(trained.sum()),
        right=int((answers.right & trained).sum()),
        counted=counted,
        validated=int((known == VALIDATED).sum()),
    )
    return answers if counted else answers.only(others), overlap


def _at(
    logits: NDArray[np.float32], targets: NDArray[np.int64], temperature: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The confidence of each answer at a temperature, and whether it is right; a few thousand rows at a time."""
    confidences = np.empty(len(targets), np.float32)
    right = np.empty(len(targets), np.bool_)
    for start in range(0, len(targets), 4096):
        rows = slice(start, start + 4096)
        probabilities = softmax(logits[rows], temperature)
        confidences[rows] = probabilities.max(axis=1)
        right[rows] = probabilities.argmax(axis=1) == targets[rows]
    return confidences, right
