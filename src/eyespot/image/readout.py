"""From a network's outputs to probabilities over its labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eyespot.core.labels import Labels
from eyespot.errors import BundleError, RuntimeFailure

Floats = NDArray[np.float32]


def readout(logits: NDArray[np.floating], labels: Labels, *, temperature: float = 1.0) -> tuple[Floats, Floats]:
    """(logits, probabilities), both float32 (n, labels).

    logits: (n, labels.outputs), as the network gives them. Where the labels have a background class, output 0 is
    dropped first, so the probabilities are those among the labels and sum to one. temperature: the card's; it divides
    the logits for the probabilities (``softmax``), the logits themselves come back as they are.
    Raises BundleError when the outputs are not as many as the labels need, RuntimeFailure when one is not a number.
    """
    if logits.ndim != 2 or logits.shape[1] != labels.outputs:
        background = " (one of them background)" if labels.background else ""
        raise BundleError(
            f"the network gave outputs of shape {logits.shape}, its labels need (pictures, {labels.outputs})"
            f"{background}; import the bundle again with its own labels"
        )
    values = logits[:, 1:].astype(np.float64) if labels.background else logits.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise RuntimeFailure(
            f"the network gave infinity or not-a-number for picture {row} of the batch, finite numbers were needed; "
            "run eyespot verify on the bundle"
        )
    return values.astype(np.float32), softmax(values, temperature)


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """softmax(logits / temperature) of each row of (n, classes), computed in float64, as float32."""
    values = logits.astype(np.float64) / temperature
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: Floats = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities
