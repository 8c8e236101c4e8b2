"""What each channel is worth, by gradients on labelled pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from torch import Tensor

from eyespot.learn.module import Network
from eyespot.lower.tensors import Weights
from eyespot.shrink.coupling import Coupling
from eyespot.shrink.ranking import Scores


def importance(
    coupling: Coupling,
    weights: Weights,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    step: Callable[[int], None] = lambda _: None,
) -> Scores:
    """What the loss would change by if a class of channels went (classes,): the mean over pictures of its square.

    A class goes by not being read, so the first-order change of a picture's loss is the sum of value times gradient
    over all places where the class is read (Molchanov et al. 2019, 1906.10771), squared per picture, all layers that
    share the class together (Liu et al. 2021, 2108.00708).

    batches: inputs (n, channels, height, width) and labels (n,); the more the better, some hundred pictures are enough.
    step: called with the number of pictures that are done.
    """
    network = Network(coupling.graph).eval().requires_grad_(requires_grad=False)
    network.load_weights(weights)
    labels = {node.name: torch.from_numpy(coupling.labels[node.inputs[0]]) for node in coupling.readers()}
    read: dict[str, Tensor] = {}

    def keep(name: str, x: Tensor) -> Tensor:
        read[name] = x.view_as(x)  # a reader's own, so that what others make of it is not in the gradient
        read[name].retain_grad()
        return read[name]

    for name in labels:
        network.get_submodule(name).register_forward_pre_hook(lambda _, x, name=name: (keep(name, x[0]),))
    total, count = np.zeros(coupling.classes), 0
    output = coupling.graph.outputs[0]
    for inputs, targets in batches:
        with torch.enable_grad():
            loss = F.cross_entropy(network(inputs.requires_grad_())[output], targets, reduction="sum")
            loss.backward()
        change = torch.zeros(len(inputs), coupling.classes)
        for name, value in read.items():
            assert value.grad is not None  # noqa: S101  # the loss depends on every reader
            each = (value.detach() * value.grad).flatten(2).sum(2) if value.dim() > 2 else value.detach() * value.grad
            change.index_add_(1, labels[name], each)
        total += change.double().square().sum(0).numpy()
        count += len(inputs)
        step(len(inputs))
    return total / max(count, 1)
