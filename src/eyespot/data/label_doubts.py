"""Labels that are likely something else than classes: measures, missing values, several labels in one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from eyespot.errors import UsageError

# What pandas writes where a value is missing.
MISSING = frozenset(("nan", "NaN", "NAN", "<NA>", "NaT"))
_LIKE_MISSING = MISSING | {"null", "NULL", "None", "N/A", "n/a", "NA", "?"}
_BETWEEN = re.compile(r"\s*[|;,/+&]\s*|\s+")
_MANY = 10  # numbers; of fewer a person sees at a glance what they are


def refuse_measures(title: str, counts: Mapping[str, int]) -> None:
    """UsageError where labels are fractions, nearly as many as images (given by label)."""
    numbers = _numbers(counts)
    if len(numbers) > 2 and not all(map(float.is_integer, numbers)) and 2 * len(numbers) > sum(counts.values()):
        raise UsageError(
            f"{title}: the labels are {len(numbers):,} numbers from {min(numbers):g} to {max(numbers):g} for "
            f"{sum(counts.values()):,} images, a measure, which eyespot does not learn; make classes of its ranges"
        )


def doubts(counts: Mapping[str, int]) -> list[str]:
    """What a person should look at, a sentence each; images by label."""
    lines = []
    numbers = sorted(_numbers(counts))
    if numbers and _may_measure(numbers):
        lines.append(
            f"The labels are {len(numbers):,} numbers from {numbers[0]:g} to {numbers[-1]:g}: if they measure "
            "something (an age, a score), each becomes a class of its own; make classes of their ranges."
        )
    several = [label for label in counts if _is_several(label, counts)]
    if several:
        lines.append(
            f"{_labels(several)} {_look(several)} like several labels in one: eyespot learns one label per image."
        )
    missing = [label for label in counts if label in _LIKE_MISSING]
    if missing:
        lines.append(f"{_labels(missing)} {_look(missing)} like a missing value: take these images out, or rename it.")
    folded: dict[str, list[str]] = {}
    for label in counts:
        folded.setdefault(" ".join(label.casefold().split()), []).append(label)
    twins = [label for labels in folded.values() if len(labels) > 1 for label in labels]
    if twins:
        lines.append(f"{_labels(twins)} differ only in case or spaces, and are classes of their own.")
    return lines


def _numbers(counts: Mapping[str, int]) -> list[float]:
    """The labels as numbers, where all of them are."""
    try:
        numbers = [float(label.replace(",", ".")) for label in counts]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _may_measure(numbers: list[float]) -> bool:
    """Whether sorted numbers are fractions, or many whole ones that do not count classes from 0 or 1."""
    if not all(map(float.is_integer, numbers)):
        return True
    return len(numbers) >= _MANY and not (numbers[0] in (0, 1) and numbers[-1] < 2 * len(numbers))


def _is_several(label: str, counts: Mapping[str, int]) -> bool:
    pieces = [piece for piece in _BETWEEN.split(label.strip()) if piece]
    return len(pieces) > 1 and ("|" in label or ";" in label or all(piece in counts for piece in pieces))


def _labels(labels: list[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:3]) + (", …" if len(labels) > 3 else "")
    return f"The label {shown}" if len(labels) == 1 else f"{len(labels):,} labels ({shown})"


def _look(labels: list[str]) -> str:
    return "looks" if len(labels) == 1 else "look"
