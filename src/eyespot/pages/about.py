"""What an evaluation is of: the pictures, the bundle, the machine and the versions, so that it can be repeated."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from eyespot import __version__
from eyespot.accuracy.dataset import Example
from eyespot.bundle.store import CARD, sha256
from eyespot.measure.machine import probe
from eyespot.run.predict import Model


def about(model: Model, where: Path, data: Sequence[Example]) -> dict[str, Any]:
    """JSON values: ``date``, ``data`` (``where`` as it was given), ``bundle``, ``machine``, ``versions``, ``runtime``.

    The digest of the data is a sha256 over each picture's name and label, so it changes when one is added or moved, and
    not when one's bytes change.
    """
    bundle = model.bundle
    card = bundle.card
    digest = hashlib.sha256()
    for example in sorted(data, key=lambda e: (e.path, e.target)):
        name = Path(example.path)
        digest.update(f"{example.target}\t{name.parent.name}/{name.name}\n".encode("utf-8", "surrogateescape"))
    machine = probe()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "path": str(where),
            "pictures": len(data),
            "classes": len({example.target for example in data if example.target >= 0}),
            "digest": digest.hexdigest(),
        },
        "bundle": {
            "name": card.name,
            "sha256": sha256(bundle.path / CARD),
            "files": dict(card.files),
            "labels": len(bundle.labels),
            "labels_source": bundle.labels.source,
            "precision": card.precision,
            "licence": card.licence,
            "source": card.source,
            "description": card.description,
            "parent": card.parent,
            "preprocess": card.preprocess.to_json(),
            "temperature": card.temperature,
            "threshold": card.threshold,
        },
        "machine": {
            "processor": machine.processor,
            "architecture": machine.architecture,
            "cores": machine.cores,
            "memory_bytes": machine.memory_bytes,
            "system": machine.system,
        },
        "runtime": model.runtime,
        "versions": {
            "eyespot": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "onnxruntime", "pillow")},
        },
    }
