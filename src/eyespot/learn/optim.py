"""Who moves the weights, and how far at each step."""

from __future__ import annotations

import math

import torch
from torch import nn

from eyespot.core.graph import Graph
from eyespot.core.recipe import Optimizer, Schedule
from eyespot.learn.module import Network


def stages(graph: Graph) -> dict[str, int]:
    """The stage of each node: 0 up to the first tap, one more behind each; the classifier is in the last."""
    ends = {name for _, name in sorted(graph.taps.items())}
    stage, out = 0, {}
    for node in graph.nodes:
        out[node.name] = stage
        stage += node.name in ends
    return out


def optimizer_for(network: Network, spec: Optimizer) -> torch.optim.Optimizer:
    """AdamW or SGD over all parameters: no decay for vectors, lower rates for earlier stages.

    Each group's "share" is its part of the schedule's rate.
    """
    of = stages(network.graph)
    last = max(of.values(), default=0)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        key = last - of[name.rpartition(".")[0]], parameter.dim() > 1
        groups.setdefault(key, []).append(parameter)
    settings = [
        {"params": found, "weight_decay": spec.decay if decayed else 0.0, "share": spec.stage_decay**distance}
        for (distance, decayed), found in sorted(groups.items())
    ]
    if spec.name == "sgd":
        return torch.optim.SGD(settings, spec.lr, spec.momentum, nesterov=spec.momentum > 0, foreach=True)
    return torch.optim.AdamW(settings, spec.lr, spec.betas, foreach=True)


def rate(spec: Schedule, peak: float, progress: float) -> float:
    """The learning rate when ``progress`` (0 to 1) of the run's steps are done."""
    if progress < spec.warmup:
        return peak * progress / spec.warmup
    after = (progress - spec.warmup) / (1 - spec.warmup)
    if spec.shape == "cosine":
        after = 0.5 - 0.5 * math.cos(math.pi * after)
    elif spec.shape == "constant":
        after = 0.0
    return peak * (1 - after * (1 - spec.end))


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Each group's rate: its share of ``value``."""
    for group in optimizer.param_groups:
        group["lr"] = value * group["share"]
