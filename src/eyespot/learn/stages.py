"""The stages of a run once its pictures are there: the beginning's report, the probe, the training, the end."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eyespot.bundle.resolve import open_bundle
from eyespot.bundle.store import read
from eyespot.core import ops
from eyespot.core.graph import Graph
from eyespot.data.source import Source
from eyespot.data.split import Parts
from eyespot.errors import TrainingError
from eyespot.image.prepare import prepare
from eyespot.learn import checkpoint
from eyespot.learn.batches import Batches, to_inputs
from eyespot.learn.checkpoint import State
from eyespot.learn.curves import write_curves
from eyespot.learn.events import Events, Watch
from eyespot.learn.loop import Task, fit
from eyespot.learn.material import Material
from eyespot.learn.module import Network
from eyespot.learn.optim import optimizer_for
from eyespot.learn.pictures import Lost
from eyespot.learn.probe import class_weights, fit_head
from eyespot.learn.ranks import Ranks
from eyespot.learn.recorder import Recorder, number
from eyespot.learn.run import Run, write_bytes, write_json
from eyespot.learn.soft import soft_labels, soften
from eyespot.learn.speed import Settings, fastest
from eyespot.learn.start import Tensors, classifiers, restore_norms, with_rates
from eyespot.learn.validation import Jury, Verdict, judge
from eyespot.learn.warm_start import warm_start
from eyespot.lower.tensors import Weights

_MEASURED = 256  # pictures on which batch norm that was folded away is measured anew
_AT_ONCE = 32
_NO_BETTER = "nothing that came after it was better on the validation images"
SPEED = "speed.json"
START = "start.pt"  # the weights that the training of all layers began with


@dataclass
class Bench:
    """What the stages of one run share."""

    run: Run
    source: Source
    jury: Jury
    material: Material
    ranks: Ranks
    watch: Watch
    events: Events

    @property
    def classes(self) -> int:
        """The run's classes."""
        return len(self.jury.labels)


def tell(bench: Bench, parts: Parts, lost: Sequence[Lost]) -> None:
    """The first events: what is trained on what, and every picture that is left out, and why."""
    recipe, origin, labels = bench.run.recipe, bench.jury.origin, bench.jury.labels
    counts = Counter(int(label) for label in bench.material.targets)
    bench.events.add(
        "start",
        model=origin.bundle.card.name if origin.bundle else origin.architecture,
        recipe=recipe.kind,
        size=recipe.size,
        epochs=recipe.epochs,
        batch=recipe.batch,
        classes=len(labels),
        **{part: len(samples) for part, samples in parts.items()},
    )
    for name, error, *_ in (*bench.source.skipped, *lost):
        bench.events.add("skipped", picture=name, error=error)
    for label, name in enumerate(labels.names):
        if not counts[label]:
            bench.watch.note(f"the class {name!r} has no picture to learn from")


def probe(bench: Bench, weights: Weights) -> tuple[Tensors, Verdict]:
    """The weights with the best linear classifier on the backbone's features, published as the best bundle so far."""
    material, graph = bench.material, bench.jury.graph
    assert material.features is not None  # noqa: S101  # a probe's material has them
    bench.watch.stage("fitting the classifier", 0)
    held = material.held[0]
    bias = f"{classifiers(graph)[graph.outputs[0]]}.bias" in graph.parameters
    train, other = (material.features[0], material.targets), (material.features[1], held.targets)
    head = fit_head(train, other, bench.classes, bench.run.recipe, bias=bias)
    weights = head.into(graph, weights)
    bench.watch.stage("validating", len(held.targets))
    verdict = bench.jury.judge(weights, bench.watch.step)
    bench.jury.publish(weights, verdict)
    bench.events.add("probe", decay=head.decay, val_loss=number(verdict.loss), top1=verdict.top1)
    return weights, verdict


def train_all(bench: Bench, weights: Weights, verdict: Verdict | None, saved: dict[str, Any] | None) -> None:
    """Every layer, from the weights and what was validated of them, or from what was saved."""
    run, recipe = bench.run, bench.run.recipe
    graph, weights = _with_norms(bench, weights)
    bench.jury = replace(bench.jury, graph=graph)
    device = bench.ranks.device
    network = _network(graph, weights, bench).to(device)
    batches = _batches(bench)
    settings = _settings(bench, network, batches)
    loss = _first_weights(bench, network, batches) if saved is None else math.inf
    network = _laid_out(settings, network)
    average = network
    if recipe.regularisation.ema_span:
        average = Network(network.graph)
        average.load_state_dict(network.state_dict())
        average = _laid_out(replace(settings, compile=False), average.to(device))
    optimizer = optimizer_for(network, recipe.optimizer)
    state = State() if saved is None else checkpoint.restore(saved, network, average, optimizer)
    balance = torch.from_numpy(class_weights(bench.material.targets, bench.classes)).to(device)
    recorder = Recorder(bench, network, average, optimizer)
    task = Task(
        run=run,
        recipe=recipe,
        network=network,
        model=bench.ranks.wrap(network),
        average=average,
        optimizer=optimizer,
        batches=batches,
        ranks=bench.ranks,
        settings=settings,
        balance=balance if recipe.loss.balance == "loss" else None,
        save=recorder.save,
        validate=recorder.epoch,
        step=recorder.step,
    )
    if saved is None:
        if verdict is not None and verdict.count:
            state.floor, state.first_losses = verdict.first / verdict.count, verdict.losses.tolist()
            state.best_losses = state.first_losses
        if math.isfinite(loss):
            recorder.first(state, loss)
        recorder.save(state)
    recorder.begin(state, batches.steps)
    fit(task, state)
    if recipe.regularisation.blend and not state.stopped:
        recorder.blend(state, _read_start(bench))


def finish(bench: Bench) -> None:
    """The best bundle judged once more, on the test part too where there is one; curves and the last event."""
    best = read(bench.run.best)
    jury, weights = replace(bench.jury, graph=best.card.graph), best.weights()
    bench.watch.stage("judging the best", sum(len(held.targets) for held in bench.material.held))
    verdict = jury.judge(weights, bench.watch.step)
    tested: dict[str, Any] = {}
    for held in bench.material.held[1:]:
        answers = jury.answers(weights, held, bench.watch.step)
        test = judge(answers, held.targets, jury.labels, verdict.temperature)
        jury.publish(weights, verdict, test)
        tested = {"test_top1": test.top1, "test_top1_interval": test.interval}
    events = bench.run.events()
    kept = next((event for event in reversed(events) if event.get("best")), {"event": "probe"})
    reason = next((event["reason"] for event in events if event["event"] == "stop"), _NO_BETTER)
    if bench.run.recipe.kind == "finetune" and kept["event"] == "probe":
        tested["kept"] = f"the probe is kept: {reason}"
        bench.watch.note(tested["kept"])
    write_curves(bench.run.path / "curves.svg", events)
    bench.events.add(
        "done",
        best=str(bench.run.best),
        epoch=kept.get("epoch", 0),
        top1=verdict.top1,
        top1_interval=verdict.interval,
        val_loss=number(verdict.loss),
        temperature=verdict.temperature,
        **tested,
    )


def _first_weights(bench: Bench, network: Network, batches: Batches) -> float:
    """Gives a finetune its warm start (in place), where the recipe wants one, and keeps the weights for the end. The
    loss of its classifier on training images; infinite without a warm start."""
    recipe, place, loss = bench.run.recipe, bench.run.path / START, math.inf
    wanted = recipe.kind == "finetune" and bool(recipe.probe.passes)
    if bench.ranks.is_first and (wanted or recipe.regularisation.blend):
        if wanted:
            bench.watch.stage("fitting the classifier to augmented images", 0)
            loss = warm_start(network, batches, recipe)
        buffer = io.BytesIO()
        torch.save(network.state_dict(), buffer)
        write_bytes(place, buffer.getvalue())
    (loss,) = bench.ranks.share([loss])
    if not bench.ranks.is_first and place.is_file():
        network.load_state_dict(_read_start(bench))
    return loss


def _read_start(bench: Bench) -> dict[str, Tensor]:
    start: dict[str, Tensor] = torch.load(bench.run.path / START, weights_only=True, map_location=bench.ranks.device)
    return start


def _with_norms(bench: Bench, weights: Weights) -> tuple[Graph, Tensors]:
    """The network to train: with its batch norm back where it came without, and the recipe asks for it."""
    jury = bench.jury
    if not (bench.run.recipe.norm.restore and jury.origin.bundle and jury.origin.is_folded):
        return jury.graph, dict(weights)
    bench.watch.stage("measuring batch norm", 0)
    return restore_norms(jury.graph, weights, _prepared(bench), drawn=jury.origin.unfolded())


def _prepared(bench: Bench) -> Iterator[Tensor]:
    """Inputs of some training pictures as the network will see them in service."""
    pictures, preprocess = bench.material.pictures, bench.jury.origin.preprocess
    chosen = range(0, len(pictures), max(len(pictures) // _MEASURED, 1))[:_MEASURED]
    for start in range(0, len(chosen), _AT_ONCE):
        rows = chosen[start : start + _AT_ONCE]
        yield to_inputs(np.stack([prepare(pictures[i], preprocess).pixels for i in rows]), preprocess)


def _network(graph: Graph, weights: Weights, bench: Bench) -> Network:
    """The module that trains: the recipe's dropout, stochastic depth and momentum of batch norm in it."""
    recipe = bench.run.recipe
    dropout, drop_path = recipe.regularisation.dropout, recipe.regularisation.drop_path
    drawn = with_rates(graph, dropout=None if dropout < 0 else dropout, drop_path=None if drop_path < 0 else drop_path)
    nodes = tuple(
        replace(node, op=replace(node.op, momentum=recipe.norm.momentum))
        if isinstance(node.op, ops.BatchNorm)
        else node
        for node in drawn.nodes
    )
    network = Network(replace(drawn, nodes=nodes))
    network.load_weights(weights)
    return network


def _batches(bench: Bench) -> Batches:
    recipe, material = bench.run.recipe, bench.material
    soft = None
    if recipe.kind == "distill":
        bench.watch.stage("asking the teacher", len(material.samples))
        logits = soft_labels(
            open_bundle(recipe.teacher),
            bench.source,
            material.samples,
            folder=bench.run.cache,
            workers=bench.run.facts.threads,
            step=bench.watch.step,
        )
        soft = soften(logits, recipe.distill.temperature)
    preprocess = bench.jury.origin.preprocess
    workers = bench.run.facts.threads
    return Batches(material.pictures, material.targets, bench.classes, preprocess, recipe, soft, bench.ranks, workers)


def _settings(bench: Bench, network: Network, batches: Batches) -> Settings:
    """The fastest arithmetic, measured once in a run, by its first process."""
    place, recipe = bench.run.path / SPEED, bench.run.recipe
    if bench.ranks.is_first and not place.is_file():
        bench.watch.stage("measuring what is fastest", 0)
        inputs, _ = next(batches.epoch(0))
        settings = fastest(
            network, inputs.to(bench.ranks.device), speed=recipe.speed, steps=recipe.epochs * batches.steps
        )
        write_json(place, settings.to_json())
        bench.events.add("speed", settings=settings.name)
    bench.ranks.wait()
    try:
        return Settings.from_json(json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, RecursionError):
        raise TrainingError(f"{place} is damaged; remove it, and the speed is measured again") from None


def _laid_out(settings: Settings, network: Network) -> Network:
    settings.lay_out(network)
    return network
