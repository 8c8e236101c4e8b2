"""What happens in a run, as it happens: JSON lines, TensorBoard, and whoever watches."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from eyespot.learn.run import EVENTS

_SCALARS = {"loss": "train/loss", "rate": "train/rate", "val_loss": "validation/loss", "top1": "validation/top1"}


class Watch:
    """Told what a run does; this one does not listen. Subclass it to show progress."""

    def stage(self, title: str, total: int, done: int = 0) -> None:
        """Something begins that takes ``total`` steps, of which some are done."""

    def step(self, count: int = 1) -> None:
        """So many steps more."""

    def event(self, record: dict[str, Any]) -> None:
        """A line of events.jsonl."""

    def note(self, text: str) -> None:
        """Something that a person should know, in one line."""


class Events:
    """The run's events.jsonl, cut back to ``keep`` bytes: what a killed run wrote after its checkpoint comes again.

    folder: None for processes other than the first, which write nothing.
    """

    def __init__(self, folder: Path | None, watch: Watch, *, keep: int = 0) -> None:
        self._watch = watch
        self._board: Any = None
        self._file: BinaryIO | None = None
        if folder is not None:
            self._file = (folder / EVENTS).open("ab")
            self._file.truncate(min(keep, self._file.tell()))
            self._board = _tensorboard(folder / "tensorboard")

    @property
    def size(self) -> int:
        """Bytes written, all of them safe."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def add(self, event: str, **fields: Any) -> None:
        """One line; an epoch's numbers go to TensorBoard too."""
        if self._file is None:
            return
        record = {"event": event, **fields}
        self._file.write((json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape"))
        self._file.flush()
        if self._board is not None and event == "epoch":
            for key, name in _SCALARS.items():
                if fields.get(key) is not None:
                    self._board.add_scalar(name, fields[key], fields["epoch"])
            self._board.flush()
        self._watch.event(record)

    def close(self) -> None:
        """Closes the files."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path) -> Any:
    """A writer of TensorBoard's files; None without the package, which the extra `train` brings."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
