"""What a finetune begins with: batch-norm statistics and a classifier that fit what the network sees while it trains.

The probe's classifier is fitted to whole images and to the statistics that the network came with. In training it would
meet random crops and the statistics of batches, the loss would rise far above the probe's, and a short schedule never
recovers. Its other fault is to be sure of what it was fitted to: where nothing is left to learn,
no layer before it learns. So this one is fitted with a large weight decay, which gives it the right directions and a
loss little below that of guessing.
"""

from __future__ import annotations

import itertools
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

Rows = tuple[Floats, Ints]  # features (n, d) and targets (n,)

_MOST = 2_000  # images, beyond which neither statistics nor classifier gain much


def warm_start(network: Network, batches: Batches, recipe: Recipe) -> float:
    """Puts statistics and classifier into ``network``, in place. The classifier's loss on what it was fitted to.

    batches: of the run; the images that are seen here come in epochs behind those of the run. Batch norm that the
    recipe freezes keeps its statistics; other gets the images' own, and features are normalised as training will.
    """
    once = min(batches.steps, max(_MOST // recipe.batch, 1))
    steps = range(max(once, min(round(recipe.probe.passes * once), _MOST // recipe.batch)))
    rows = _seen(network, _plain(batches), steps, frozen=recipe.norm.frozen)
    recipe = replace(recipe, probe=replace(recipe.probe, decays=(recipe.probe.start_decay,)))
    name = classifiers(network.graph)[network.graph.outputs[0]]
    none = np.zeros((0, rows[0].shape[1]), np.float32), np.zeros(0, np.int64)
    head = fit_head(rows, none, batches.classes, recipe, bias=f"{name}.bias" in network.graph.parameters)
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
def _seen(network: Network, batches: Batches, steps: range, *, frozen: bool) -> Rows:
    """Features (n, d) and targets (n,) of these steps' batches. Batch norm that is not frozen normalises each batch by
    its own statistics, and has the means of them all when this is done."""
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


def _steps(batches: Batches, steps: range) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of steps that are counted from the run's end on."""
    for first in range(steps.start, steps.stop, batches.steps):
        epoch = batches.epoch(batches.recipe.epochs + first // batches.steps)
        yield from itertools.islice(epoch, min(batches.steps, steps.stop - first))


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
