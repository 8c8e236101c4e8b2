"""``eyespot choose`` as a function: a budget, perhaps pictures; the most accurate network measured inside it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from eyespot.bundle.store import CARD, read
from eyespot.choose.budget import Budget
from eyespot.choose.candidate import LOSS, Candidate
from eyespot.choose.deliver import Delivered, Refused, deliver_published, deliver_trained, how_to_get
from eyespot.choose.device import Device, Here
from eyespot.choose.entrants import by_figures, by_weights
from eyespot.choose.kept import Kept, digest
from eyespot.choose.outcome import Better, Chosen, Row, would_have_to_give, write
from eyespot.choose.search import Bench, Search, Searched, Tried
from eyespot.choose.training import Entry, Trained, Trainer
from eyespot.core.whole import whole
from eyespot.errors import EyespotError, UsageError
from eyespot.image.decode import open_picture
from eyespot.measure.record import Effort

QUESTION, REPORT, BUNDLE, WORK = "question.json", "report.json", "bundle", "work"
_MEASURING, _TRAINING = 0.2, 0.85  # of the time, until which candidates are measured, and trained
_LONGEST = 40.0  # seconds of measuring without pictures: with what surrounds it, a minute
_QUANTIZING = 60.0  # seconds that quantizing has at the least, whatever the time
_AGAIN = 0.25  # of the time for measuring, that a call has which goes on: to look up what was measured before
_SHORT = Effort(seconds=1.0, turns=6, warmup=3, cold_starts=0, throughput=0.0, roof=False)
_NAMED = 3  # better networks that cannot be written yet
_DELIVERIES = 4  # bundles that are made and measured, at the most, before it is said that none fits
_BUSY = 0.05  # share of the cores' time that others may take unmentioned


@dataclass(frozen=True)
class Wants:
    """What is asked for besides the budget.

    minutes: in all. families: beginnings of families' names, () for all. here: without pictures, only networks whose
    weights are on this machine. runtimes: on which each is tried. threads: inside one call (None: every core, up to
    eight). fresh: measure anew what the cache knows. picture: the JPEG that is timed; None: the photograph that every
    bundle holds.
    """

    budget: Budget
    minutes: float = 20.0
    families: tuple[str, ...] = ()
    here: bool = False
    runtimes: tuple[str, ...] = ("onnxruntime",)
    threads: int | None = None
    fresh: bool = False
    picture: bytes | None = None

    def __post_init__(self) -> None:
        if not 0.01 <= self.minutes <= 100_000:
            raise UsageError(f"{self.minutes:g} minutes were given; 0.01 or more were needed")

    @property
    def jpeg(self) -> bytes:
        """The picture that is timed."""
        return self.picture or (resources.files("eyespot.bundle") / "golden.jpg").read_bytes()


def choose(
    wants: Wants,
    out: Path,
    *,
    trainer: Trainer | None = None,
    device: Device | None = None,
    candidates: Sequence[Candidate] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Chosen:
    """Finds the most accurate network inside the budget and writes it, with a report, into the folder ``out``.

    trainer: trains on a person's pictures (``learn.tournament.Tournament``); without one, networks are ranked by what
    was published of them. device: where candidates are measured; None is here. candidates: instead of all. ``say`` is
    told what is being done. The same call goes on where an earlier one stopped, and one that is done comes back as it
    is. UsageError for a folder that holds something else.
    """
    device = device or Here()
    state = _State(out, _question(wants, trainer, device))
    done = state.done()
    if done is not None and not wants.fresh:
        return done
    bench = Bench(device, Kept(fresh=wants.fresh), replace(_SHORT, threads=wants.threads), wants.jpeg)

    def told(text: str) -> None:
        state.save()
        say(text)

    job = _Job(wants, out, bench, state, told)
    if candidates is None:
        side, classes = (trainer.side, trainer.classes) if trainer else (0, 0)
        candidates = (
            by_weights(classes=classes, side=side, families=wants.families)
            if trainer
            else by_figures(families=wants.families, here=wants.here)
        )
    candidates = [replace(one, runtime=runtime) for one in candidates for runtime in wants.runtimes]
    told("looking at the machine")
    search = Search(wants.budget, candidates, bench, each=trainer is not None, say=told)
    limit = _MEASURING * wants.minutes * 60 if trainer else min(wants.minutes * 60, _LONGEST)
    searched = search.run(max(state.at(limit), time.monotonic() + _AGAIN * limit))
    chosen = job.by_training(searched, trainer) if trainer else job.by_figures(searched)
    told("writing the report")
    chosen = replace(chosen, seconds=state.spent())
    _in_words(out, lambda: write(chosen, out))
    return chosen


@dataclass
class _Job:
    """One call's work once the candidates are measured."""

    wants: Wants
    out: Path
    bench: Bench
    state: _State
    say: Callable[[str], None]

    def by_figures(self, searched: Searched) -> Chosen:
        """The best published one that can be written now, and those before it with what each needs."""
        chosen = self._outcome(searched, [])
        notes = list(self._notes(searched))
        inside = searched.inside(self.wants.budget)
        better: list[Candidate] = []
        refused = 0
        for tried in inside:
            candidate = tried.candidate
            if not candidate.ready:
                better.append(candidate)
                continue
            done = deliver_published(tried, self.out / BUNDLE, self.wants.budget, self.bench, say=self.say)
            if isinstance(done, Delivered):
                chosen = replace(
                    chosen, choice=candidate.title, top1=done.top1, top1_of=done.of, bundle=BUNDLE,
                    figures=done.figures, better=tuple(map(_better, better[:_NAMED])),
                )  # fmt: skip
                return chosen.with_notes([*notes, *_about_figures([candidate, *better[:_NAMED]])])
            notes.append(done.why)
            refused += 1
            if refused == _DELIVERIES:
                break
        if not better:
            return chosen.with_notes([*notes, *self._none(chosen)])
        first = better[0]
        notes += _about_figures([first])
        notes.append("nothing was written: each network inside needs its weights, or images to quantize it with")
        named = replace(chosen, choice=first.title, top1=first.expected, top1_of=first.source)
        return replace(named, to_do=_better(first).to_do).with_notes(notes)

    def by_training(self, searched: Searched, trainer: Trainer) -> Chosen:
        """The one that is most accurate on the person's pictures, at the precision that is inside."""
        inside = searched.inside(self.wants.budget)
        notes = list(self._notes(searched))
        entries = _entries(inside)
        trained = trainer.compete(entries, self.state.at(_TRAINING * self.wants.minutes * 60)) if entries else []
        chosen = self._outcome(searched, trained)
        notes += trainer.notes
        if entries and not trained:
            return chosen.with_notes(
                [*notes, "the time was too short to train any: the same command with more --minutes goes on"]
            )
        if entries and not any(entry.candidate.start for entry in entries):
            notes.append("no network with weights on this machine is inside, so they were trained from nothing")
        notes += [f"{one.entry.name}: its training was cut off by the time" for one in trained if one.stopped]
        if any("on a sample" in one.how for one in trained):
            notes.append(
                "the time allowed no training on all pictures: accuracies are of a sample; more --minutes help"
            )
        pairs = [(one, tried) for one in trained for tried in _precisions(one, inside)]
        for one, tried in pairs[:_DELIVERIES]:
            until = max(self.state.at(self.wants.minutes * 60), time.monotonic() + _QUANTIZING)
            place, pictures = self.out / BUNDLE, trainer.held_out()
            done: Delivered | Refused = deliver_trained(
                one, tried, pictures, place, self.wants.budget, self.bench, until=until, say=self.say
            )
            if isinstance(done, Delivered):
                found = replace(chosen, choice=tried.candidate.title, top1=done.top1, top1_of=done.of)
                return replace(found, bundle=BUNDLE, figures=done.figures).with_notes(notes)
            notes.append(done.why)
        return chosen.with_notes([*notes, *self._none(chosen)])

    def _none(self, chosen: Chosen) -> list[str]:
        if any(row.inside for row in chosen.rows):
            return ["none of the networks inside became a bundle that is inside"]
        nearest = chosen.nearest
        if nearest is None:
            return ["no candidate was left to be measured: the budget rules all of them out"]
        give = would_have_to_give(self.wants.budget, nearest)
        return [f"none fits; the nearest is {nearest.title}, which would need {give}"]

    def _outcome(self, searched: Searched, trained: Sequence[Trained]) -> Chosen:
        figures = {_start(one.entry.candidate): one for one in trained}
        rows = [
            _row(tried, self.wants.budget, figures.get(_start(tried.candidate)), trained) for tried in searched.tried
        ]
        height, width = open_picture(self.bench.picture).size
        what = next((tried.figures.timed for tried in searched.tried), "JPEG to label")
        decoding = ", decoding included" if what == "JPEG to label" else ", without decoding"
        picture = f"{width}×{height}, {len(self.bench.picture) / 1e3:,.0f} kB"
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        runtimes = " and ".join(self.wants.runtimes)
        return Chosen(
            self.wants.budget,
            f"one picture ({picture}), {what}{decoding}, {self.bench.effort.inside()} threads, on {runtimes}",
            tuple(rows),
            dict(searched.left_out),
            searched.unmeasured,
            machine=self.bench.device.title,
            load=load,
        )

    def _notes(self, searched: Searched) -> list[str]:
        busy = [tried.figures.others for tried in searched.tried if (tried.figures.others or 0) > _BUSY]
        notes = []
        if busy:
            most = max(share for share in busy if share is not None)
            notes.append(
                f"other programs took up to {most:.0%} of the cores while candidates were measured: latencies, p95 "
                "above all, are longer than on a quiet machine; --fresh measures anew"
            )
        reused = sum(tried.kept for tried in searched.tried)
        notes += (
            [f"{reused} of {len(searched.tried)} candidates had been measured on this machine before"] if reused else []
        )
        return notes


class _State:
    """The folder: what was asked, how much time was spent, whether it is done."""

    def __init__(self, out: Path, question: dict[str, Any]) -> None:
        self._out, self._question = out, question
        self._start = time.monotonic()
        self._before = 0.0
        kept = _json(out / QUESTION)
        if kept is None:
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise UsageError(f"{out} exists and holds no choosing that was begun; choose a place that is free")
            _in_words(out, lambda: out.mkdir(parents=True, exist_ok=True))
        elif {k: v for k, v in kept.items() if k != "spent"} != question:
            odd = [name for name, value in question.items() if kept.get(name) != value]
            raise UsageError(f"{out} answers another question ({', '.join(odd)} differ); choose another place for this")
        else:
            self._before = float(kept.get("spent", 0.0))
        self.save()

    def done(self) -> Chosen | None:
        """What an earlier call chose, if it is still there; where it found nothing, more time may find something."""
        data = _json(self._out / REPORT)
        if data is None:
            return None
        chosen = Chosen.from_json(data)
        if chosen.choice is None or (chosen.bundle is None and not self._question["pictures"]):
            return None  # what could not be written then may be here now
        if chosen.bundle is not None:
            if not (self._out / chosen.bundle / CARD).is_file():
                return None
            read(self._out / chosen.bundle)
        return chosen

    def spent(self) -> float:
        """Seconds, those of earlier calls counted in."""
        return self._before + time.monotonic() - self._start

    def at(self, seconds: float) -> float:
        """When so many seconds are spent, on the clock of ``time.monotonic``."""
        return self._start + seconds - self._before

    def save(self) -> None:
        """Writes down how much was spent."""

        def put() -> None:
            with whole(self._out / QUESTION) as file:
                file.write(json.dumps({**self._question, "spent": round(self.spent(), 1)}, indent=1).encode())

        _in_words(self._out, put)


def _question(wants: Wants, trainer: Trainer | None, device: Device) -> dict[str, Any]:
    """What makes two calls the same; time may be added."""
    return {
        "budget": wants.budget.to_json(),
        "pictures": trainer.digest if trainer else "",
        "machine": device.key,
        "families": list(wants.families),
        "here": wants.here,
        "runtimes": list(wants.runtimes),
        "threads": wants.threads or 0,
        "picture": hashlib.sha256(wants.jpeg).hexdigest()[:16],
    }


def _entries(inside: Sequence[Tried]) -> list[Entry]:
    """One for each network and size; its time is that of its fastest precision."""
    found: dict[str, Entry] = {}
    for tried in inside:
        entry = Entry(tried.candidate, tried.figures.network_ms)
        known = found.get(_start(tried.candidate))
        if known is None or entry.network_ms < known.network_ms:
            found[_start(tried.candidate)] = Entry(known.candidate if known else tried.candidate, entry.network_ms)
    return list(found.values())


def _start(candidate: Candidate) -> str:
    """What is trained, whatever the precision."""
    return digest([candidate.start, candidate.architecture, dict(candidate.arguments)])


def _better(candidate: Candidate) -> Better:
    return Better(candidate.title, candidate.expected, tuple(how_to_get(candidate, candidate.weights)))


def _about_figures(named: Sequence[Candidate]) -> list[str]:
    """What a person must know of the accuracies of networks that are named."""
    notes = []
    if named[0].top1 is None:
        notes.append("nothing was published of any network inside: the one with the most MACs was taken")
    guessed = [one for one in named if one.precision == "int8" and not one.quantized and one.top1 is not None]
    if guessed:
        titles = ", ".join(one.title for one in guessed)
        notes.append(f"{titles}: no figure in int8 was published, so it is the float32 network's, less {LOSS:g} points")
    return notes


def _precisions(one: Trained, inside: Sequence[Tried]) -> list[Tried]:
    """Those of an entry that are inside, float32 first, which loses nothing; of equals the faster runtime."""
    same = [tried for tried in inside if _start(tried.candidate) == _start(one.entry.candidate)]
    return sorted(same, key=lambda tried: (tried.candidate.precision != "float32", tried.figures.p95_ms))


def _row(tried: Tried, budget: Budget, one: Trained | None, trained: Sequence[Trained]) -> Row:
    candidate = tried.candidate
    top1, source = candidate.expected, candidate.source
    if trained:  # published figures of other pictures would not be comparable
        top1, source = (None, "") if one is None else (100 * one.top1, f"trained here: {one.how}, before quantizing")
    return Row(
        candidate.title,
        candidate.name,
        candidate.architecture,
        candidate.family,
        candidate.side,
        candidate.precision,
        candidate.cost.macs,
        candidate.cost.parameters,
        tried.figures,
        top1,
        source,
        candidate.weights,
        budget.exceeded(tried.figures),
    )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _in_words(out: Path, work: Callable[[], object]) -> None:
    try:
        work()
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}; choose another place") from None
    except EyespotError:
        raise
