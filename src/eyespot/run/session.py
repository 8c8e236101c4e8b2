"""Session: what every runtime looks like from above. Raw pixels in, logits out; the normalisation is inside."""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray


class TensorSpec(NamedTuple):
    """One input or output: its name, numpy type name and shape (None where any length goes)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Session(Protocol):
    """A network opened on a runtime. Safe to call from several threads at once; a context manager."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` takes: one uint8 tensor (n, height, width, 3), RGB."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` gives."""

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures (n, height, width, 3); RuntimeFailure when the runtime fails."""

    def close(self) -> None:
        """Gives the memory back; the session cannot run afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class ClosingSession:
    """The context manager's half of a session."""

    def close(self) -> None:
        """Gives the memory back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
