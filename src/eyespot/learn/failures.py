"""What goes wrong outside our own code while a run trains, each in one line with what to do; what is saved stays."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from eyespot.errors import TrainingError
from eyespot.learn.run import Run

_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


@contextmanager
def in_one_line(run: Run) -> Iterator[None]:
    """Turns a full disk, and memory that does not suffice, into TrainingError."""
    try:
        yield
    except MemoryError:
        raise TrainingError(_no_memory(run)) from None
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise TrainingError(_no_memory(run)) from None
        where = error.filename or run.path
        raise TrainingError(
            f"{where}: {error.strerror or error}; what was saved stays: make room there, then go on with "
            f"`eyespot train --resume {run.path}`"
        ) from None
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or any(words in str(error).lower() for words in _MEMORY):
            raise TrainingError(_no_memory(run)) from None
        raise


def _no_memory(run: Run) -> str:
    batch = run.recipe.batch
    return (
        f"memory does not suffice for batches of {batch} pictures at {run.recipe.size} pixels; begin a new run with "
        f"--set batch={max(batch // 2, 1)} or a smaller --set size"
    )
