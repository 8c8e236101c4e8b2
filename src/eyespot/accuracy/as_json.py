"""An evaluation as JSON: the figures that ``--json`` prints and that the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eyespot.accuracy.interval import Interval, wilson
from eyespot.accuracy.mistakes import worst

if TYPE_CHECKING:
    from eyespot.accuracy.evaluation import Evaluation
    from eyespot.accuracy.figures import ClassCount
    from eyespot.core.labels import Labels

_PAIRS = 50  # of classes that were confused


def evaluation_json(result: Evaluation) -> dict[str, Any]:
    """See ``Evaluation.to_json``."""
    best, best_error = result.fitted
    return {
        "model": result.model,
        "pictures": result.pictures,
        "training_images": result.overlap.to_json() if result.overlap else None,
        "top1": share(result.top1),
        "top1_interval": interval(result.top1_interval),
        "top5": share(result.top5),
        "top5_interval": interval(result.top5_interval),
        "macro": {name: share(value) for name, value in result.macro._asdict().items()},
        "ece": share(result.ece),
        "calibration": {
            "temperature": result.temperature,
            "ece_untempered": share(result.ece_untempered),
            "fitted_temperature": share(best),
            "fitted_ece": share(best_error),
            "bins": [b.to_json() for b in result.bins],
        },
        "abstain": {
            "wanted_precision": result.wanted,
            "chosen_here": result.abstention.to_json() if result.abstention else None,
            "card": result.certain.to_json() if result.certain else None,
        },
        **_curves(result),
        "classes": [_class(count, result.labels) for count in result.classes],
        "confused": [
            {**_pair(result.labels, target, predicted), "pictures": pictures}
            for target, predicted, pictures in result.confused[:_PAIRS]
        ],
        **({"confusion": result.matrix.tolist()} if result.matrix is not None else {}),
        "mistakes": [
            {
                "image": m.name,
                **_pair(result.labels, m.target, m.predicted),
                "probability": share(m.probability),
                "probability_of_label": share(m.probability_of_target),
            }
            for m in worst(result)
        ],
        "unreadable": [failure.to_json() for failure in result.failures],
    }


def share(value: float) -> float:
    """A figure with the six digits that JSON carries."""
    return round(value, 6)


def interval(values: Interval) -> list[float]:
    """An interval likewise."""
    return [share(v) for v in values]


def _class(count: ClassCount, labels: Labels) -> dict[str, Any]:
    figures = {
        "precision": (count.precision, wilson(count.right, count.predicted)),
        "recall": (count.recall, wilson(count.right, count.support)),
    }
    data: dict[str, Any] = {
        "index": count.label,
        "id": labels.id(count.label),
        "label": labels.names[count.label],
        "support": count.support,
        "predicted": count.predicted,
        "right": count.right,
    }
    for name, (value, (low, high)) in figures.items():
        data[name] = None if value is None else share(value)
        data[f"{name}_interval"] = None if value is None else interval((low, high))
    data["f1"] = None if count.f1 is None else share(count.f1)
    return data


def _pair(labels: Labels, target: int, predicted: int) -> dict[str, Any]:
    return {
        "index": target,
        "label": labels.names[target],
        "predicted_index": predicted,
        "predicted": labels.names[predicted],
    }


def _curves(result: Evaluation) -> dict[str, Any]:
    if result.curves is None:
        return {}
    first, second = result.curves
    figures = {
        "auc": share(second.auc),
        "auc_interval": interval(second.auc_interval),
        "average_precision": [share(first.average_precision), share(second.average_precision)],
    }
    return {"curves": figures}
