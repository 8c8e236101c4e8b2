"""Writes a file that is there whole, or not at all: what was there before stays until the new one is complete."""

from __future__ import annotations

import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def remove_partial(path: Path) -> None:
    """Removes what kills have left of ``path`` while it was being written; nobody may be writing it now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.partial"):
        left.unlink(missing_ok=True)


@contextmanager
def whole(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A file to write in a ``with`` block, which gets its name when the block ends; after an exception nothing is left.

    Its folder must exist; a file that is replaced hands its permissions on. durable: wait for the disk, so that a power
    cut cannot leave the name without the bytes. OSError as it comes: no folder, no right to write, a full disk.
    """
    handle, name = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)
    staging = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        staging.chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
