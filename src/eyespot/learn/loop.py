"""The training loop."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from torch import Tensor, nn

from eyespot.core import ops
from eyespot.core.recipe import Recipe
from eyespot.errors import TrainingError
from eyespot.learn.batches import Batches
from eyespot.learn.checkpoint import State, average_into, not_a_number, share_kept
from eyespot.learn.module import Layer, Network
from eyespot.learn.optim import rate, set_rate
from eyespot.learn.ranks import Ranks
from eyespot.learn.run import Run
from eyespot.learn.speed import Settings

_AUXILIARY = 0.3  # the weight of an auxiliary head's loss (Szegedy et al. 2014, section 5)
_DRAWN = 4  # keeps the network's own random numbers (dropout) apart from the batches'


@dataclass
class Task:
    """What the loop works with. network: the weights; model: the same as it is called, wrapped or compiled.

    average: of the weights, the network itself when the recipe wants none. save, validate: done after some steps, and
    after each epoch; step: after every one. settings: of the arithmetic.
    """

    run: Run
    recipe: Recipe
    network: Network
    model: nn.Module
    average: Network
    optimizer: torch.optim.Optimizer
    batches: Batches
    ranks: Ranks
    settings: Settings
    balance: Tensor | None
    save: Callable[[State], None]
    validate: Callable[[State, float], None]
    step: Callable[[State], None]


def fit(task: Task, state: State) -> None:
    """Trains from ``state`` to the recipe's end. The same state gives the same weights, bit for bit.

    Raises TrainingError when the loss is no number, KeyboardInterrupt after a checkpoint was written.
    """
    recipe, total = task.recipe, task.recipe.epochs * task.batches.steps
    with _interrupts() as interrupted:
        saved = time.monotonic()
        while state.epoch < recipe.epochs and not _is_over(recipe, state):
            began = time.monotonic()
            _to_training(task)
            for inputs, targets in task.batches.epoch(state.epoch, state.step):
                set_rate(task.optimizer, rate(recipe.schedule, recipe.optimizer.lr, (state.taken + 1) / (total + 1)))
                torch.manual_seed(_seed(recipe, state, task.ranks))
                loss = _loss(task, inputs, targets)
                value = loss.item()
                if not math.isfinite(value):
                    raise TrainingError(not_a_number(task.run.path, state))
                task.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if recipe.optimizer.clip:
                    nn.utils.clip_grad_norm_(task.network.parameters(), recipe.optimizer.clip)
                task.optimizer.step()
                state.step, state.taken, state.loss = state.step + 1, state.taken + 1, state.loss + value
                if task.average is not task.network:
                    keep = share_kept(recipe.regularisation.ema_span, state.taken, total)
                    average_into(tensors(task.average), tensors(task.network), keep)
                task.step(state)
                if time.monotonic() - saved >= recipe.speed.checkpoint or interrupted():
                    state.seconds, began = state.seconds + time.monotonic() - began, time.monotonic()
                    task.save(state)
                    saved = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt
            state.seconds += time.monotonic() - began
            mean, state.loss, state.step, state.epoch = state.loss / state.step, 0.0, 0, state.epoch + 1
            task.validate(state, mean)
            task.save(state)


def _loss(task: Task, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with soft targets, of the logits and, less, of auxiliary heads; and with a teacher's beside it."""
    device, classes = task.ranks.device, task.batches.classes
    inputs, targets = inputs.to(device), targets.to(device)
    with task.settings.arithmetic(device):
        answers = [answer.float() for answer in task.model(task.settings.arrange(inputs)).values()]
    hard = targets[:, :classes]
    each = [-(hard * F.log_softmax(answer, 1)).sum(1) for answer in answers]
    losses = each[0] + _AUXILIARY * sum(each[1:], torch.zeros_like(each[0]))
    if task.balance is not None:
        losses = losses * (hard @ task.balance)
    if targets.shape[1] > classes:
        spec = task.recipe.distill
        soft = -(targets[:, classes:] * F.log_softmax(answers[0] / spec.temperature, 1)).sum(1)
        losses = (1 - spec.share) * losses + spec.share * spec.temperature**2 * soft
    return losses.mean()


def _is_over(recipe: Recipe, state: State) -> bool:
    return bool(state.stopped) or bool(recipe.patience and state.stale >= recipe.patience)


def _to_training(task: Task) -> None:
    task.model.train()
    if task.recipe.norm.frozen:
        for layer in task.network.modules():
            if isinstance(layer, Layer) and isinstance(layer.node.op, ops.BatchNorm):
                layer.eval()


def tensors(network: Network) -> Iterator[Tensor]:
    """Parameters and buffers, always in the same order."""
    yield from (tensor.data for tensor in network.parameters())
    yield from network.buffers()


def _seed(recipe: Recipe, state: State, ranks: Ranks) -> int:
    entropy = (recipe.seed, state.epoch, state.step, _DRAWN, ranks.rank)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C came: the first one waits until a step is whole, the second one does not."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(_signum: int, _frame: object) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, before)
