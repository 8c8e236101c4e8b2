"""How many threads torch computes with, for as long as something takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from eyespot.core.cores import cores


@contextmanager
def torch_threads(count: int | None = None) -> Iterator[None]:
    """Torch on ``count`` threads, or on no more than this process has cores; afterwards as before. A decorator too."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or min(before, cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)
