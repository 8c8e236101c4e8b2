"""What a finetune begins with: batch-norm statistics and a classifier that fit what the network sees while it trains.

The probe's classifier is fitted to whole images and to the statistics that the network came with. In training it would
meet random crops and the statistics of batches, and the first steps would spend their gradients on that difference
instead of on the images: the loss rises far above the probe's, and a short schedule never recovers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from eyespot.core import ops
from eyespot.core.recipe import Augment, Recipe
from eyespot.learn.batches import Batches
from eyespot.learn.module import Layer, Network
from eyespot.learn.probe import Floats, Ints, fit_head
from eyespot.learn.ranks import ONE
from eyespot.learn.start import classifiers

_MOST = 2_000  # images, beyond which neither statistics nor classifier gain much


def warm_start(network: Network, batches: Batches, recipe: Recipe, decay: float) -> float:
    """Puts statistics and classifier into ``network`` (in place). The classifier's loss on what it was fitted to.

    batches: of the run; the images that are seen here come in epochs behind those of the run. decay: of the classifier,
    the probe's. Batch norm that the recipe freezes keeps its statistics.
    """
    count = len(batches.targets)
    steps = max(1, round(min(recipe.probe.passes * count, max(_MOST, count)) / min(recipe.batch, count)))
    features, targets = _seen(network, _plain(batches), steps, frozen=recipe.norm.frozen)
    spec = replace(recipe, probe=replace(recipe.probe, decays=(decay,)))
    name = classifiers(network.graph)[network.graph.outputs[0]]
    bias = f"{name}.bias" in network.graph.parameters
    none = np.zeros((0, features.shape[1]), np.float32), np.zeros(0, np.int64)
    head = fit_head((features, targets), none, batches.classes, spec, bias=bias)
    network.load_weights(head.into(network.graph, network.export_weights()))
    return head.loss


def batch_norms(network: Network) -> list[Layer]:
    """The network's batch-norm layers."""
    return [m for m in network.modules() if isinstance(m, Layer) and isinstance(m.node.op, ops.BatchNorm)]


def _plain(batches: Batches) -> Batches:
    """The same batches with one whole label for every image, for one process."""
    recipe = batches.recipe
    augment: Augment = replace(recipe.augment, mixup=0.0, cutmix=0.0)
    recipe = replace(recipe, augment=augment, loss=replace(recipe.loss, smoothing=0.0))
    return replace(batches, recipe=recipe, soft=None, ranks=ONE)


@torch.no_grad()
def _seen(network: Network, batches: Batches, steps: int, *, frozen: bool) -> tuple[Floats, Ints]:
    """Features (n, d) and targets (n,) of so many batches; batch norm has the means of their statistics after that."""
    features: list[Tensor] = []
    targets: list[Tensor] = []
    name = classifiers(network.graph)[network.graph.outputs[0]]
    device = next(network.parameters()).device

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        features.append((x.mean((2, 3)) if x.dim() == 4 else x).float().cpu())

    hook = network.get_submodule(name).register_forward_pre_hook(keep)
    network.eval()
    try:
        with _averaging([] if frozen else batch_norms(network)) as count_on:
            for number, (inputs, hot) in enumerate(_steps(batches, steps)):
                count_on(number)
                network(inputs.to(device))
                targets.append(hot.argmax(1))
    finally:
        hook.remove()
    return torch.cat(features).numpy(), torch.cat(targets).numpy()


def _steps(batches: Batches, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many batches, of as many epochs as it takes, which the run itself does not have."""
    for number in range(steps):
        if number % batches.steps == 0:
            epoch = batches.epoch(batches.recipe.epochs + number // batches.steps)
        yield next(epoch)


@contextmanager
def _averaging(layers: list[Layer]) -> Iterator[Callable[[int], None]]:
    """Layers that normalise by each batch's statistics and keep the plain mean of them over all batches."""
    nodes = [layer.node for layer in layers]

    def count_on(number: int) -> None:
        for layer, node in zip(layers, nodes, strict=True):
            layer.train()
            if isinstance(node.op, ops.BatchNorm):
                layer.node = replace(node, op=replace(node.op, momentum=1 / (number + 1)))

    try:
        yield count_on
    finally:
        for layer, node in zip(layers, nodes, strict=True):
            layer.node = node
            layer.eval()
