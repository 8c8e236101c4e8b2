"""Heads that people put in the place of a classifier: another ``Linear`` or ``Dense``, or one behind dropout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eyespot.weights.arrays import Array


def with_usual_head(tensors: Mapping[str, Array], classifier: str) -> Mapping[str, Array]:
    """A torch network's tensors, its only linear layer at, below or beside ``classifier`` under the name of it.

    ``classifier.1.1.weight`` and ``classifier.weight`` both become ``classifier.1.weight``. A layer without a bias gets
    one of zeros. Where there is none, or more than one, everything stays as it is.
    """
    root = classifier.partition(".")[0]
    linear = [
        name.removesuffix(".weight")
        for name, tensor in tensors.items()
        if name.endswith(".weight") and (tensor.ndim == 2 or tensor.shape[2:] == (1, 1))
    ]
    below = [name for name in linear if f"{name}.".startswith(f"{classifier}.")]
    around = [name for name in linear if f"{name}.".startswith(f"{root}.")]
    head = next((names[0] for names in (below, around) if len(names) == 1), None)
    return tensors if head is None else _renamed(tensors, f"{head}.", f"{classifier}.", "weight")


def with_dense_head(tensors: Mapping[str, Array], classifier: str) -> Mapping[str, Array]:
    """A Keras network's tensors, its only ``Dense`` layer under the name of the classifier that its family has."""
    dense = [
        name.removesuffix("kernel") for name, tensor in tensors.items() if name.endswith("/kernel") and tensor.ndim == 2
    ]
    if len(dense) != 1 or f"{classifier}/kernel" in tensors:
        return tensors
    return _renamed(tensors, dense[0], f"{classifier}/", "kernel")


def _renamed(tensors: Mapping[str, Array], head: str, classifier: str, weight: str) -> Mapping[str, Array]:
    if head == classifier and f"{classifier}bias" in tensors:
        return tensors
    renamed = {
        f"{classifier}{name.removeprefix(head)}" if name.startswith(head) else name: tensor
        for name, tensor in tensors.items()
    }
    kernel = renamed[f"{classifier}{weight}"]
    classes = kernel.shape[1 if weight == "kernel" else 0]
    renamed.setdefault(f"{classifier}bias", np.zeros(classes, np.float32))
    return renamed
