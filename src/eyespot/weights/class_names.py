"""Names of classes as JSON and checkpoints have them: a list, index to name, name to index, or inside a config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_MAX_CLASSES = 1_000_000
_INSIDE = ("id2label", "label2id", "class_to_idx", "label_names", "names", "classes", "labels", "class_names")


class ClassNames(NamedTuple):
    """Names in the order of the network's outputs; ids where there are two words for each, as for ImageNet."""

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()


def class_names(value: object) -> ClassNames | None:
    """The names that a value gives to the outputs 0, 1, …; None for a value that does not name each of them once.

    ``["cat", "dog"]``, ``{"0": "cat", "1": "dog"}``, ``{"cat": 0, "dog": 1}``, ``{"0": ["n02123045", "tabby"]}``, or a
    dictionary with one of these under id2label, class_to_idx, names, …
    """
    if isinstance(value, Mapping):
        value = next((value[key] for key in _INSIDE if isinstance(value.get(key), (Mapping, list, tuple))), value)
    if not isinstance(value, (Mapping, list, tuple)) or not 0 < len(value) <= _MAX_CLASSES:
        return None
    return _of_mapping(value) if isinstance(value, Mapping) else _of_entries(value)


def in_order(indices: Sequence[int]) -> list[int] | None:
    """Where 0, 1, … stand among the indices, or 1, 2, …; None where a number is missing or comes twice."""
    places = {index: place for place, index in enumerate(indices)}
    for first in (0, 1):
        if places.keys() == set(range(first, first + len(indices))) and len(places) == len(indices):
            return [places[i] for i in range(first, first + len(indices))]
    return None


def _of_mapping(value: Mapping[object, object]) -> ClassNames | None:
    keys, values = [_index(key) for key in value], [_index(v) for v in value.values()]
    if None not in keys:
        order = in_order([k for k in keys if k is not None])
        return None if order is None else _of_entries([list(value.values())[i] for i in order])
    if None not in values:
        order = in_order([v for v in values if v is not None])
        return None if order is None else _of_entries([list(value)[i] for i in order])
    return None


def _of_entries(entries: Sequence[object]) -> ClassNames | None:
    if all(isinstance(e, (list, tuple)) and len(e) == 2 and all(isinstance(w, str) for w in e) for e in entries):
        pairs = [(str(e[0]), str(e[1])) for e in entries if isinstance(e, (list, tuple))]
        return ClassNames(tuple(clean(name) for _, name in pairs), tuple(clean(key) for key, _ in pairs))
    if not all(isinstance(entry, (str, int)) and not isinstance(entry, bool) for entry in entries):
        return None
    return ClassNames(tuple(clean(str(entry)) for entry in entries))


def _index(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else None


def clean(name: str) -> str:
    """A name on one line, without spaces around it."""
    return " ".join(name.split())
