"""Tournament: networks that compete on a person's pictures by successive halving, within a time.

Every entry with weights begins with a probe: its backbone runs once over the pictures, in ONNX Runtime; where all of
them would take too long, over a sample. The best of them, as many as the time allows, begin a finetune of all layers
(with their probe) and pause after two fifths of its epochs; the better half goes on to four fifths, and so on; what is
left of the time goes to the one that leads, then to the others. No epoch is done twice, and none is judged by a
schedule of its own that is too short to learn in: a finetune's first epoch costs accuracy that the next ones bring back
with more. (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016.)
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eyespot.accuracy.dataset import Example, Stored
from eyespot.choose.training import Entry, Trained
from eyespot.core.cores import cores
from eyespot.core.recipe import Kind
from eyespot.core.whole import whole
from eyespot.data.source import Sample, open_source
from eyespot.data.split import TRAIN, VALIDATION
from eyespot.errors import EyespotError, PictureError, UsageError
from eyespot.learn.choices import FINETUNE, SCRATCH
from eyespot.learn.events import Watch
from eyespot.learn.pictures import typical_side
from eyespot.learn.run import RECIPE, SPLIT, Run, is_bundle, open_run
from eyespot.learn.training import resume, train
from eyespot.learn.trial import Trial, by_accuracy, epochs_of, judged, rank

_PROBING = 0.35  # of the time, until which entries are probed
_RUNG = 0.4  # of a training's epochs, after which it is first compared with its rivals
_PASSES = 2.0  # times a network's own time: what a probe takes for each picture, decoding and another precision counted
_LEAST_SAMPLE = 240  # pictures of a sample, below which a probe says little
_RIVALS = 4  # that are finetuned, at the most
_KEPT = 0.9  # of the time that is left, which trainings are planned to take
_PACE = 10.0  # times a network's own time: what training takes for each picture, before any was timed
_LEAST_EPOCHS = 2  # of a finetune: a shorter one is worse than the probe that it begins with


class _TimeUp(Exception):
    """The time of a training is over; what it reached stays."""


class _Paused(Exception):
    """A training has done the epochs that were asked of it for now; its checkpoint is there."""


class _Limited(Watch):
    """Stops a training when its time is up or so many epochs are done; ``say`` is told each stage."""

    def __init__(self, until: float, epochs: int, say: Callable[[str], None]) -> None:
        self._until, self._epochs, self._say = until, epochs, say
        self._enough = False

    def stage(self, title: str, total: int, done: int = 0) -> None:
        self._say(title)
        self._in_time()

    def step(self, count: int = 1) -> None:
        if self._enough:  # not where the epoch ends: what it reached is saved after that
            raise _Paused
        self._in_time()

    def event(self, record: dict[str, Any]) -> None:
        self._enough |= record["event"] == "epoch" and record["epoch"] >= self._epochs

    def _in_time(self) -> None:
        if time.monotonic() >= self._until:
            raise _TimeUp


class Tournament:
    """Trains entries on the labelled pictures of ``data``, each in a run inside ``folder``; see ``choose.training``.

    settings: of the recipes, as ``eyespot train --set`` takes them. ``say`` is told what is being done. A run that an
    earlier tournament in the same folder finished is taken as it is, one that it began is gone on with.
    """

    def __init__(
        self,
        data: Path,
        folder: Path,
        *,
        threads: int | None = None,
        group: str | None = None,
        settings: Sequence[str] = (),
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._data, self._folder, self._group, self._settings, self._say = data, folder, group, settings, say
        self._threads = threads or cores()
        self._source = open_source(data, group=group)
        if len(self._source.labels) < 2:
            raise UsageError(f"{data} has {len(self._source.labels)} class; two or more were needed to choose by")
        self._learned_from = sum(sample.part in (None, TRAIN) for sample in self._source.samples)
        self._first: dict[bool, Run] = {}  # on a sample or not: the run whose parts all others take over
        self._judges = False  # whether what came of the competition was judged by a sample
        self._notes: list[str] = []
        self._paces: list[float] = []  # of trainings so far: a picture's time, in times of the network's own

    @property
    def notes(self) -> list[str]:
        """Entries that could not be trained, and why."""
        return self._notes

    @property
    def digest(self) -> str:
        """Of the pictures' names, labels and sizes."""
        return self._source.digest

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return len(self._source.labels)

    @property
    def side(self) -> int:
        """The typical shorter side, in pixels."""
        return typical_side(self._source)

    def compete(self, entries: Sequence[Entry], until: float) -> list[Trained]:
        """The entries' best results, the most accurate first; those that time did not allow are left out."""
        start = time.monotonic()
        probed = self._probe(entries, start, until)
        trials = {trial.trained.entry.name: [trial] for trial in probed}
        if probed:
            rivals = sorted(probed, key=by_accuracy)[: max(1, min(_RIVALS, len(probed) // 2))]
            contenders = [trial.trained.entry for trial in rivals if not self._is_hopeless(trial, until)]
        else:
            contenders = [entry for entry in entries if not entry.candidate.start][:_RIVALS]
        begun, share = list(contenders), _RUNG
        while len(contenders) > 1:
            for entry in contenders:
                self._go_on(entry, share, trials, until)
            contenders = sorted(contenders, key=lambda entry: rank(trials.get(entry.name, [])))[: len(contenders) // 2]
            share = min(2 * share, 1.0)
        begun.sort(key=lambda entry: (entry not in contenders, rank(trials.get(entry.name, []))))
        for entry in begun:
            while self._go_on(entry, 1.0, trials, until):
                pass
        # A sample's figures count only where nothing was trained on all pictures.
        whole = [[trial for trial in found if not trial.sampled] for found in trials.values()]
        self._judges = not any(whole)
        best = [min(found, key=by_accuracy) for found in (trials.values() if self._judges else whole) if found]
        return [trial.trained for trial in sorted(best, key=by_accuracy)]

    def held_out(self) -> list[Example]:
        """The validation part that all runs share; where only a sample was trained on, what is not in it."""
        first = self._first.get(False)
        if self._judges:
            sampled = self._sampled()
            names = {sample.name for sample in self._source.samples if _digits(sample.name) not in sampled}
        elif first is not None:
            names = set(json.loads((first.path / SPLIT).read_text(encoding="utf-8"))["parts"][VALIDATION])
        else:
            names = set()
        packed = self._source.kind in ("zip", "tar")
        return [
            Example(self._source.where(sample), sample.label, Stored(self._source, sample) if packed else None)
            for sample in self._source.samples
            if sample.name in names
        ]

    def _probe(self, entries: Sequence[Entry], start: float, until: float) -> list[Trial]:
        """The entries with weights, as many as their share of the time allows, but one at the least."""
        found: list[Trial] = []
        starters = [entry for entry in entries if entry.candidate.start]
        sampled = self._sample(starters, _PROBING * (until - start))
        for entry in starters:
            # Where no training on all pictures will be had, all the time is for probing.
            share = 1.0 if found and self._is_hopeless(found[-1], until) else _PROBING
            late = time.monotonic() + (found[-1].seconds / 2 if found else 0.0) >= start + share * (until - start)
            if (found or time.monotonic() >= until) and late and not self._is_done(entry, "probe", 0, sampled=sampled):
                continue
            trial = self._train(entry, "probe", 0, until, sampled=sampled)
            found += [trial] if trial else []
        return found

    def _go_on(self, entry: Entry, share: float, trials: dict[str, list[Trial]], until: float) -> bool:
        """Trains every layer of an entry up to a share of its epochs and notes what came of it, if the time allows;
        whether it came so far."""
        total, done = self._schedule(entry, trials, until)
        wanted = math.ceil(share * total)
        known = trials.setdefault(entry.name, [])
        first = not any(trial.epochs for found in trials.values() for trial in found)
        if not total or (known and time.monotonic() >= until):
            return False
        if not (first or done) and share < 1 and not self._leaves_enough(entry, wanted, trials, until):
            return False
        trial = self._train(entry, _kind(entry), total, until, pause=wanted)
        if trial is None:
            return False
        known.append(trial)
        if trial.epochs:
            self._paces.append(trial.epoch / self._an_epoch(entry, 1.0))
        return trial.epochs >= wanted

    def _schedule(self, entry: Entry, trials: dict[str, list[Trial]], until: float) -> tuple[int, int]:
        """(epochs of the entry's training, 0 for none; how many are done). One that was begun keeps its schedule; one
        that is over is followed by a longer one if the time allows it."""
        kind, known = _kind(entry), trials.get(entry.name, [])
        rows = FINETUNE if entry.candidate.start else SCRATCH
        most = next(row.epochs for row in rows if self._learned_from <= row.pictures)
        begun = [total for total in range(1, most + 1) if (self._place(entry, kind, total) / RECIPE).is_file()]
        if begun:
            run = open_run(self._place(entry, kind, begun[-1]))
            if run.result is None or all(trial.kind == "probe" for trial in known):
                return begun[-1], epochs_of(run)
        affordable = min(most, int(_KEPT * (until - time.monotonic()) / self._an_epoch(entry, self._pace)))
        if affordable < (min(_LEAST_EPOCHS, most) if entry.candidate.start else 1):
            return int(all(trial.sampled for trial in known)), 0
        return (affordable, 0) if not begun or affordable > begun[-1] else (0, 0)

    def _leaves_enough(self, entry: Entry, epochs: int, trials: dict[str, list[Trial]], until: float) -> bool:
        """Whether, after so many epochs of one more rival, the slowest of all can still be trained to its end."""
        begun = [trial for found in trials.values() for trial in found if trial.epochs]
        longest = max(trial.epoch * trial.epochs * (1 / _RUNG - 1) for trial in begun)
        mine = self._an_epoch(entry, self._pace) * epochs
        return mine + max(longest, mine * (1 / _RUNG - 1)) <= _KEPT * (until - time.monotonic())

    @property
    def _pace(self) -> float:
        """Times a network's own time: what training takes for each picture, as measured so far."""
        return statistics.median(self._paces) if self._paces else _PACE

    def _an_epoch(self, entry: Entry, pace: float) -> float:
        """Seconds of one at a pace."""
        return max(pace * self._learned_from * entry.network_ms / 1e3, 1e-6)

    def _train(
        self, entry: Entry, kind: Kind, epochs: int, until: float, *, pause: int = 0, sampled: bool = False
    ) -> Trial | None:
        """A run to its end, to a pause after so many epochs, or until the time is up; None where nothing came of it."""
        place = self._place(entry, kind, epochs, sampled=sampled)
        self._say(f"{kind} of {entry.name}{f', {epochs} epochs' if epochs > 1 else ''}")
        enough = pause if pause < epochs else epochs + 1
        watch = _Limited(until, enough, lambda text: self._say(f"{kind} of {entry.name}: {text}"))
        begun = time.monotonic()
        stopped = False
        try:
            if (place / RECIPE).is_file():
                if epochs_of(open_run(place)) < enough:
                    resume(place, watch=watch)
            else:
                self._begin(entry, place, kind, epochs, watch, sampled=sampled)
        except _Paused:
            pass
        except _TimeUp:
            stopped = True
        except EyespotError as error:  # one that cannot be trained so must not end the others
            self._notes.append(f"{entry.name} was not trained: {error}")
            return None
        run = open_run(place)
        if (place / SPLIT).is_file():
            self._first.setdefault(sampled, run)
        if not is_bundle(run.best):
            return None
        return judged(run, entry, kind, time.monotonic() - begun, stopped=stopped, sampled=sampled)

    def _begin(self, entry: Entry, place: Path, kind: Kind, epochs: int, watch: Watch, *, sampled: bool) -> None:
        earlier = self._place(entry, "probe", 0, sampled=sampled)
        like = open_run(earlier) if (earlier / SPLIT).is_file() else self._first.get(sampled)
        train(
            self._sample_place() if sampled else self._data,
            place,
            model=self._model(entry),
            recipe=kind,
            epochs=epochs or None,
            settings=[f"size={entry.candidate.side}", *self._settings],
            group=self._group,
            threads=self._threads,
            like=like,
            watch=watch,
        )

    def _is_hopeless(self, trial: Trial, until: float) -> bool:
        """Whether what took so long on a sample would not end on all pictures before the time is up."""
        if not trial.sampled:
            return False
        whole = trial.seconds * self._learned_from / max(len(self._sampled()), 1)
        return whole > until - time.monotonic()

    def _sampled(self) -> set[str]:
        """The beginnings of the names of a sample's pictures."""
        return {path.name.partition("-")[0] for path in self._sample_place().glob("*/*")}

    def _sample(self, entries: Sequence[Entry], seconds: float) -> bool:
        """Whether the entries are probed on a sample, which then lies in the folder, since all pictures would take
        longer. No sample is taken of groups, which it would tear apart, and of classes that are no names of folders."""
        if self._sample_place().exists():
            return True
        pictures = [sample for sample in self._source.samples if sample.part in (None, TRAIN)]
        a_picture = _PASSES / 1e3 * sum(entry.network_ms for entry in entries)
        affordable = max(int(seconds / a_picture) if a_picture else len(pictures), _LEAST_SAMPLE)
        names = self._source.labels.ids
        plain = len({sample.label for sample in pictures}) == len(names) and not any(set("/\\") & set(n) for n in names)
        if affordable >= len(pictures) or self._group or not plain:
            return False
        self._say(f"taking a sample of {affordable} pictures")
        staging = self._sample_place().with_name(".sample")
        shutil.rmtree(staging, ignore_errors=True)
        for sample in _stratified(pictures, affordable):
            place = staging / names[sample.label] / f"{_digits(sample.name)}-{sample.name.rpartition('/')[2]}"
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.write_bytes(self._source.read(sample))
            except PictureError:  # the trainings on all pictures say which cannot be read
                continue
        staging.rename(self._sample_place())
        return True

    def _sample_place(self) -> Path:
        return self._folder / "sample"

    def _is_done(self, entry: Entry, kind: Kind, epochs: int, *, sampled: bool = False) -> bool:
        """Whether an earlier call finished that training, so that it costs no time."""
        place = self._place(entry, kind, epochs, sampled=sampled)
        return (place / RECIPE).is_file() and open_run(place).result is not None

    def _place(self, entry: Entry, kind: Kind, epochs: int, *, sampled: bool = False) -> Path:
        name = re.sub(r"[^\w.-]+", "_", entry.name)
        return self._folder / "runs" / f"{name}-{_slug(entry)}-{'sample-' if sampled else ''}{kind}{epochs or ''}"

    def _model(self, entry: Entry) -> str:
        """The name that ``train`` starts from; a network that has none gets a file that draws it."""
        candidate = entry.candidate
        own = {key: value for key, value in candidate.arguments.items() if key not in ("classes", "size")}
        if candidate.start or not own:
            return candidate.start or candidate.architecture
        place = self._folder / "networks" / f"{candidate.architecture.replace('.', '_')}_{_slug(entry)}.py"
        text = (
            f'"""A network that eyespot choose found: {candidate.architecture} with {own}."""\n\n'
            "from eyespot import Graph\nfrom eyespot.arch.catalogue import draw\n\n\n"
            "def network(*, classes: int = 10, size: int = 224) -> Graph:\n"
            f'    return draw({candidate.architecture!r}, {{**{own!r}, "classes": classes, "size": size}})\n'
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole(place) as file:
            file.write(text.encode())
        return f"{place}:network"


def _stratified(samples: Sequence[Sample], count: int) -> list[Sample]:
    """About ``count`` of them, of every label its share and four at the least, the same ones every time."""
    by_label: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_label[sample.label].append(sample)
    taken: list[Sample] = []
    for found in by_label.values():
        found.sort(key=lambda sample: _digits(sample.name))
        taken += found[: max(4, round(count * len(found) / len(samples)))]
    return taken


def _kind(entry: Entry) -> Kind:
    """How all layers of an entry are trained."""
    return "finetune" if entry.candidate.start else "scratch"


def _slug(entry: Entry) -> str:
    """Few digits that tell entries of one name apart, as scaled ones are."""
    return _digits(repr(sorted(entry.candidate.arguments.items(), key=lambda item: item[0])))[:6]


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
