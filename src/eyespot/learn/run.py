"""Run: a directory that holds a training run: recipe, split, events, the last checkpoint, the best bundle.

runs/leaves/
  recipe.toml      the resolved recipe, written before anything is computed
  run.json         where the pictures are, and what else a resumed run must find unchanged
  split.json       the pictures' names by part, sets of duplicates, and short digests of the files
  events.jsonl     what happened, a JSON object per line; tensorboard/ has the same for TensorBoard
  speed.json       the settings that were measured to be the fastest
  last.pt          the last checkpoint
  start.pt         the weights that the training of all layers began with
  best/            the best bundle so far, with its figures
  curves.svg       loss and accuracy over the epochs
  cache/           features and soft labels; may be removed when the run is done
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyespot.bundle.store import CARD
from eyespot.bundle.training_images import TrainingImages
from eyespot.core.recipe import Recipe
from eyespot.core.whole import whole
from eyespot.data.split import TRAIN, VALIDATION
from eyespot.errors import UsageError

FORMAT = 1
_MOST_THREADS = 4096
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)  # of what lies in a run's files
FEATURES = "features.npz"  # in the cache
RECIPE, FACTS, SPLIT, EVENTS, LAST, BEST = "recipe.toml", "run.json", "split.json", "events.jsonl", "last.pt", "best"


@dataclass(frozen=True)
class Facts:
    """What a run stands on besides its recipe.

    data: the pictures, as an absolute path; digest: theirs. origin: the digest of what the run starts from. threads:
    of torch, since sums depend on their number. device: 'cpu' or 'cuda'.
    """

    data: str
    digest: str
    origin: str
    threads: int
    device: str
    eyespot: str
    torch: str

    def __post_init__(self) -> None:
        texts = (self.data, self.digest, self.origin, self.device, self.eyespot, self.torch)
        if not all(isinstance(text, str) for text in texts) or self.device not in ("cpu", "cuda"):
            raise ValueError("what a run stands on is text, its device cpu or cuda")
        if type(self.threads) is not int or not 1 <= self.threads <= _MOST_THREADS:
            raise ValueError(f"{str(self.threads)[:20]} threads")


@dataclass(frozen=True)
class Run:
    """A run's directory, opened."""

    path: Path
    recipe: Recipe
    facts: Facts

    @property
    def best(self) -> Path:
        """The best bundle; it is there as soon as something was validated."""
        return self.path / BEST

    @property
    def cache(self) -> Path:
        """A folder for what can be computed again."""
        place = self.path / "cache"
        place.mkdir(exist_ok=True)
        return place

    def training_images(self) -> TrainingImages | None:
        """Digests of the images of its split; None before it is split."""
        try:
            split = json.loads((self.path / SPLIT).read_text(encoding="utf-8"))
            files = {name: bytes.fromhex(text) for name, text in split.get("files", {}).items()}
            train, validation = (
                frozenset(files[name] for name in split["parts"].get(part, ()) if name in files)
                for part in (TRAIN, VALIDATION)
            )
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            raise UsageError(f"{self.path / SPLIT} is damaged: {str(error)[:100]!r}; begin a new run") from None
        return TrainingImages(train) | TrainingImages(validation=validation)

    def events(self) -> list[dict[str, Any]]:
        """What happened so far; a half-written last line is left out."""
        try:
            text = (self.path / EVENTS).read_text(encoding="utf-8")
            events = [json.loads(line) for line in text.split("\n")[:-1]]
            if all(isinstance(event["event"], str) for event in events):
                return events
            reason = "an event has no name"
        except OSError:
            return []
        except _DAMAGED as error:
            reason = str(error)[:100]
        raise UsageError(f"{self.path / EVENTS} is damaged: {reason!r}; begin a new run")

    @property
    def result(self) -> dict[str, Any] | None:
        """The last event of a run that is done: epoch, top1, top1_interval, val_loss, temperature; else None."""
        last = self.events()[-1:]
        return last[0] if last and last[0]["event"] == "done" else None


def begin(path: Path, recipe: Recipe, facts: Facts, command: str) -> Run:
    """Makes the directory and writes what the run will be; the recipe last, so that it marks a whole beginning.

    UsageError when the place holds a run, or anything else.
    """
    check_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / FACTS, {"format": FORMAT, **vars(facts)})
        write_text(path / RECIPE, f"# {command}\n# recipe {recipe.digest[:12]}\n\n{recipe.to_toml()}")
    except OSError as error:
        raise UsageError(f"--out {path} cannot be written: {error.strerror or error}; choose another place") from None
    return Run(path, recipe, facts)


def command_line(words: Sequence[object], options: Mapping[str, object], settings: Sequence[str]) -> str:
    """The line of ``recipe.toml`` that repeats a run: the verb with its arguments, the options given, ``--set``."""
    named = [text for name, value in options.items() if value not in (None, "") for text in (f"--{name}", str(value))]
    line = shlex.join(["eyespot", *map(str, words), *named, *(text for one in settings for text in ("--set", one))])
    return " ".join(line.splitlines())  # it is one line of a comment


def take_over(earlier: Run | None, run: Run) -> None:
    """The parts and the features of an earlier run on the same pictures; features of another network are not used.

    UsageError when that run was of other pictures, or has no parts yet.
    """
    if earlier is None:
        return
    if earlier.facts.digest != run.facts.digest or not (earlier.path / SPLIT).is_file():
        raise UsageError(f"{earlier.path} is no run on these pictures that has parts; begin without its parts")
    write_bytes(run.path / SPLIT, (earlier.path / SPLIT).read_bytes())
    features = earlier.path / "cache" / FEATURES
    if features.is_file():
        write_bytes(run.cache / FEATURES, features.read_bytes())


def check_free(path: Path) -> None:
    """UsageError unless a run can begin here."""
    if (path / RECIPE).is_file():
        raise UsageError(f"{path} holds a run already; go on with `eyespot train --resume {path}`, or choose another")
    if path.is_file() or (path.is_dir() and any(entry.name != FACTS for entry in path.iterdir())):
        raise UsageError(f"{path} exists and is not a run; choose a place that is free")


def open_run(path: str | Path) -> Run:
    """The run in a directory. UsageError, in one line, when there is none."""
    path = Path(path)
    try:
        recipe = Recipe.from_toml((path / RECIPE).read_text(encoding="utf-8"), source=str(path / RECIPE))
        data: dict[str, Any] = json.loads((path / FACTS).read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise UsageError(f"{path} is a run of another eyespot; go on with the version that began it")
        return Run(path, recipe, Facts(**data))
    except OSError as error:
        raise UsageError(
            f"{path} is not a run: {error.filename} cannot be read ({error.strerror}); begin one with `eyespot train`"
        ) from None
    except _DAMAGED as error:
        raise UsageError(f"{path / FACTS} is damaged: {str(error)[:100]!r}; begin a new run") from None


def change(run: Run, settings: tuple[str, ...]) -> Run:
    """The run with some of its recipe changed for the rest of it, and written so.

    Only what does not change what the run is: sections optimizer, schedule, loss, augment, speed, and patience.
    """
    for setting in settings:
        if setting.partition(".")[0] not in _CHANGEABLE and setting.partition("=")[0] != "patience":
            raise UsageError(
                f"--set {setting} would make it another run; a resumed one takes patience and the sections "
                f"{', '.join(_CHANGEABLE)}: begin a new run"
            )
    recipe = run.recipe.with_settings(settings)
    head = [line for line in (run.path / RECIPE).read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    note = f"# changed on the way: {' '.join(settings)}"
    write_text(run.path / RECIPE, "\n".join([*head, note, "", recipe.to_toml()]))
    return Run(run.path, recipe, run.facts)


_CHANGEABLE = ("optimizer", "schedule", "loss", "augment", "speed")


def write_text(path: Path, text: str) -> None:
    """A file that is whole or as it was."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """A file that is whole or as it was. OSError when the disk is full, and then nothing is left behind."""
    with whole(path, durable=True) as file:
        file.write(data)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """JSON, whole or as it was."""
    write_text(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def is_bundle(path: Path) -> bool:
    """Whether a bundle lies there."""
    return (path / CARD).is_file()
