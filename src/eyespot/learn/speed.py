"""How a network trains fastest on this machine: float32 or bfloat16, which memory layout, compiled or not; measured.

    settings = fastest(network, inputs, steps=900)
    network = settings.lay_out(network)
    with settings.arithmetic(inputs.device.type):
        outputs = network(settings.arrange(inputs))

The rule of cost. On the CPU a step of eight pictures is timed, on a GPU one of the whole batch: each of four ways once
to warm up and twice for the clock, in turns, so that a busy moment hits all; a way that is hopeless after the first
turn is left alone. That is the work of a hundred training pictures at most, seconds where a run takes minutes, while
the right way may be worth three quarters of the run. ``torch.compile`` takes a minute or more each time that a run
starts or is resumed, and saves a third at the very best (on a CPU it was also seen to lose): it is tried only where
there is a compiler and the run would take an hour without it, and kept if what it saves of this run is more than twice
what compiling took.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eyespot.core.recipe import Speed
from eyespot.errors import UsageError

Precision = Literal["float32", "bfloat16"]

_ALL_OPEN = Speed()
_PICTURES = 8  # in a step that is timed on the CPU
_TURNS = 2
_HOPELESS = 3.0  # times the best step of the first turn, as bfloat16 on a processor that has to imitate it
_CLEARLY = 0.97  # of a plainer way's time, below which a less plain one is taken
_LONG = 3600.0  # seconds of a run from which on compiling is tried
_COMPILES = 2.0  # what compiling must save, in times of what it took


@dataclass(frozen=True, slots=True)
class Settings:
    """How the arithmetic of a run is done. seconds: what was measured, per step, by the name of each way tried."""

    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """In words: 'bfloat16, channels last'."""
        words = [self.precision, *["channels last"] * self.channels_last, *["compiled"] * self.compile]
        return ", ".join(words)

    def lay_out(self, network: nn.Module) -> nn.Module:
        """The same module with its weights in this memory layout, and compiled; names of tensors stay as they are."""
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=self._format)
        if self.compile:
            network.compile(dynamic=False)
        return network

    def arrange(self, inputs: Tensor) -> Tensor:
        """A batch (n, channels, height, width) in this memory layout; itself if it is."""
        return inputs.contiguous(memory_format=self._format)

    def arithmetic(self, device: str) -> AbstractContextManager[Any]:
        """The context in which the network and its loss are computed; weights and gradients stay float32."""
        context: AbstractContextManager[Any] = torch.autocast(
            device.partition(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16"
        )
        return context

    @property
    def _format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"seconds": dict(self.seconds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        """The settings that ``to_json`` wrote. UsageError for anything else."""
        known = {"precision": str, "channels_last": bool, "compile": bool, "seconds": dict}
        fits = isinstance(data, Mapping) and data.keys() == known.keys()
        if not fits or not all(isinstance(data[key], kind) for key, kind in known.items()):
            raise UsageError(f"settings of {', '.join(known)} were needed, not {data!r:.80}; measure them again")
        if data["precision"] not in ("float32", "bfloat16"):
            raise UsageError(f"precision is {data['precision']!r:.20}; it must be float32 or bfloat16: measure again")
        return cls(**data)


def fastest(network: nn.Module, inputs: Tensor, *, speed: Speed = _ALL_OPEN, steps: int = 0) -> Settings:
    """The settings with which a training step of this network is fastest, where ``speed`` leaves it open.

    inputs: a batch as the run will have it (n, channels, height, width), on the device where the network is. steps: of
    the whole run. Network and random numbers are left as they were. Of ways that differ by less than 3 % the plainer
    one is taken.
    """
    ways = _ways(speed)
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        trial = copy.deepcopy(network).train()
        sample = inputs if devices else inputs[:_PICTURES]
        seconds = _take_turns(trial, sample, ways) if len(ways) > 1 else {}
        best = _best(ways, seconds)
        if speed.compile == "on":
            best = replace(best, compile=True)
        elif speed.compile == "auto" and seconds:
            expected = seconds[best.name] * len(inputs) / len(sample) * steps
            if expected >= _LONG and _has_compiler(inputs.device.type):
                best = _compiled_if_it_pays(trial, inputs, best, steps, seconds)
    return replace(best, seconds=seconds)


def _ways(speed: Speed) -> list[Settings]:
    """What is open, the plainest first."""
    layouts = {"auto": (False, True), "on": (True,), "off": (False,)}[speed.channels_last]
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if speed.precision == "auto" else (speed.precision,)
    return [Settings(precision, layout) for precision in precisions for layout in layouts]


def _take_turns(network: nn.Module, inputs: Tensor, ways: list[Settings]) -> dict[str, float]:
    """The least seconds of a step, by each way's name; ways that cannot be computed here are left out."""
    left, seconds = list(ways), dict[str, float]()
    for turn in range(_TURNS + 1):
        took: dict[str, float] = {}
        for way in list(left):
            try:
                took[way.name] = _step(way.lay_out(network), inputs, way)
            except RuntimeError:
                if way is ways[0]:  # then nothing can be computed, and the run shall say why
                    raise
                left.remove(way)
        if turn == 0:
            left = [way for way in left if took[way.name] <= _HOPELESS * min(took.values())]
        else:
            seconds = {name: min(one, seconds.get(name, one)) for name, one in took.items()}
    return seconds


def _best(ways: list[Settings], seconds: Mapping[str, float]) -> Settings:
    best = ways[0]
    for way in ways[1:]:
        if seconds.get(way.name, math.inf) < seconds.get(best.name, math.inf) * _CLEARLY:
            best = way
    return best


def _step(network: nn.Module, inputs: Tensor, way: Settings) -> float:
    """Seconds of one forward and backward pass; what the optimizer does is the same for all ways."""
    device = inputs.device.type
    x = way.arrange(inputs)
    _wait(device)
    start = time.perf_counter()
    with way.arithmetic(device):
        outputs = network(x)
    tensors = outputs.values() if isinstance(outputs, Mapping) else [outputs]
    torch.stack([output.float().logsumexp(1).mean() for output in tensors]).sum().backward()
    _wait(device)
    took = time.perf_counter() - start
    network.zero_grad(set_to_none=True)
    return took


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _has_compiler(device: str) -> bool:
    """What torch.compile calls: a C++ compiler for the CPU, Triton for a GPU."""
    if device == "cuda":
        return importlib.util.find_spec("triton") is not None
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def _compiled_if_it_pays(
    network: nn.Module, inputs: Tensor, plain: Settings, steps: int, seconds: dict[str, float]
) -> Settings:
    """The settings with ``compile`` where that saves enough of the run; adds what it measures to ``seconds``."""
    compiled = replace(plain, compile=True)
    try:
        eager = min(_step(plain.lay_out(network), inputs, plain) for _ in range(2))
        start = time.perf_counter()
        compiled.lay_out(network)
        _step(network, inputs, compiled)
        cost = time.perf_counter() - start
        took = min(_step(network, inputs, compiled) for _ in range(2))
    except Exception:  # a compiler fails in many ways, and the run can do without it
        return plain
    seconds |= {f"{plain.name}, whole batch": eager, f"{compiled.name}, whole batch": took, "compiling": cost}
    return compiled if (eager - took) * steps > _COMPILES * cost else plain
