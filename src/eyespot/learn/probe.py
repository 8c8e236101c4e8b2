"""A linear classifier on features that are computed once: the whole of a probe, the beginning of a finetune."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

from eyespot.core import ops
from eyespot.core.graph import Graph
from eyespot.core.recipe import Recipe
from eyespot.learn.start import Tensors, classifiers
from eyespot.lower.tensors import Weights

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_SMALL = 1 << 28  # pictures × features × classes up to which one thread is as fast as many that wait for one another
_ENOUGH = 100  # held images from which on they choose the decay themselves
_SEEN = 100  # images that folds are to have judged by, some of them several times where there are fewer
_FOLD_STEPS = 25  # of L-BFGS for each fit of a fold: decays are told apart long before the last digit
_LEAST = 1e-12  # of a squared spread
_OPEN = 3.0  # how far, in spans of its outputs, a classifier with a ReLU behind it is lifted above zero


@dataclass(frozen=True)
class Head:
    """weight (classes, d) and bias (classes,) on raw features; the decay that was chosen, and what it reached."""

    weight: Floats
    bias: Floats
    decay: float
    loss: float
    top1: float

    def into(self, graph: Graph, weights: Weights) -> Tensors:
        """The network's weights with this classifier; the others are not copied."""
        name = classifiers(graph)[graph.outputs[0]]
        shape = weights[f"{name}.weight"].shape
        out = {**weights, f"{name}.weight": np.ascontiguousarray(self.weight.reshape(shape))}
        if f"{name}.bias" in weights:
            out[f"{name}.bias"] = self.bias + (_lift(self) if _is_rectified(graph, name) else np.float32(0))
        return out


def class_weights(targets: Ints, classes: int) -> Floats:
    """(classes,) such that every class that is there counts the same, and all pictures together as many as they are."""
    counts = np.bincount(targets, minlength=classes)
    there = np.count_nonzero(counts)
    return np.where(counts > 0, len(targets) / np.maximum(counts, 1) / there, 0.0).astype(np.float32)


def fit_head(
    train: tuple[Floats, Ints], held: tuple[Floats, Ints], classes: int, recipe: Recipe, *, bias: bool = True
) -> Head:
    """The classifier with the least loss on ``held`` among those that the recipe's weight decays give.

    train, held: features (n, d) and targets (n,). With fewer than 100 held images, stratified folds of the training
    images choose the decay, and the classifier is then fitted to all of them. Features are standardised while fitting
    and the scaling folded into the weights. L-BFGS, the largest decay first, each fit beginning where the last one
    ended. One order of arithmetic: the same features give the same bits.
    """
    features, targets = train
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if features.size * classes <= _SMALL else threads)
    decays = recipe.probe.decays
    few = len(held[1]) < _ENOUGH
    try:
        if few and len(set(decays)) > 1 and 1 < recipe.probe.folds <= len(targets):
            fits = in_folds(train, classes, recipe, bias=bias)
            decay, loss, top1 = min(fits, key=lambda fit: fit[1])
            *_, (weight, shift) = _fits(train, classes, recipe, [d for d in decays if d >= decay], bias=bias)
            return Head(weight, shift, decay, loss, top1)
        heads = _fits(train, classes, recipe, decays, bias=bias)
        chosen = held if len(held[1]) else train
        found = [
            Head(weight, shift, decay, *_figures(weight, shift, chosen))
            for decay, (weight, shift) in zip(sorted(set(decays), reverse=True), heads, strict=True)
        ]
        return min(found, key=lambda head: head.loss)
    finally:
        torch.set_num_threads(threads)


def in_folds(
    train: tuple[Floats, Ints], classes: int, recipe: Recipe, *, bias: bool = True
) -> list[tuple[float, float, float]]:
    """(decay, loss, top-1) of every decay on images that were not fitted to, over repeated stratified folds."""
    features, targets = train
    decays = recipe.probe.decays
    recipe = replace(recipe, probe=replace(recipe.probe, steps=min(recipe.probe.steps, _FOLD_STEPS)))
    repeats = max(1, round(_SEEN / len(targets)))
    sums = np.zeros((len(set(decays)), 2))
    for repeat in range(repeats):
        fold_of = stratified_folds(targets, recipe.probe.folds, seed=(recipe.seed, repeat))
        for fold in range(recipe.probe.folds):
            out = fold_of == fold
            if not out.any() or out.all():
                continue
            heads = _fits((features[~out], targets[~out]), classes, recipe, decays, bias=bias)
            figures = [_figures(*head, (features[out], targets[out])) for head in heads]
            sums += np.array(figures) * np.count_nonzero(out)
    means = sums / (repeats * len(targets))
    return [
        (decay, float(loss), float(top1))
        for decay, (loss, top1) in zip(sorted(set(decays), reverse=True), means, strict=True)
    ]


def stratified_folds(targets: Ints, folds: int, *, seed: int | Sequence[int] = 0) -> Ints:
    """(n,) the fold, 0 to ``folds`` - 1, of each image: every class is spread as evenly as can be."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]  # class after class, in random order inside
    out = np.zeros(len(targets), np.int64)
    out[order] = np.arange(len(targets)) % folds
    return out


def _fits(
    train: tuple[Floats, Ints], classes: int, recipe: Recipe, decays: Sequence[float], *, bias: bool
) -> Iterator[tuple[Floats, Floats]]:
    """(weight, bias) on raw features for every decay, the largest first.

    Features that hardly vary among the training images are not blown up: the spread that each is divided by has the
    mean spread of all added to it, in squares. (40 leaves: 80 % right instead of 62, the loss 0.5 instead of 75.)
    """
    features, targets = train
    middle = features.mean(0, dtype=np.float64)
    variance = np.square(features - middle).mean(0)
    mean = middle if bias else np.zeros_like(middle)  # without a bias nothing takes up what centring takes away
    spread = np.sqrt(variance + max(np.sqrt(variance).mean() ** 2, _LEAST))
    x = torch.from_numpy((features - mean) / spread).float()
    y = torch.from_numpy(targets)
    balance = torch.from_numpy(class_weights(targets, classes)) if recipe.loss.balance != "none" else None
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    offset = torch.zeros(classes, requires_grad=bias)
    for decay in sorted(set(decays), reverse=True):
        _descend(x, y, weight, offset, decay=decay, balance=balance, steps=recipe.probe.steps)
        raw = weight.detach().double().numpy() / spread
        shift = offset.detach().double().numpy() - raw @ mean
        yield raw.astype(np.float32), shift.astype(np.float32)


def _figures(weight: Floats, shift: Floats, images: tuple[Floats, Ints]) -> tuple[float, float]:
    """(loss, top-1) of a classifier on features and their targets."""
    answers, targets = torch.from_numpy(images[0] @ weight.T + shift), torch.from_numpy(images[1])
    right = (answers.argmax(1) == targets).double().mean()
    return float(F.cross_entropy(answers, targets)), float(right)


def _descend(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, *, decay: float, balance: Tensor | None, steps: int
) -> None:
    """Moves weight and bias to the least of cross-entropy + decay / 2 · |weight|²."""
    moved = [tensor for tensor in (weight, bias) if tensor.requires_grad]
    optimizer = torch.optim.LBFGS(moved, max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), y, weight=balance) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def _is_rectified(graph: Graph, name: str) -> bool:
    """Whether a ReLU lies behind the classifier, as in SqueezeNet: negative answers would be lost."""
    rectified = (node for node in graph.nodes if name in node.inputs and isinstance(node.op, ops.Activation))
    return any(node.op.function == "relu" for node in rectified if isinstance(node.op, ops.Activation))


def _lift(head: Head) -> np.float32:
    """The same for all classes, so that no probability changes: enough to keep nearly every answer positive."""
    span = np.abs(head.weight).sum(1).max() + np.abs(head.bias).max()
    return np.float32(_OPEN * span)
