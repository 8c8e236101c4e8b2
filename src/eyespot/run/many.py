"""Many pictures: decoding and inference overlap on all cores, memory stays flat, the order is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from eyespot.errors import EyespotError
from eyespot.image.results import Classification
from eyespot.run.overlap import overlapped
from eyespot.run.pictures import Picture, name_of
from eyespot.run.predict import Model


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be classified, in its place among the results."""

    image: str
    error: str

    def __str__(self) -> str:
        """What went wrong, with the picture's name."""
        return self.error if self.image in self.error else f"{self.image}: {self.error}"

    def to_json(self, top: int = 5) -> dict[str, Any]:
        """The record of this picture."""
        return {"image": self.image, "error": self.error}


Outcome = Classification | Failure
Item = TypeVar("Item")


def _itself(picture: Picture) -> Picture:
    return picture


@overload
def classify_many(model: Model, pictures: Iterable[Picture], *, workers: int | None = None) -> Iterator[Outcome]: ...


@overload
def classify_many(
    model: Model, pictures: Iterable[Item], *, workers: int | None = None, read: Callable[[Item], Picture]
) -> Iterator[Outcome]: ...


def classify_many(
    model: Model, pictures: Iterable[Any], *, workers: int | None = None, read: Callable[[Any], Picture] = _itself
) -> Iterator[Outcome]:
    """Classifies pictures as they come and yields the outcomes in the same order.

    Each worker takes one picture from its bytes to its label, so the model should be opened with ``threads=1``; Pillow
    and ONNX Runtime both let other threads run meanwhile. A picture that cannot be read becomes a Failure; anything
    else that goes wrong is raised. ``pictures`` may be endless: at most eight per worker are held. ``read``: what a
    worker does first to turn one of them into something that a model can be called with.
    """
    return overlapped(lambda picture: _classify(model, picture, read), pictures, workers=workers)


def _classify(model: Model, picture: Any, read: Callable[[Any], Picture]) -> Outcome:
    try:
        return model(read(picture))
    except EyespotError as error:
        return Failure(name_of(picture), str(error))
