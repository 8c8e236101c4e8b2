"""One process, or several that ``torchrun`` started: who am I, and what all of them must agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Ranks:
    """This process among ``world`` ones; the first writes files and validates, the others only train."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The first process does it alone; the others follow when it is done, and find what it left."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def share(self, values: Sequence[float]) -> list[float]:
        """The first process's numbers, for all."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return [float(v) for v in tensor]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are those of all processes' pictures together."""
        if self.world == 1:
            return network
        wrapped: nn.Module = nn.parallel.DistributedDataParallel(network, broadcast_buffers=True)
        return wrapped


ONE = Ranks()


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """The processes of this run: one, unless ``torchrun`` says otherwise in RANK and WORLD_SIZE."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(device=device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Ranks(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
