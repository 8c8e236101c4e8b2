"""Heads that people put in the place of a classifier: another ``Linear``, or one in a ``Sequential`` behind dropout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from eyespot.weights.arrays import Array


def with_usual_head(tensors: Mapping[str, Array], classifier: str) -> Mapping[str, Array]:
    """The tensors with their only linear layer at or below ``classifier``, or beside it, under the name of it.

    ``classifier.1.1.weight`` and ``classifier.weight`` both become ``classifier.1.weight``. A layer without a bias gets
    one of zeros. Where there is none, or more than one, everything stays as it is.
    """
    if f"{classifier}.bias" in tensors and f"{classifier}.weight" in tensors:
        return tensors
    root = classifier.partition(".")[0]
    linear = [name.removesuffix(".weight") for name in _linear(tensors)]
    below = [name for name in linear if f"{name}.".startswith(f"{classifier}.")]
    around = [name for name in linear if f"{name}.".startswith(f"{root}.")]
    head = next((names[0] for names in (below, around) if len(names) == 1), None)
    if head is None:
        return tensors
    renamed = {
        f"{classifier}.{name.removeprefix(f'{head}.')}" if name.startswith(f"{head}.") else name: tensor
        for name, tensor in tensors.items()
    }
    weight = renamed[f"{classifier}.weight"]
    renamed.setdefault(f"{classifier}.bias", np.zeros(weight.shape[0], np.float32))
    return renamed


def _linear(tensors: Mapping[str, Array]) -> Iterator[str]:
    for name, tensor in tensors.items():
        if name.endswith(".weight") and (tensor.ndim == 2 or tensor.shape[2:] == (1, 1)):
            yield name
