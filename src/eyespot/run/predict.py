"""The main job: a name or a bundle, a picture, its label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.resolve import open_bundle
from eyespot.bundle.store import Bundle
from eyespot.image.prepare import decode_and_prepare, prepare
from eyespot.image.readout import readout
from eyespot.image.results import Classification
from eyespot.run.open import open_session
from eyespot.run.pictures import Picture, name_of, read_bytes

__all__ = ["Model", "load"]


class Model:
    """A bundle opened on a runtime, ready to be called with pictures. Safe to share between threads."""

    def __init__(self, bundle: Bundle, *, runtime: str = "onnxruntime", threads: int | None = None) -> None:
        self.bundle = bundle
        self.runtime = runtime
        self.session = open_session(bundle, runtime=runtime, threads=threads)

    @overload  # a str is a Sequence too; the first signature that fits is the one that counts
    def __call__(self, picture: Picture) -> Classification: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, picture: Sequence[Picture]) -> list[Classification]: ...

    def __call__(self, picture: Picture | Sequence[Picture]) -> Classification | list[Classification]:
        """Classifies a picture: a path, a URL, bytes, a PIL image or a uint8 array (height, width, 3).

        A list or tuple of these gives a list. Raises PictureError when something is not a picture, FetchError when a
        URL cannot be fetched. (For folders, ``eyespot.run.many.classify_many`` keeps going and keeps memory flat.)
        """
        if isinstance(picture, list | tuple):
            return [self._one(p) for p in picture]
        return self._one(picture)

    def _one(self, picture: Any) -> Classification:
        pixels = self.prepare(picture)
        card, labels = self.bundle.card, self.bundle.labels
        logits, probabilities = readout(self.session.run(pixels[None]), labels, temperature=card.temperature)
        return Classification(name_of(picture), card.name, labels, logits[0], probabilities[0], picture, card.threshold)

    def prepare(self, picture: Picture) -> NDArray[np.uint8]:
        """The pixels (height, width, 3) that this network sees."""
        if isinstance(picture, str | Path | bytes | bytearray | memoryview):
            return decode_and_prepare(read_bytes(picture), self.bundle.card.preprocess).pixels
        return prepare(picture, self.bundle.card.preprocess).pixels

    def close(self) -> None:
        """Gives the session's memory back."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self.bundle.card.name!r}, {len(self.bundle.labels)} classes, {self.runtime})"


def load(name: str | Path | None = None, *, runtime: str = "onnxruntime", threads: int | None = None) -> Model:
    """Opens a model by name, or a bundle by its directory; None takes the default model.

    threads: see ``eyespot.run.open.open_session``. Raises UnknownName, BundleError, HashMismatch, FetchError.
    """
    return Model(open_bundle(name), runtime=runtime, threads=threads)
