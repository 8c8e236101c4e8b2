"""The main job: a name or a bundle, a picture, its label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.resolve import open_bundle, open_default
from eyespot.bundle.store import Bundle, read
from eyespot.errors import BundleError, RuntimeFailure, UnknownName, UsageError, WeightsError
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
        self.threads = threads
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as where its bundle is and what it is: the other process opens it there, or refuses another one."""
        card = self.bundle.card
        return _reopen, (self.bundle.path, card.name, dict(card.files), self.runtime, self.threads)

    def __repr__(self) -> str:
        return f"Model({self.bundle.card.name!r}, {len(self.bundle.labels)} classes, {self.runtime})"


def load(
    name: str | Path | None = None, *, runtime: str = "onnxruntime", threads: int | None = None, float32: bool = False
) -> Model:
    """Opens a model by name, or a bundle by its directory; None takes the default model.

    Args:
        name: A name of `eyespot models`, or a bundle's directory.
        runtime: ``onnxruntime``, ``openvino`` or ``reference``.
        threads: Number of threads inside one call; see ``eyespot.run.open.open_session``.
        float32: The default model in float32 even where int8 is faster.

    Raises:
        UnknownName, BundleError, HashMismatch, FetchError. UsageError for ``float32`` and the name of another one.
    """
    if name is not None:
        bundle = open_bundle(name)
        if float32 and bundle.card.precision != "float32":
            parent = bundle.card.parent or "the bundle that it was made of"
            raise UsageError(f"{bundle.card.name} is {bundle.card.precision}; for float32 name {parent}")
        return Model(bundle, runtime=runtime, threads=threads)
    if not float32 and runtime != "reference":
        try:
            return Model(open_default(), runtime=runtime, threads=threads)
        except (RuntimeFailure, WeightsError) as error:  # int8 that is not what was measured, here
            warnings.warn(f"the default model answers in float32: {error}", stacklevel=2)
    return Model(open_default(float32=True), runtime=runtime, threads=threads)


def _reopen(path: Path, name: str, files: Mapping[str, str], runtime: str, threads: int | None) -> Model:
    """The model that was pickled. BundleError when its bundle is not here, or is another one by now."""
    try:
        bundle = read(path) if path.is_dir() else open_bundle(name)
    except UnknownName:
        raise BundleError(f"the bundle that was pickled, {path}, is not on this machine; copy it there") from None
    if dict(bundle.card.files) != files:
        raise BundleError(f"{bundle.path} is not the bundle that was pickled as {name}; load the model here instead")
    return Model(bundle, runtime=runtime, threads=threads)
