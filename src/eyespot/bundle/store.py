"""Reads, writes and verifies bundles: ``card.json weights.safetensors model.onnx labels.txt goldens.safetensors``.

A bundle is written beside its place and renamed into it, so that it is either whole or absent; the sha256 of every file
stands in the card and is checked whenever the bundle is opened. Nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyespot.bundle.training_images import TRAINING_IMAGES, TrainingImages
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.whole import whole
from eyespot.errors import BundleError, HashMismatch, UsageError, WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eyespot.lower.int8.quantized import Quantized

CARD = "card.json"
WEIGHTS = "weights.safetensors"
MODEL = "model.onnx"
LABELS = "labels.txt"
GOLDENS = "goldens.safetensors"
REQUIRED = (WEIGHTS, MODEL, LABELS, GOLDENS)
_MAX_CARD_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Goldens:
    """What this network must answer, so that any machine can check that it does.

    jpeg: the bytes of a photograph. pixels: prepared pictures, uint8 (n, height, width, 3), the photograph first.
    logits: the numpy reference's answers, float32 (n, outputs).
    """

    jpeg: bytes
    pixels: NDArray[np.uint8]
    logits: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle: where its files are, and what they are."""

    path: Path
    card: Card
    labels: Labels

    @property
    def model(self) -> Path:
        """The ONNX file: raw uint8 pixels (n, height, width, 3) in, logits out."""
        return self.path / MODEL

    @property
    def version(self) -> str:
        """Twelve digits that tell it from another bundle of the same name: of all that its answers depend on."""
        card = self.card
        parts = (card.graph.digest, card.preprocess.to_json(), card.precision, card.background)
        text = json.dumps([*parts, card.temperature, card.threshold, card.files[WEIGHTS], card.files[LABELS]])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor by our name, float32; of a quantized network, what its integers stand for."""
        import numpy as np

        if self.card.precision != "float32":
            return self.quantized().float_weights()
        return {name: tensor.astype(np.float32, copy=False) for name, tensor in _load(self.path / WEIGHTS).items()}

    def quantized(self) -> Quantized:
        """The network of a bundle whose precision is not float32, as it computes; BundleError when it is no such."""
        from eyespot.lower.int8.quantized import Quantized

        try:
            return Quantized.from_tensors(self.card.graph.inference(), _load(self.path / WEIGHTS))
        except WeightsError as error:
            raise BundleError(f"{self.path / WEIGHTS}: {error}") from None

    def goldens(self) -> Goldens:
        """The pictures and answers that travel with the weights."""
        tensors = _load(self.path / GOLDENS)
        try:
            return Goldens(tensors["jpeg"].tobytes(), tensors["pixels"], tensors["logits"])
        except KeyError as error:
            raise BundleError(f"{self.path / GOLDENS} holds no {error}; import the weights again") from None

    def training_images(self) -> TrainingImages | None:
        """Digests of the images that it was trained on; None where the bundle does not say, as imported ones."""
        return TrainingImages.read(self.path / TRAINING_IMAGES) if TRAINING_IMAGES in self.card.files else None

    def size(self) -> int:
        """Bytes of all files together."""
        return sum((self.path / name).stat().st_size for name in (CARD, *self.card.files))


def read(path: str | Path) -> Bundle:
    """Opens a bundle and checks every file's sha256.

    Raises:
        BundleError: the directory is no bundle, or a file is missing. HashMismatch: a file was changed.
    """
    path = Path(path)
    try:
        with (path / CARD).open("rb") as file:
            raw = file.read(_MAX_CARD_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} is not a bundle: {CARD} cannot be read ({error.strerror})") from None
    if len(raw) > _MAX_CARD_BYTES:
        raise BundleError(f"{path / CARD} is larger than {_MAX_CARD_BYTES >> 20} MB; it is not a card")
    try:
        card = Card.from_text(raw.decode())
    except (BundleError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: {error}") from None
    absent = [name for name in REQUIRED if name not in card.files]
    if absent:
        raise BundleError(f"{path}: the card lists no {', '.join(absent)}; import the weights again")
    for name, promised in card.files.items():
        try:
            found = sha256(path / name)
        except OSError as error:
            raise BundleError(f"{path / name} cannot be read ({error.strerror}); import the weights again") from None
        if found != promised:
            raise HashMismatch(
                f"{path / name} has sha256 {found[:12]}…, the card promises {promised[:12]}…; "
                "the file was changed or damaged: import or fetch the weights again"
            )
    text = (path / LABELS).read_text(encoding="utf-8")
    return Bundle(path, card, Labels.from_text(text, source=card.labels_source, background=card.background))


def write(
    path: str | Path,
    card: Card,
    *,
    weights: Mapping[str, NDArray[Any]],
    labels: Labels,
    model: bytes,
    goldens: Goldens,
    training_images: TrainingImages | None = None,
    replace: bool = False,
) -> Bundle:
    """Writes a bundle so that ``path`` is at every moment the old one, absent, or the new one whole.

    Raises UsageError when something that is not a bundle, or (without ``replace``) anything at all, is in its place.
    """
    import numpy as np
    from safetensors.numpy import save

    path = Path(path)
    check_free(path, replace=replace)
    contents = {
        WEIGHTS: save({name: _compact(tensor) for name, tensor in weights.items()}),
        MODEL: model,
        LABELS: labels.to_text().encode(),
        GOLDENS: save(
            {"jpeg": np.frombuffer(goldens.jpeg, np.uint8), "pixels": goldens.pixels, "logits": goldens.logits}
        ),
    }
    digests = training_images.to_bytes() if training_images else None
    if digests is not None:
        contents[TRAINING_IMAGES] = digests
    card = card.with_files({name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    _put(path, {**contents, CARD: card.to_text().encode()}, replace=replace)
    return Bundle(path, card, labels)


def write_with_card(bundle: Bundle, card: Card, path: str | Path) -> Bundle:
    """The bundle with another card at ``path``: a copy, or in place where ``path`` is the bundle's own directory.

    The card may differ in what describes the answers (temperature, threshold, metrics, …), not in graph or labels. In
    place, readers find the old card or the new one, whole. UsageError when something else is in the place.
    """
    path, card = Path(path), card.with_files(bundle.card.files)
    text = card.to_text().encode()
    if path.exists() and path.samefile(bundle.path):
        try:
            with whole(path / CARD, durable=True) as file:
                file.write(text)
        except OSError as error:
            raise BundleError(f"{path / CARD} cannot be written: {error.strerror or error}") from None
    else:
        check_free(path, replace=False)
        _put(path, {name: (bundle.path / name).read_bytes() for name in card.files} | {CARD: text}, replace=False)
    return Bundle(path, card, bundle.labels)


def _put(path: Path, contents: Mapping[str, bytes], *, replace: bool) -> None:
    """Writes a bundle's files beside its place and renames them into it."""
    import shutil
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            for name, data in contents.items():
                _write_durably(staging / name, data)
            staging.chmod(0o755)
            put_in_place(staging, path, replace=replace)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror or error}") from None


def check_free(path: Path, *, replace: bool) -> None:
    """Refuses a place that is taken; called early, so that no work is done for nothing."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    if not (path / CARD).is_file():
        raise UsageError(f"{path} exists and is not a bundle; choose another place for the new one")
    if not replace:
        raise UsageError(f"{path} already holds a bundle; remove it, choose another place, or pass --replace")


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compact(tensor: NDArray[Any]) -> NDArray[Any]:
    """Float32 as float16 where that loses nothing (weights that came, or were rounded, as float16): half the bytes."""
    import numpy as np

    if tensor.dtype != np.float32:
        return tensor
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), tensor) else tensor


def put_in_place(staging: Path, path: Path, *, replace: bool) -> None:
    """Renames a whole bundle to where it belongs, over an older one if ``replace``."""
    import shutil
    import tempfile

    try:
        staging.rename(path)
    except OSError:
        if (path / CARD).is_file() and not replace:
            return  # another process wrote the same bundle first; theirs is as good
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent)) / "bundle"
        path.rename(old)
        try:
            staging.rename(path)
        except OSError:
            old.rename(path)
            raise
        finally:
            shutil.rmtree(old.parent, ignore_errors=True)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}; import the weights again") from None
