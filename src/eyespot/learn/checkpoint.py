"""The last checkpoint: tensors and plain numbers, whole or as it was, read back without running anything."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from eyespot.errors import TrainingError
from eyespot.learn.module import Network
from eyespot.learn.run import LAST, write_bytes

FORMAT = 1


@dataclass
class State:
    """Where a run is. epoch and step: the next ones; taken: steps in all; loss: this epoch's, summed over its steps.

    best_losses: of the validation images, by the best weights; first_losses, floor: by those that the run began with,
    and their top-1, which better ones may not fall below; least_loss, stale: the least validation loss of
    an epoch and the epochs since then. start_loss: of the classifier that training began with. stopped: why the run
    ended before its last epoch, "" when it did not.
    """

    epoch: int = 0
    step: int = 0
    taken: int = 0
    loss: float = 0.0
    best_losses: list[float] = field(default_factory=list)
    first_losses: list[float] = field(default_factory=list)
    floor: float = -1.0
    start_loss: float = math.inf
    stopped: str = ""
    least_loss: float = math.inf
    stale: int = 0
    seconds: float = 0.0
    events: int = 0


def save(folder: Path, network: Network, average: Network, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Writes last.pt. TrainingError, and the old one stays, when a weight is no number."""
    tensors = (*network.parameters(), *network.buffers())
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise TrainingError(not_a_number(folder, state))
    data: dict[str, Any] = {"format": FORMAT, "state": asdict(state), "network": network.state_dict()}
    data |= {"average": None if average is network else average.state_dict(), "optimizer": optimizer.state_dict()}
    buffer = io.BytesIO()
    torch.save(data, buffer)
    write_bytes(folder / LAST, buffer.getvalue())


def read(folder: Path) -> dict[str, Any] | None:
    """What was saved last, for ``restore``; None when nothing was. TrainingError when the file is damaged."""
    if not (folder / LAST).is_file():
        return None
    try:
        with zipfile.ZipFile(folder / LAST) as entries:  # torch writes checksums and does not look at them
            if damaged := entries.testzip():
                raise TrainingError(f"{folder / LAST} is damaged in {damaged}; begin a new run")
        data: dict[str, Any] = torch.load(folder / LAST, weights_only=True, map_location="cpu")
        State(**data["state"])
        return data
    except _DAMAGED as error:
        raise TrainingError(f"{folder / LAST} cannot be read: {_line(error)}; begin a new run") from None


def restore(data: dict[str, Any], network: Network, average: Network, optimizer: torch.optim.Optimizer) -> State:
    """Puts everything back as it was saved. TrainingError when it is another network's."""
    try:
        network.load_state_dict(data["network"])
        if average is not network:
            average.load_state_dict(data["average"])
        given = [{key: group[key] for key in _GIVEN if key in group} for group in optimizer.param_groups]
        optimizer.load_state_dict(data["optimizer"])
    except _DAMAGED as error:
        raise TrainingError(f"{LAST} does not fit the run's network: {_line(error)}; begin a new run") from None
    for group, now in zip(optimizer.param_groups, given, strict=True):
        group.update(now)  # what the recipe says now goes before what it said when this was saved
    return State(**data["state"])


_GIVEN = ("weight_decay", "share", "momentum", "betas", "nesterov")
_DAMAGED = (
    OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, UnpicklingError,
    zipfile.BadZipFile, zlib.error, struct.error, IndexError, OverflowError, MemoryError, AssertionError,
)  # fmt: skip


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def not_a_number(folder: Path, state: State) -> str:
    """What to tell, and what to do."""
    saved = "the last checkpoint stays" if (folder / LAST).is_file() else "nothing was saved yet"
    return (
        f"the loss is no longer a number in epoch {state.epoch + 1}, step {state.step + 1}; {saved}: go on with "
        f"`eyespot train --resume {folder} --set optimizer.lr=…` at a third of the rate, or --set optimizer.clip=1"
    )


def share_kept(span: float, taken: int, total: int) -> float:
    """The share of an exponential moving average that stays in a step, after which ``taken`` of ``total`` are done.

    span: the steps that it averages over, as a share of all steps. Young averages move faster.
    """
    return min(1 - 1 / max(span * total, 1.0), (1 + taken) / (10 + taken))


def average_into(average: Iterable[Tensor], live: Iterable[Tensor], keep: float) -> None:
    """Moves the average towards the live weights. keep: the share of it that stays."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average), list(live), 1 - keep)
