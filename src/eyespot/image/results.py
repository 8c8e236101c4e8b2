"""What a classifier says of one picture, and how it prints, compares, draws and turns into JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.core.labels import Labels, Prediction
from eyespot.errors import PictureError, UsageError

if TYPE_CHECKING:
    from PIL import Image

Source: TypeAlias = "str | Path | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]"


@dataclass(frozen=True, eq=False)
class Classification:
    """A picture's name, the model's, and a logit and a probability (float32) for each label, without background.

    ``picture`` is what was classified, as the caller gave it: a path, bytes, a PIL picture or an array. It is read
    again by ``draw`` only. ``threshold`` is the card's: the probability from which on the answer is certain. Two
    results are equal when everything but their pictures is.
    """

    image: str
    model: str
    labels: Labels
    logits: NDArray[np.float32] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    picture: Source | None = field(default=None, repr=False)
    threshold: float | None = None

    def __post_init__(self) -> None:
        shape = (len(self.labels),)
        if self.logits.shape != shape or self.probabilities.shape != shape:
            raise UsageError(
                f"a result with logits {self.logits.shape} and probabilities {self.probabilities.shape} came, "
                f"both must be {shape}; use eyespot.image.readout"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Classification):
            return NotImplemented
        return (
            (self.image, self.model, self.labels, self.threshold)
            == (other.image, other.model, other.labels, other.threshold)
            and np.array_equal(self.logits, other.logits)
            and np.array_equal(self.probabilities, other.probabilities)
        )

    def __hash__(self) -> int:
        return hash((self.image, self.model, self.logits.tobytes()))

    def __str__(self) -> str:
        doubt = ", not certain" if self.certain is False else ""
        return f"{self.image}: {self.label} ({_percent(self.probability)}{doubt})"

    @property
    def index(self) -> int:
        """The most probable label's place."""
        return int(np.argmax(self.probabilities))

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels.names[self.index]

    @property
    def id(self) -> str:
        """The most probable label's id, or its name where the labels have no ids."""
        return self.labels.id(self.index)

    @property
    def probability(self) -> float:
        """The most probable label's probability (0–1)."""
        return float(self.probabilities[self.index])

    @property
    def certain(self) -> bool | None:
        """Whether the most probable label reaches the card's threshold; None when the card has none."""
        return None if self.threshold is None else self.probability >= self.threshold

    def top(self, k: int = 5) -> list[Prediction]:
        """The ``k`` most probable labels (all, when there are fewer), equal ones in the labels' order."""
        if k < 1:
            raise UsageError(f"the top {k} were asked for, at least 1 is needed")
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [
            Prediction(i, self.labels.id(i), self.labels.names[i], float(self.probabilities[i])) for i in order.tolist()
        ]

    def to_json(self, top: int = 5) -> dict[str, Any]:
        """``{"image", "model", "top": [{"index", "id", "label", "probability"}, …]}``, probabilities to six digits.

        With a threshold there is ``"certain": true`` or ``false`` too.
        """
        rows = [
            {"index": p.index, "id": p.id, "label": p.label, "probability": round(p.probability, 6)}
            for p in self.top(top)
        ]
        certain = {} if self.certain is None else {"certain": self.certain}
        return {"image": self.image, "model": self.model, **certain, "top": rows}

    def draw(self, top: int = 5) -> Image.Image:
        """The photograph with its ``top`` labels and their probabilities beside it, as an RGB picture.

        Raises PictureError when the picture was not kept or cannot be read again.
        """
        from eyespot.image.drawing import annotate

        doubt = ", not certain" if self.certain is False else ""
        return annotate(self._photograph(), self.top(top), self.model + doubt)

    def _photograph(self) -> Image.Image:
        from PIL import Image

        from eyespot.image.decode import decode, upright_rgb

        source = self.picture
        if isinstance(source, Image.Image):
            return upright_rgb(source)
        if isinstance(source, np.ndarray):
            return Image.fromarray(source)
        if isinstance(source, bytes | bytearray | memoryview):
            return decode(bytes(source), at_least=_ENOUGH)
        if source is None or str(source).startswith(("http://", "https://")):
            raise PictureError(f"{self.image} was not kept, draw needs its pixels; classify its bytes instead")
        try:
            return decode(Path(source).read_bytes(), at_least=_ENOUGH)
        except OSError as error:
            raise PictureError(
                f"{source} cannot be read again ({error.strerror or error}), draw needs its pixels; put it back"
            ) from None


_ENOUGH = (1280, 1280)  # (height, width); drawings are no larger


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"
