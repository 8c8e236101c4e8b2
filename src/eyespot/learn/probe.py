"""A linear classifier on features that are computed once: the whole of a probe, the beginning of a finetune."""

from __future__ import annotations

from dataclasses import dataclass

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

    train, held: features (n, d) and targets (n,); without held pictures the loss on train chooses, so the least decay
    wins. Features are standardised while fitting and the scaling folded into the weights. L-BFGS, the largest decay
    first, each fit beginning where the last one ended. One order of arithmetic: the same features give the same bits.
    """
    features, _ = train
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if features.size * classes <= _SMALL else threads)
    try:
        return _best_head(train, held, classes, recipe, bias=bias)
    finally:
        torch.set_num_threads(threads)


def _best_head(
    train: tuple[Floats, Ints], held: tuple[Floats, Ints], classes: int, recipe: Recipe, *, bias: bool
) -> Head:
    features, targets = train
    mean = features.mean(0, dtype=np.float64)
    spread = np.sqrt(np.square(features - mean).mean(0)) + 1e-6
    x = torch.from_numpy((features - mean) / spread).float()
    y = torch.from_numpy(targets)
    chosen = held if len(held[1]) else train
    held_x, held_y = torch.from_numpy((chosen[0] - mean) / spread).float(), torch.from_numpy(chosen[1])
    balance = torch.from_numpy(class_weights(targets, classes)) if recipe.loss.balance != "none" else None
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    offset = torch.zeros(classes, requires_grad=bias)
    best: Head | None = None
    for decay in sorted(set(recipe.probe.decays), reverse=True):
        _descend(x, y, weight, offset, decay=decay, balance=balance, steps=recipe.probe.steps)
        with torch.no_grad():
            answers = F.linear(held_x, weight, offset)
            loss = float(F.cross_entropy(answers, held_y))
            top1 = float((answers.argmax(1) == held_y).double().mean())
        if best is None or loss < best.loss:
            raw = weight.detach().double().numpy() / spread
            shift = offset.detach().double().numpy() - raw @ mean
            best = Head(raw.astype(np.float32), shift.astype(np.float32), decay, loss, top1)
    assert best is not None  # noqa: S101  # a recipe has at least one decay
    return best


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
