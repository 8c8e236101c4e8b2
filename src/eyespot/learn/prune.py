"""``eyespot prune`` as a function: from a bundle and labelled pictures to one with fewer channels, fine-tuned.

PLACE.work/
  recipe.toml run.json split.json     what is done on which pictures, as in a training run
  cut1/                               the bundle after the first cut, not yet fine-tuned
  round1/                             the training run that follows, with its last checkpoint and its best bundle
  cut2/ round2/ …

Killed at any moment, the same call goes on from what is there. The folder goes when the bundle is written.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyespot.accuracy.paired import Paired, paired
from eyespot.bundle.build import build
from eyespot.bundle.store import WEIGHTS, Bundle, check_free, read
from eyespot.core.cores import cores
from eyespot.core.cost import cost
from eyespot.core.graph import Graph
from eyespot.core.labels import Labels
from eyespot.core.recipe import Recipe
from eyespot.data.source import Source, open_source
from eyespot.data.split import TRAIN
from eyespot.errors import TrainingError, UsageError
from eyespot.image.prepare import prepare
from eyespot.learn import checkpoint
from eyespot.learn.batches import to_inputs
from eyespot.learn.choices import FINETUNE
from eyespot.learn.events import Events, Watch
from eyespot.learn.failures import in_one_line
from eyespot.learn.importance import importance
from eyespot.learn.material import Material, gather, parts_of
from eyespot.learn.module import Network
from eyespot.learn.origin import Origin, open_origin
from eyespot.learn.ranks import Ranks
from eyespot.learn.run import RECIPE, Facts, Run, begin, command_line, is_bundle, open_run
from eyespot.learn.serving import logits
from eyespot.learn.speed import fastest
from eyespot.learn.stages import Bench, finish, train_all
from eyespot.learn.start import classifiers, fresh_head, restore_norms
from eyespot.learn.threads import torch_threads
from eyespot.learn.validation import Held, Jury
from eyespot.lower.tensors import Weights, of_inference
from eyespot.shrink.coupling import couple
from eyespot.shrink.narrow import narrow, narrow_weights
from eyespot.shrink.prune import (
    Pruned,
    Round,
    Wish,
    epochs_of,
    halvings,
    layers,
    measured,
    plain_labels,
    pruned_card,
    rungs,
)
from eyespot.shrink.ranking import magnitudes, select, wanted_macs
from eyespot.shrink.timing import time_both

_WISH = Wish()
_SEEN = 512  # training pictures that channels are judged by
_AT_ONCE = 16
_BESIDE = 1.25  # what an epoch takes, in times of its steps: validation, pictures, checkpoints


@dataclass(frozen=True)
class _Job:
    """What every step of one pruning shares. origin: of the whole network; labels: without a background class."""

    bundle: Bundle
    wish: Wish
    rounds: int
    run: Run
    origin: Origin
    labels: Labels
    source: Source
    material: Material
    ranks: Ranks
    watch: Watch


def prune(
    bundle: Bundle,
    data: Path,
    out: Path,
    *,
    wish: Wish = _WISH,
    replace_bundle: bool = False,
    threads: int | None = None,
    device: str | None = None,
    watch: Watch | None = None,
) -> Pruned:
    """Removes channels of a float32 bundle until it takes ``wish.macs``, fine-tunes the rest, and writes it at ``out``.

    data: labelled pictures with the bundle's classes, as ``open_source`` takes them; the same seed and validation part
    as in training keep the same pictures apart. threads: None is every core. device: of fine-tuning, 'cpu' or 'cuda'.
    UsageError for what cannot be, TrainingError when fine-tuning cannot go on; what is there then is gone on with.
    """
    if bundle.card.precision != "float32":
        parent = bundle.card.parent or "the bundle that it was made of"
        raise UsageError(f"{bundle.card.name} is {bundle.card.precision}; prune {parent}, then quantize the result")
    check_free(out, replace=replace_bundle)
    watch = watch or Watch()
    graph = bundle.card.graph.inference()
    target = wanted_macs(wish.macs, graph)
    coupling = couple(graph)
    select(coupling, np.ones(coupling.classes), target)  # UsageError now, not after an hour
    labels = plain_labels(bundle.labels)
    source = open_source(data, labels=labels, group=wish.group or None)
    origin = open_origin(str(bundle.path))
    run = _open(bundle, source, data, out, wish, Facts(
        data=str(data.resolve()),
        digest=source.digest,
        origin=_digest(bundle, wish),
        threads=threads or cores(),
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        eyespot=version("eyespot"),
        torch=torch.__version__,
    ))  # fmt: skip
    with torch_threads(run.facts.threads), _our_advice(run):
        parts = parts_of(run, source, watch)
        material, lost = gather(run, source, parts, (origin, {}), workers=run.facts.threads, watch=watch)
        if not all(len(held.targets) for held in material.held):
            raise UsageError(f"{data} has no pictures left to validate on; pass more, or a larger --validation")
        rounds = wish.rounds or halvings(cost(graph).macs, target)
        job = _Job(bundle, wish, rounds, run, origin, labels, source, material, Ranks(device=run.facts.device), watch)
        bundles = _rounds(job, target)
        report = _report(job, bundles, tuple(f"{name}: {error}" for name, error, *_ in (*source.skipped, *lost)))
    return _deliver(job, report, bundles[-1][1], out, replace_bundle=replace_bundle)


def work_place(out: Path) -> Path:
    """Where what is not done yet lies."""
    return out.with_name(f"{out.name}.work")


def _digest(bundle: Bundle, wish: Wish) -> str:
    """Of what the work depends on; whether the result is good enough does not count."""
    asked = asdict(replace(wish, max_drop=None))
    text = json.dumps([bundle.card.graph.digest, bundle.card.files[WEIGHTS], asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _open(bundle: Bundle, source: Source, data: Path, out: Path, wish: Wish, facts: Facts) -> Run:
    """The work that is there already, or a new one. UsageError when what is there is other work."""
    path = work_place(out)
    if (path / RECIPE).is_file():
        run = open_run(path)
        if (run.facts.origin, run.facts.digest) != (facts.origin, facts.digest):
            raise UsageError(
                f"{path} holds another pruning that is not done; give its bundle, pictures and options again to go on "
                "with it, or remove it"
            )
        return run
    recipe = _recipe(wish)
    count = sum(sample.part in (None, TRAIN) for sample in source.samples)
    row = next(row for row in FINETUNE if count <= row.pictures)
    recipe = replace(
        recipe,
        model=str(bundle.path.resolve()),
        teacher=str(bundle.path.resolve()),
        size=recipe.size or max(bundle.card.preprocess.size),
        batch=min(recipe.batch or row.batch, max(count, 1)),
        epochs=wish.epochs or (0 if wish.minutes else recipe.epochs or row.epochs),
    )
    if recipe.kind != "distill" or recipe.size != max(bundle.card.preprocess.size):
        raise UsageError("pruning keeps the network's size and learns from the whole network; leave out kind and size")
    return begin(path, recipe, facts, _command(bundle, data, out, wish))


def _command(bundle: Bundle, data: Path, out: Path, wish: Wish) -> str:
    options = asdict(wish)
    options["max-drop"] = None if wish.max_drop is None else 100 * wish.max_drop
    del options["settings"], options["max_drop"]
    return command_line(["prune", bundle.path, "--data", data, "--out", out], options, wish.settings)


def _recipe(wish: Wish) -> Recipe:
    place = resources.files("eyespot.learn") / "recipes" / "prune.toml"
    recipe = Recipe.from_toml(place.read_text(encoding="utf-8"), source="prune.toml").with_settings(wish.settings)
    return replace(recipe, seed=wish.seed, validation=wish.validation, group=wish.group)


@contextmanager
def _our_advice(run: Run) -> Iterator[None]:
    """What went wrong in a training run, with what to do about it here."""
    try:
        with in_one_line(run):
            yield
    except TrainingError as error:
        seen = re.split(r"; begin a new run|[:,] go on with|, then go on with", str(error))[0]
        raise TrainingError(
            f"{seen}; the same command goes on from {run.path}; without that folder, it can be given other settings "
            "(--set optimizer.lr=…, --set batch=…)"
        ) from None


def _rounds(job: _Job, target: int) -> list[tuple[Bundle, Bundle]]:
    """Each round's bundles after the cut and after the fine-tune."""
    total = cost(job.origin.graph).macs
    wanted = rungs(total, target, job.rounds)
    done: list[tuple[Bundle, Bundle]] = []
    for number, macs in enumerate(wanted, 1):
        place = job.run.path / f"cut{number}"
        if not is_bundle(place):
            graph, weights = (done[-1][1].card.graph, done[-1][1].weights()) if done else _whole(job)
            _cut(job, graph, weights, macs, place)
        cut = read(place)
        done.append((cut, _tuned(job, cut, number)))
    return done


def _whole(job: _Job) -> tuple[Graph, Weights]:
    """The network to cut: with its batch norm where that was folded away, without a background class."""
    bundle, wanted = job.bundle, len(job.labels)
    graph, tensors = of_inference(bundle.card.graph, bundle.weights())
    weights: Weights = tensors
    if job.origin.is_folded:
        job.watch.stage("measuring batch norm", 0)
        drawn = job.origin.unfolded()
        seen = (inputs for inputs, _ in _seen(job))
        graph, weights = restore_norms(graph, weights, seen, drawn=drawn)
    if bundle.labels.background:
        heads = tuple(f"{name}." for name in classifiers(graph).values())
        weights = {n: t[1:] if n.startswith(heads) else t for n, t in weights.items()}
        graph = fresh_head(graph, wanted)
    return graph, weights


def _cut(job: _Job, graph: Graph, weights: Weights, macs: int, place: Path) -> None:
    """Judges the channels, removes as many as it takes, and writes the bundle.

    Batch norm keeps its statistics: measured anew, those of a network that was fine-tuned on frozen ones would be
    others altogether (apple leaves, MobileNetV2 at 0.7x: 99.2 % of the answers right as it is cut, 62 % so).
    """
    coupling = couple(graph)
    if job.wish.score == "magnitudes":
        scores = magnitudes(coupling, weights)
    else:
        job.watch.stage("judging channels", min(_SEEN, len(job.material.targets)))
        scores = importance(coupling, weights, _seen(job), step=job.watch.step)
    kept = select(coupling, scores, macs)
    small, cut = narrow(coupling, kept), narrow_weights(coupling, kept, weights)
    build(place, pruned_card(job.bundle.card, small), weights=cut, labels=job.labels)


def _seen(job: _Job) -> Iterator[tuple[Tensor, Tensor]]:
    """Some training pictures of all classes, as the network will see them in service, and their labels."""
    material, preprocess = job.material, job.origin.preprocess
    chosen = np.random.default_rng((job.run.recipe.seed, _SEEN)).permutation(len(material.targets))[:_SEEN]
    for rows in np.array_split(chosen, max(len(chosen) // _AT_ONCE, 1)):
        pixels = np.stack([prepare(material.pictures[int(i)], preprocess).pixels for i in rows])
        yield to_inputs(pixels, preprocess), torch.from_numpy(material.targets[rows])


def _tuned(job: _Job, cut: Bundle, number: int) -> Bundle:
    """The best bundle of the training run that begins at a cut."""
    place = job.run.path / f"round{number}"
    whole = job.run.recipe
    if not (place / RECIPE).is_file():
        total = whole.epochs or _fitting(job, cut)
        recipe = replace(whole, model=str(cut.path.resolve()), epochs=epochs_of(total, job.rounds)[number - 1])
        begin(place, recipe, job.run.facts, f"eyespot prune, round {number} of {job.rounds}")
    run = open_run(place)
    if run.result is None:
        _take_soft_labels(job.run.path, run)
        _train(job, run, cut)
    return read(run.best)


def _train(job: _Job, run: Run, cut: Bundle) -> None:
    """Fine-tunes a cut network, or goes on with it."""
    saved = checkpoint.read(run.path)
    graph, weights = cut.card.graph, cut.weights()
    origin = replace(open_origin(str(cut.path)), preprocess=job.origin.preprocess)
    jury = Jury(run, origin, graph, job.labels, job.material.held[0], run.facts.threads)
    events = Events(run.path, job.watch, keep=saved["state"]["events"] if saved else 0)
    bench = Bench(run, job.source, jury, job.material, job.ranks, job.watch, events)
    verdict = None
    with closing(events):
        if saved is None:
            job.watch.stage("validating", len(jury.held.targets))
            verdict = jury.judge(weights, job.watch.step)
            jury.publish(weights, verdict)
            events.add("cut", macs=cost(graph).macs, epochs=run.recipe.epochs, top1=verdict.top1, val_loss=verdict.loss)
        train_all(bench, weights, verdict, saved)
        finish(bench)


def _take_soft_labels(work: Path, run: Run) -> None:
    """The teacher's answers are the same in every round."""
    for place in sorted(work.glob("round*/cache/soft.*.npy")):
        if place.parent != run.cache and not (run.cache / place.name).is_file():
            shutil.copy2(place, run.cache / f"{place.name}.new")
            (run.cache / f"{place.name}.new").replace(run.cache / place.name)


def _fitting(job: _Job, cut: Bundle) -> int:
    """How many epochs fit in the minutes: by a step of the cut network, which is timed."""
    assert job.wish.minutes is not None  # noqa: S101  # epochs would have been given
    job.watch.stage("measuring what is fastest", 0)
    network = Network(cut.card.graph)
    network.load_weights(cut.weights())
    inputs, _ = next(_seen(job))
    count = min(len(inputs), 8)
    settings = fastest(network.to(job.ranks.device), inputs[:count].to(job.ranks.device))
    epoch = _BESIDE * min(settings.seconds.values()) / count * len(job.material.targets)
    return max(int(60 * job.wish.minutes / epoch), 1)


def _report(job: _Job, bundles: list[tuple[Bundle, Bundle]], unreadable: tuple[str, ...]) -> Pruned:
    """Every network of the way on the pictures that were held out, and the first and the last one's times."""
    held, recipe = job.material.held[-1], job.run.recipe
    job.watch.stage("comparing", (2 * len(bundles) + 1) * len(held.targets))
    before = _answers(job, job.bundle, held)
    found = [[_answers(job, one, held) for one in pair] for pair in bundles]

    def compare(answers: NDArray[np.int64]) -> Paired:
        return paired(before, answers, held.targets)

    rounds = tuple(
        Round(cost(pair[0].card.graph).macs, open_run(job.run.path / f"round{i}").recipe.epochs, *shares)
        for i, (pair, shares) in enumerate(
            ((pair, [compare(a).after for a in answers]) for pair, answers in zip(bundles, found, strict=True)), 1
        )
    )
    last, whole = bundles[-1][1], job.bundle
    job.watch.stage("timing", 0)
    picture = np.random.default_rng(recipe.seed).integers(0, 256, (1, *job.origin.preprocess.size, 3), np.uint8)
    models = [one.model.read_bytes() for one in (whole, last)]
    return Pruned(
        whole.card.name,
        len(job.material.targets),
        held.name,
        compare(found[-1][0]),
        compare(found[-1][1]),
        rounds,
        layers(whole.card.graph, last.card.graph),
        (cost(whole.card.graph), cost(last.card.graph)),
        (len(models[0]), len(models[1])),
        time_both(models[0], models[1], picture),
        unreadable,
        None,
    )


def _answers(job: _Job, bundle: Bundle, held: Held) -> NDArray[np.int64]:
    """The label that each picture gets."""
    card, step = bundle.card, job.watch.step
    answers = logits(
        card.graph, bundle.weights(), card.preprocess, held.pictures, workers=job.run.facts.threads, step=step
    )
    return answers[:, int(bundle.labels.background) :].argmax(1)


def _deliver(job: _Job, report: Pruned, best: Bundle, out: Path, *, replace_bundle: bool) -> Pruned:
    """The report with the bundle written at its place, and the work removed; or why it was not."""
    allowed = job.wish.max_drop
    if allowed is not None and report.found.drop > allowed:
        lost = f"it loses {100 * report.found.drop:.2f} points, {100 * allowed:g} were allowed"
        return replace(report, why=f"{lost}; what there is stays in {best.path}")
    held = job.material.held[-1]
    name = Path(job.run.facts.data).name
    data = f"{name}, {held.name} part, {report.found.pictures:,} pictures"
    share = report.costs[1].macs / report.costs[0].macs
    source = f"eyespot prune {version('eyespot')}: {share:.2f} of the MACs of {report.model}, fine-tuned on {name}"
    card = pruned_card(job.bundle.card, best.card.graph, source=source)
    card = measured(card, report.found, data=data, temperature=best.card.temperature)
    images = job.run.training_images()
    images = images and images | job.bundle.training_images()
    written = build(
        out, card, weights=best.weights(), labels=job.labels, training_images=images, replace=replace_bundle
    )
    shutil.rmtree(job.run.path, ignore_errors=True)
    return replace(report, bundle=written)
