"""What is written while a run trains: checkpoints, events, the best bundle; and when a run has become hopeless."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from eyespot.learn import checkpoint
from eyespot.learn.checkpoint import State
from eyespot.learn.loop import tensors
from eyespot.learn.module import Network
from eyespot.learn.optim import rate
from eyespot.learn.validation import ENOUGH, Verdict, is_better

if TYPE_CHECKING:
    from eyespot.learn.stages import Bench

_PATIENT = 1 / 3  # of the epochs, in which a training loss may rise and come back


class Recorder:
    """Judges the average of the weights, publishes the best, saves where the run is."""

    def __init__(self, bench: Bench, network: Network, average: Network, optimizer: torch.optim.Optimizer) -> None:
        self._bench, self._network, self._average, self._optimizer = bench, network, average, optimizer

    def save(self, state: State) -> None:
        """A checkpoint."""
        if self._bench.ranks.is_first:
            state.events = self._bench.events.size
            checkpoint.save(self._bench.run.path, self._network, self._average, self._optimizer, state)

    def begin(self, state: State, steps: int) -> None:
        """Says what is ahead of an epoch."""
        self._steps = steps
        recipe = self._bench.run.recipe
        if state.epoch < recipe.epochs:
            title = f"epoch {state.epoch + 1} of {recipe.epochs}"
            self._bench.watch.stage(title, steps * recipe.batch, state.step * recipe.batch)

    def step(self, state: State) -> None:
        """One step is done."""
        self._bench.watch.step(self._bench.run.recipe.batch)

    def first(self, state: State, loss: float) -> None:
        """Validates the weights that training begins with. loss: of their classifier on training images."""
        state.start_loss = loss
        val_loss, top1, better = self._judge(state)
        self._bench.events.add("warm_start", loss=loss, val_loss=number(val_loss), top1=top1, best=better)

    def epoch(self, state: State, loss: float) -> None:
        """Validates after an epoch; publishes what is better than all before. loss: the epoch's, of training."""
        recipe = self._bench.run.recipe
        val_loss, top1, better = self._judge(state, epoch=True)
        few = len(self._bench.jury.held.targets) < ENOUGH  # too few to lose patience by
        state.stale = 0 if few or val_loss < state.least_loss else state.stale + 1
        state.least_loss = min(state.least_loss, val_loss) if top1 is not None else math.inf
        self._bench.events.add(
            "epoch",
            epoch=state.epoch,
            loss=loss,
            val_loss=number(val_loss),
            top1=top1,
            best=better,
            rate=rate(recipe.schedule, recipe.optimizer.lr, state.epoch / recipe.epochs),
            seconds=round(state.seconds, 3),
        )
        if recipe.patience:
            progress = state.epoch / recipe.epochs
            state.stopped = why_hopeless(loss, state.start_loss, classes=self._bench.classes, progress=progress)
        if state.stopped:
            self._bench.events.add("stop", epoch=state.epoch, reason=state.stopped)
        self.begin(state, self._steps)

    def blend(self, state: State, start: dict[str, torch.Tensor]) -> None:
        """Validates points between the first and the last weights (WiSE-FT), and publishes what is better."""
        last = [tensor.clone() for tensor in tensors(self._average)]
        for share in self._bench.run.recipe.regularisation.blend:
            self._average.load_state_dict(start)
            torch._foreach_lerp_(list(tensors(self._average)), last, share)
            val_loss, top1, better = self._judge(state)
            event: dict[str, Any] = {"epoch": state.epoch, "share": share, "val_loss": number(val_loss), "top1": top1}
            self._bench.events.add("blend", **event, best=better)
        torch._foreach_copy_(list(tensors(self._average)), last)

    def _judge(self, state: State, *, epoch: bool = False) -> tuple[float, float | None, bool]:
        """(loss, top-1, whether they are the best) of the average of the weights; the best is published."""
        bench = self._bench
        shared = [0.0] * 4
        if bench.ranks.is_first:
            bench.watch.stage("validating", len(bench.jury.held.targets))
            exported = self._average.export_weights()
            weights = {name: exported[name] for name in bench.jury.graph.parameters}
            verdict = bench.jury.judge(weights, bench.watch.step)
            better = self._is_better(state, verdict, epoch=epoch)
            if better:
                bench.jury.publish(weights, verdict)
            shared = [verdict.loss, better, verdict.first, verdict.count]
        val_loss, chosen, first, count = bench.ranks.share(shared)
        return val_loss, first / count if count else None, bool(chosen)

    def _is_better(self, state: State, verdict: Verdict, *, epoch: bool) -> bool:
        """Whether these weights are the best so far; notes their losses then."""
        few = verdict.count < ENOUGH
        other = state.first_losses if few and epoch else state.best_losses
        losses, top1 = verdict.losses.tolist(), verdict.top1 or 0.0
        better = not other or is_better(losses, other, top1=top1, floor=state.floor, epoch=epoch)
        if better:
            state.best_losses = losses
        return better


def why_hopeless(loss: float, first: float, *, classes: int, progress: float) -> str:
    """Why a finetune should end here, "" where it should not.

    loss: of training, in the epoch that ended; first: of the classifier that it began with, infinite for other kinds of
    runs; progress: the share of the epochs that are done.
    """
    chance = math.log(classes)
    if first >= chance:
        return ""
    if progress >= _PATIENT and loss > chance:
        return f"the training loss was {loss:.2f} after a third of the epochs, where guessing has {chance:.2f}"
    return ""


def number(value: float) -> float | None:
    """JSON has no not-a-number."""
    return value if math.isfinite(value) else None
