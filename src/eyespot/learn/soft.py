"""Soft labels: what a teacher says of every training picture, computed once and kept (Hinton et al. 2015, 1503.02531).

    logits = soft_labels(teacher, source, samples, folder=run.path / "cache")       # float32 (pictures, classes)
    targets = soften(logits, temperature=2.0)

The teacher sees each picture as it would see it in service: the same decoding, the same preparation, ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.cache import cache_directory
from eyespot.bundle.lock import held
from eyespot.bundle.store import MODEL, Bundle
from eyespot.core.labels import Labels
from eyespot.data.source import Sample, Source
from eyespot.errors import UsageError
from eyespot.image.prepare import decode_and_prepare
from eyespot.learn.pictures import in_order
from eyespot.run.ort import OrtSession

Floats = NDArray[np.float32]

_FORMAT = 1  # raised when labels computed by older code must be computed again
_DURABLE = 64  # pictures between two moments at which what is there is forced to the disk


def soft_labels(
    teacher: Bundle,
    source: Source,
    samples: Sequence[Sample],
    *,
    folder: Path | None = None,
    workers: int = 1,
    step: Callable[[], None] = lambda: None,
) -> Floats:
    """The teacher's logits (samples, classes) for the source's classes, in the order of ``samples``.

    folder: where they are kept (None: the cache), in a file whose name is a digest of the teacher, the pictures and the
    classes; it is there whole or not at all. Interrupted, the next call goes on from the last picture.
    step: called once for each picture that is done.
    Raises UsageError when the teacher lacks one of the classes, PictureError for a sample that is no picture (pass
    those that could be decoded), OSError when the disk is full.
    """
    columns = _columns(teacher, source.labels)
    folder = cache_directory() / "soft" if folder is None else folder
    path = folder / f"soft.{_digest(teacher, source, samples, columns)[:32]}.npy"
    shape = (len(samples), len(columns))
    with held(path.with_suffix(".lock")):
        if (known := _load(path, shape)) is not None:
            return known
        _compute(path, teacher, source, samples, columns, workers, step)
    made = _load(path, shape)
    assert made is not None  # noqa: S101  # it has just been written whole
    return made


def soften(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities (n, classes) of logits divided by the temperature: the higher it is, the more alike they are."""
    scaled = logits.astype(np.float64) / temperature
    exponential = np.exp(scaled - scaled.max(1, keepdims=True))
    return (exponential / exponential.sum(1, keepdims=True)).astype(np.float32)


def _columns(teacher: Bundle, labels: Labels) -> list[int]:
    """For each of the source's classes, the teacher's output that means it; by id, or by name."""
    theirs = teacher.labels.index_of
    keys = [(labels.id(i), labels.names[i]) for i in range(len(labels))]
    found = [next((theirs[key] for key in pair if key in theirs), None) for pair in keys]
    missing = [labels.names[i] for i, column in enumerate(found) if column is None]
    if missing:
        raise UsageError(
            f"the teacher {teacher.card.name} does not know {len(missing)} of the {len(labels)} classes, the first is "
            f"{missing[0]!r}; name a teacher that was trained on these classes"
        )
    return [column + teacher.labels.background for column in found if column is not None]


def _digest(teacher: Bundle, source: Source, samples: Sequence[Sample], columns: Sequence[int]) -> str:
    """Of all that the labels depend on."""
    card = teacher.card
    names = hashlib.sha256("\n".join(sample.name for sample in samples).encode()).hexdigest()
    facts = [_FORMAT, dict(card.files), card.preprocess.to_json(), source.digest, names, list(columns)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _load(path: Path, shape: tuple[int, int]) -> Floats | None:
    """The array that is there, if it is whole."""
    try:
        array: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.float32 else None


def _compute(
    path: Path,
    teacher: Bundle,
    source: Source,
    samples: Sequence[Sample],
    columns: Sequence[int],
    workers: int,
    step: Callable[[], None],
) -> None:
    """Appends row after row to a file that has the header of the whole array, and renames it when it is whole."""
    partial = path.with_suffix(".partial")
    row = 4 * len(columns)
    with partial.open("a+b") as file, OrtSession(teacher.path / MODEL, threads=1) as session:
        header = _header(len(samples), len(columns))
        file.seek(0)
        if file.read(len(header)) != header:
            file.truncate(0)
            file.write(header)
        file.flush()
        done = (partial.stat().st_size - len(header)) // row
        file.truncate(len(header) + done * row)  # half a row is what a killed process leaves
        for _ in range(done):
            step()

        def logits(sample: Sample) -> Floats:
            pixels = decode_and_prepare(source.read(sample), teacher.card.preprocess).pixels
            return np.ascontiguousarray(session.run(pixels[None])[0][columns], np.float32)

        for answer in in_order(logits, samples[done:], workers):
            file.write(answer.tobytes())
            done += 1
            if done % _DURABLE == 0 or done == len(samples):
                file.flush()
                os.fsync(file.fileno())
            step()
    partial.replace(path)


def _header(rows: int, columns: int) -> bytes:
    """The beginning of a .npy file of this many float32 numbers."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)})
    return out.getvalue()
