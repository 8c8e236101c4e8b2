"""One process at a time: a lock on a file, which the system lets go of when its holder dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def held(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock ``path`` (a file that stays) for the ``with`` block, for this thread alone.

    waiting: called once when another holds it already. Where the file system knows no locks, nobody waits: every write
    of ours is a rename, so two at once cost work and spoil nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not take(file, wait=False):
            if waiting is not None:
                waiting()
            take(file, wait=True)
        yield  # closing the file lets go


if sys.platform == "win32":
    import msvcrt
    import time

    def take(file: IO[bytes], *, wait: bool) -> bool:
        """Locks an open file until it is closed; False when another has it and ``wait`` is off."""
        while True:
            try:
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                time.sleep(0.2)
            else:
                return True

else:
    import fcntl

    def take(file: IO[bytes], *, wait: bool) -> bool:
        """Locks an open file until it is closed; False when another has it and ``wait`` is off."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True
