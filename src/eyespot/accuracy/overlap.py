"""Which labelled images a bundle was trained on: figures on those flatter, so they are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.dataset import Example
from eyespot.accuracy.interval import Interval, wilson
from eyespot.bundle.store import Bundle
from eyespot.bundle.training_images import digest
from eyespot.errors import EyespotError
from eyespot.run.overlap import overlapped
from eyespot.run.pictures import read_bytes

OTHER, VALIDATED, TRAINED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Overlap:
    """The images of an evaluation that the bundle knows from its training.

    trained: how many it was trained on, and right: how many of them it classifies rightly. counted: whether they are
    in the evaluation's figures, since there are no others. validated: how many images in the figures chose the epoch
    and the temperature, of which the figures flatter a little.
    """

    trained: int
    right: int
    counted: bool
    validated: int

    @property
    def top1(self) -> float:
        """Top-1 (0–1) on the images that it was trained on."""
        return self.right / max(self.trained, 1)

    @property
    def top1_interval(self) -> Interval:
        """Wilson's interval of ``top1``."""
        return wilson(self.right, self.trained)

    @property
    def sentences(self) -> list[str]:
        """What a person must know of it, most important first."""
        low, high = self.top1_interval
        said = []
        if self.counted:
            said.append("It was trained on all of these images: on others it is less accurate.")
        elif self.trained:
            said.append(
                f"It was trained on {self.trained:,} more of the images, which are not counted: "
                f"top-1 on those {100 * self.top1:.1f} % ({100 * low:.1f} – {100 * high:.1f})."
            )
        if self.validated:
            said.append(
                f"{self.validated:,} of the images counted chose its epoch and temperature (its validation part): "
                "on images that it never met, expect a little less."
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """The figures, to six digits."""
        return {
            "trained_on": self.trained,
            "counted": self.counted,
            "top1": round(self.top1, 6) if self.trained else None,
            "top1_interval": [round(v, 6) for v in self.top1_interval] if self.trained else None,
            "validated_on": self.validated,
        }


def known_images(bundle: Bundle, data: Sequence[Example], *, workers: int | None = None) -> NDArray[np.int8] | None:
    """(n,) TRAINED, VALIDATED or OTHER of each example, by the bytes of its file; None where the bundle does not say.

    Files that cannot be read are OTHER.
    """
    images = bundle.training_images()
    if images is None:
        return None

    def kind(example: Example) -> int:
        try:
            name = digest(read_bytes(example.picture()))
        except EyespotError:
            return OTHER
        return TRAINED if name in images.train else VALIDATED if name in images.validation else OTHER

    return np.fromiter(overlapped(kind, data, workers=workers), np.int8, len(data))
