"""The pictures of a run: split, decoded once, and seen through the backbone once."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.training_images import DIGEST_BYTES
from eyespot.data.duplicates import find
from eyespot.data.look import look_at
from eyespot.data.source import Sample, Source
from eyespot.data.split import TEST, TRAIN, VALIDATION, Parts, notes, split
from eyespot.errors import TrainingError
from eyespot.image.prepare import decode_and_prepare
from eyespot.learn.events import Watch
from eyespot.learn.origin import Origin
from eyespot.learn.pictures import Lost, Pixels, Store, to_store, views
from eyespot.learn.run import FEATURES, SPLIT, Run, write_bytes, write_json
from eyespot.learn.serving import backbone_session
from eyespot.learn.validation import Held
from eyespot.lower.tensors import Weights

Floats = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True)
class Material:
    """What a run works on. samples, pictures, targets: for training, those that can be read; features: of train and
    validation, where they are needed.

    held: the parts that are not trained on, validation first, then test where the source has one.
    """

    samples: tuple[Sample, ...]
    pictures: Store
    targets: NDArray[np.int64]
    held: tuple[Held, ...]
    features: tuple[Floats, Floats] | None


def parts_of(run: Run, source: Source, watch: Watch) -> Parts:
    """The run's split: the one that was written, or a new one with duplicates on one side, which is written."""
    place = run.path / SPLIT
    by_name = {sample.name: sample for sample in source.samples}
    if place.is_file():
        try:
            names: dict[str, list[str]] = json.loads(place.read_text(encoding="utf-8"))["parts"]
            if not {TRAIN, VALIDATION} <= names.keys():
                raise ValueError(f"it has no part {TRAIN} or {VALIDATION}")
            return {part: tuple(by_name[name] for name in found) for part, found in names.items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TrainingError(f"{place} does not fit the pictures ({str(error)[:100]!r}); begin a new run") from None
    watch.stage("looking for duplicates", len(source.samples))
    looks = look_at(source, workers=run.facts.threads, step=watch.step)
    same = find(source, looks).together
    recipe = run.recipe
    parts = split(source.samples, validation=recipe.validation, seed=recipe.seed, together=same)
    for line in (*source.notes, *notes(parts, source.labels)):
        watch.note(line)
    names = {part: [sample.name for sample in found] for part, found in parts.items()}
    files = {sample.name: file[:DIGEST_BYTES].hex() for sample, file in zip(looks.samples, looks.files, strict=True)}
    write_json(place, {"parts": names, "duplicates": [list(group) for group in same], "files": files})
    return parts


def gather(
    run: Run, source: Source, parts: Parts, start: tuple[Origin, Weights], *, workers: int, watch: Watch
) -> tuple[Material, list[Lost]]:
    """Decodes every picture and, for a probe or a finetune, computes its features; those of an earlier try are reused.

    start: the origin at the run's size and its weights. TrainingError when no training picture can be read.
    """
    origin, weights = start
    _note_leaks(run, origin, watch)
    preprocess = origin.preprocess
    wanted = run.recipe.kind in ("probe", "finetune")
    cached = _cached(run, parts, start) if wanted else None
    compute = wanted and cached is None
    lost: list[Lost] = []
    features: dict[str, Floats] = {}
    stores: dict[str, Store] = {}
    kept: dict[str, list[Sample]] = {}
    targets: dict[str, NDArray[np.int64]] = {}
    watch.stage("computing features" if compute else "reading pictures", sum(map(len, parts.values())))
    with backbone_session(origin.graph, weights, preprocess) if compute else nullcontext() as session:

        def seen(prepared: Pixels) -> Floats | None:
            return None if session is None else np.asarray(session.run(prepared[None])[0], np.float32)

        def for_training(data: bytes) -> tuple[Pixels, Floats | None]:
            vector = None if session is None else seen(decode_and_prepare(data, preprocess).pixels)
            return to_store(data, preprocess), vector

        def for_looking(data: bytes) -> tuple[Pixels, Floats | None]:
            prepared = decode_and_prepare(data, preprocess).pixels
            return prepared, seen(prepared)

        for part, samples in parts.items():
            view = for_training if part == TRAIN else for_looking
            stores[part], kept[part] = Store(run.cache), []
            vectors: list[Floats] = []
            for sample, (pixels, vector) in _read(source, samples, view, workers, lost, watch):
                stores[part].append(pixels)
                kept[part].append(sample)
                vectors += [] if vector is None else [vector]
            targets[part] = np.array([sample.label for sample in kept[part]], np.int64)
            features[part] = np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)
    if not len(targets[TRAIN]):
        raise TrainingError(f"none of {len(parts[TRAIN])} training pictures can be read; the first: {lost[0].error}")
    if compute:
        cached = features[TRAIN], features[VALIDATION]
        _keep(run, parts, start, cached)
    held = tuple(Held(part, stores[part], targets[part]) for part in (VALIDATION, TEST) if part in parts)
    return Material(tuple(kept[TRAIN]), stores[TRAIN], targets[TRAIN], held, cached), lost


def _note_leaks(run: Run, origin: Origin, watch: Watch) -> None:
    """Says when a run validates on images that the bundle which it starts from was trained on."""
    known = origin.bundle.training_images() if origin.bundle and run.recipe.kind != "scratch" else None
    images = run.training_images()
    leaked = len(images.validation & known.train) if images and known and origin.bundle else 0
    if leaked and origin.bundle:
        name = origin.bundle.card.name
        watch.note(f"{leaked:,} of the validation images are ones that {name} was trained on: figures on them flatter")


def _read(
    source: Source, samples: Sequence[Sample], view: Callable[[bytes], T], workers: int, lost: list[Lost], watch: Watch
) -> Iterator[tuple[Sample, T]]:
    """What ``view`` makes of each picture that can be read; the others are added to ``lost``."""
    for sample, seen in views(source, samples, view, workers):
        watch.step()
        if isinstance(seen, Lost):
            lost.append(seen)
        else:
            yield sample, seen


def _key(parts: Parts, start: tuple[Origin, Weights]) -> str:
    """What features depend on: the pictures, the geometry, the network and its weights."""
    origin, weights = start
    total = hashlib.sha256(json.dumps(origin.preprocess.to_json()).encode() + origin.graph.digest.encode())
    for part, samples in parts.items():
        total.update(part.encode() + "\0".join(s.name for s in samples).encode("utf-8", "surrogateescape"))
    for name in sorted(weights):
        total.update(np.ascontiguousarray(weights[name]).tobytes())
    return total.hexdigest()


def _cached(run: Run, parts: Parts, start: tuple[Origin, Weights]) -> tuple[Floats, Floats] | None:
    place = run.cache / FEATURES
    if not place.is_file():
        return None
    with np.load(place, allow_pickle=False) as data:
        return (data["train"], data["val"]) if str(data["key"]) == _key(parts, start) else None


def _keep(run: Run, parts: Parts, start: tuple[Origin, Weights], features: tuple[Floats, Floats]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, key=np.array(_key(parts, start)), train=features[0], val=features[1])
    write_bytes(run.cache / FEATURES, buffer.getvalue())
