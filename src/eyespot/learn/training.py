"""``eyespot train`` as a function: from a folder of pictures to a run with its best bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import torch

from eyespot.arch.catalogue import is_own
from eyespot.bundle.store import WEIGHTS
from eyespot.core.cores import cores
from eyespot.core.recipe import Kind, Recipe
from eyespot.data.source import Source, open_source
from eyespot.data.split import TRAIN
from eyespot.errors import UsageError
from eyespot.learn.checkpoint import read as read_checkpoint
from eyespot.learn.choices import resolve
from eyespot.learn.events import Events, Watch
from eyespot.learn.failures import in_one_line
from eyespot.learn.material import gather, parts_of
from eyespot.learn.module import Network
from eyespot.learn.origin import Origin, open_origin
from eyespot.learn.pictures import typical_side
from eyespot.learn.ranks import Ranks, ranks
from eyespot.learn.run import RECIPE, Facts, Run, begin, change, check_free, command_line, open_run, take_over
from eyespot.learn.stages import Bench, finish, probe, tell, train_all
from eyespot.learn.start import Tensors, start_weights
from eyespot.learn.threads import torch_threads
from eyespot.learn.validation import Jury

RECIPES = get_args(Kind)


def train(
    data: str | Path,
    out: str | Path,
    *,
    model: str | None = None,
    recipe: str | Path | Recipe | None = None,
    epochs: int | None = None,
    settings: Iterable[str] = (),
    seed: int | None = None,
    validation: float | None = None,
    group: str | None = None,
    teacher: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    like: Run | None = None,
    watch: Watch | None = None,
) -> Run:
    """Trains a classifier on the labelled pictures of ``data`` and leaves a run in ``out``, its best bundle in it.

    data: what ``eyespot.data.source.open_source`` opens. model: a bundle's name or directory, an architecture, or
    FILE.py:FUNCTION; None is the default model. recipe: 'probe', 'finetune', 'scratch', 'distill', a TOML file or a
    Recipe; None is finetune for a trained model, else scratch. settings: 'optimizer.lr=0.01' texts over the recipe.
    threads: of the arithmetic; None is every core. device: 'cpu' or 'cuda'; None is cuda where there is one. like: an
    earlier run on the same pictures, whose parts are taken over, and its features where they are of the same network.
    Raises UsageError for what cannot be, TrainingError when training cannot go on (the last checkpoint stays).
    """
    path, watch = Path(out), watch or Watch()
    check_free(path)
    settings = tuple(settings)
    found = load_recipe(recipe, model)
    given = {"model": model, "epochs": epochs, "seed": seed, "validation": validation, "group": group}
    given |= {"teacher": teacher}
    found = found.with_settings(f"{key}={_toml(value)}" for key, value in given.items() if value is not None)
    found = found.with_settings(settings)
    found = replace(found, model=_absolute(found.model), teacher=_absolute(found.teacher))
    source = open_source(Path(data), group=found.group or None)
    origin = open_origin(found.model)
    count = sum(sample.part in (None, TRAIN) for sample in source.samples)
    present = len({sample.label for sample in source.samples})
    side = typical_side(source)
    if present < 2:
        found = resolve(found, origin, pictures=count, side=side, classes=present)
    found = resolve(found, origin, pictures=count, side=side, classes=len(source.labels))
    facts = Facts(
        data=str(Path(data).resolve()),
        digest=source.digest,
        origin=_digest(origin),
        threads=threads or cores(),
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        eyespot=version("eyespot"),
        torch=torch.__version__,
    )
    # A recipe that is neither a name nor a file is the one that the run keeps.
    written = path / RECIPE if isinstance(recipe, Recipe) else recipe
    options = {**given, "recipe": written, "threads": threads, "device": device}
    command = command_line(["train", data, "--out", out], options, settings)
    with ranks(facts.device) as me:
        if me.is_first:
            take_over(like, begin(path, found, facts, command))
        me.wait()
        return _go_on(open_run(path), source, origin, me, watch if me.is_first else Watch())


def resume(out: str | Path, *, settings: Sequence[str] = (), watch: Watch | None = None) -> Run:
    """Goes on with a run from its last checkpoint; one that is done comes back as it is.

    settings: changes of the recipe for the rest of the run (optimizer, schedule, loss, augment, speed, patience).
    UsageError when there is no run, or the pictures or what it started from have changed.
    """
    run, watch = open_run(out), watch or Watch()
    if run.result is not None:
        return run
    recipe = run.recipe
    source = open_source(Path(run.facts.data), group=recipe.group or None)
    if source.digest != run.facts.digest:
        raise UsageError(f"{run.facts.data} has changed since {out} began; put it back as it was, or begin a new run")
    origin = open_origin(recipe.model)
    if _digest(origin) != run.facts.origin:
        name = recipe.model or "the default model"
        raise UsageError(f"{name} has changed since {out} began; begin a new run")
    with ranks(run.facts.device) as me:
        if settings and me.is_first:
            run = change(run, tuple(settings))
        me.wait()
        return _go_on(open_run(out), source, origin, me, watch if me.is_first else Watch())


def load_recipe(name: str | Path | Recipe | None, model: str | None = None) -> Recipe:
    """A recipe by name, by its TOML file, or chosen for the model: scratch for an architecture, else finetune."""
    if isinstance(name, Recipe):
        return name
    if name is None:
        name = "finetune" if open_origin(model or "").bundle is not None else "scratch"
    if str(name) in RECIPES:
        place = resources.files("eyespot.learn") / "recipes" / f"{name}.toml"
        return Recipe.from_toml(place.read_text(encoding="utf-8"), source=f"{name}.toml")
    if not str(name).endswith(".toml"):
        raise UsageError(f"--recipe {name} is none of {', '.join(RECIPES)}, nor a .toml file")
    try:
        return Recipe.from_toml(Path(name).read_text(encoding="utf-8"), source=str(name))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--recipe {name} cannot be read: {error}") from None


def _go_on(run: Run, source: Source, origin: Origin, me: Ranks, watch: Watch) -> Run:
    """Everything after the beginning; each part of it finds what an earlier try left."""
    with torch_threads(run.facts.threads), in_one_line(run):
        _work(run, source, origin, me, watch)
    return run


def _work(run: Run, source: Source, origin: Origin, me: Ranks, watch: Watch) -> None:
    recipe, threads = run.recipe, run.facts.threads
    sized = origin.at(size=recipe.size, classes=len(source.labels))
    weights = _start(sized, recipe)
    saved = read_checkpoint(run.path)
    with me.first_goes_ahead():
        parts = parts_of(run, source, watch)
        material, lost = gather(run, source, parts, (sized, weights), workers=threads, watch=watch)
    events = Events(run.path if me.is_first else None, watch, keep=saved["state"]["events"] if saved else 0)
    jury = Jury(run, sized, sized.graph, source.labels, material.held[0], threads)
    bench = Bench(run, source, jury, material, me, watch, events)
    verdict = None
    with closing(events):
        if saved is None:
            tell(bench, parts, lost)
            if recipe.kind in ("probe", "finetune"):
                with me.first_goes_ahead():
                    weights, verdict = probe(bench, weights)
        if recipe.kind != "probe":
            train_all(bench, weights, verdict, saved)
        if me.is_first:
            finish(bench)
        me.wait()


def _start(sized: Origin, recipe: Recipe) -> Tensors:
    """The weights to begin with: those of the bundle under a fresh classifier, or random ones."""
    if sized.bundle is None or recipe.kind == "scratch":
        return Network(sized.graph, seed=recipe.seed).export_weights()
    return start_weights(sized.graph, sized.bundle.weights(), seed=recipe.seed)


def _toml(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else str(value)


def _absolute(name: str) -> str:
    """A path as one that a resumed run finds from anywhere; names stay."""
    path, _, function = name.rpartition(":") if is_own(name) and not name.endswith(".py") else (name, "", "")
    if not path or not Path(path).exists():
        return name
    return f"{Path(path).resolve()}:{function}" if function else str(Path(path).resolve())


def _digest(origin: Origin) -> str:
    """Names what a run starts from: the network, and the file of its weights."""
    weights = origin.bundle.card.files[WEIGHTS] if origin.bundle else ""
    return f"{origin.graph.digest}:{weights}"
