"""What is in a collection of labelled pictures, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eyespot.data.containers import Skipped
from eyespot.data.duplicates import Duplicates, Set, find
from eyespot.data.look import Looks, look_at
from eyespot.data.odd import MEANING, Odd, odd_ones
from eyespot.data.source import Sample, Source
from eyespot.data.suspects import ENOUGH, Suspicion, suspicious
from eyespot.run.predict import Model

IMBALANCE = 5.0  # the largest class in smallest ones, from which on it is worth a word
FEW = 10  # pictures; a class of fewer is hardly learnt


@dataclass(frozen=True, eq=False)
class Report:
    """The findings of ``check``. suspicion: None when no model was given."""

    source: Source
    looks: Looks
    duplicates: Duplicates
    odd: tuple[Odd, ...]
    suspicion: Suspicion | None

    @property
    def parts(self) -> list[str]:
        """The parts that the source gives, in the order train, val, test."""
        given = {sample.part for sample in self.source.samples}
        return [part for part in ("train", "val", "test") if part in given]

    @cached_property
    def counts(self) -> dict[int, Counter[str]]:
        """Pictures of each label: by part, and under "all"; the largest class first. Unreadable ones count too."""
        found: dict[int, Counter[str]] = {label: Counter() for label in range(len(self.source.labels))}
        for sample in self.source.samples:
            found[sample.label].update(("all", sample.part) if sample.part else ("all",))
        return dict(sorted(found.items(), key=lambda item: (-item[1]["all"], item[0])))

    @property
    def imbalance(self) -> float:
        """The largest class's pictures over the smallest one's."""
        totals = [count["all"] for count in self.counts.values() if count["all"]]
        return max(totals) / min(totals)

    @property
    def unreadable(self) -> tuple[Skipped, ...]:
        """Pictures that were promised and cannot be had or decoded, and folders that cannot be read."""
        return tuple(sorted([*(s for s in self.source.skipped if s.lost), *self.looks.failures]))

    @property
    def left_out(self) -> tuple[Skipped, ...]:
        """What is no labelled picture by its name or place."""
        return tuple(s for s in self.source.skipped if not s.lost)

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """The samples by name."""
        return {sample.name: sample for sample in self.source.samples}

    @property
    def across_classes(self) -> tuple[Set, ...]:
        """Duplicates, exact or near, that have more than one label."""
        return self._across(lambda sample: sample.label)

    @property
    def across_parts(self) -> tuple[Set, ...]:
        """Duplicates, exact or near, that lie in more than one part of the split that the source gives."""
        return self._across(lambda sample: sample.part)

    @property
    def groups_across_parts(self) -> tuple[str, ...]:
        """Groups whose pictures lie in more than one part of the split that the source gives."""
        sides: dict[str, set[str | None]] = {}
        for sample in self.source.samples:
            if sample.group is not None:
                sides.setdefault(sample.group, set()).add(sample.part)
        return tuple(sorted(group for group, parts in sides.items() if len(parts) > 1))

    def _across(self, key: Callable[[Sample], object]) -> tuple[Set, ...]:
        sets = self.duplicates.together
        return tuple(names for names in sets if len({key(self.samples[name]) for name in names}) > 1)

    @property
    def advice(self) -> list[str]:
        """What to do about it, a sentence each, the most important first; empty when nothing was found."""
        return list(_advice(self))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; names are those inside the source."""
        source, labels = self.source, self.source.labels
        return {
            "source": str(source.root),
            "kind": source.kind,
            "digest": source.digest,
            "pictures": len(source),
            "classes": [
                {"label": labels.names[label], "id": labels.id(label), "pictures": count["all"]}
                | {part: count[part] for part in self.parts}
                for label, count in self.counts.items()
            ],
            "imbalance": round(self.imbalance, 3),
            "unreadable": [{"name": s.name, "error": s.error} for s in self.unreadable],
            "left_out": [{"name": s.name, "reason": s.error} for s in self.left_out],
            "duplicates": {
                "exact": self.duplicates.exact,
                "near": self.duplicates.near,
                "across_classes": self.across_classes,
                "across_parts": self.across_parts,
            },
            "groups_across_parts": self.groups_across_parts,
            "odd": [{"name": o.name, "kind": o.kind, "value": o.value, "reason": MEANING[o.kind]} for o in self.odd],
            "suspicious": self._suspicion(),
            "advice": self.advice,
        }

    def _suspicion(self) -> dict[str, Any] | None:
        if self.suspicion is None:
            return None
        names = self.source.labels.names
        return {
            "model": self.suspicion.model,
            "agreement": round(self.suspicion.agreement, 4),
            "judged": self.suspicion.judged,
            "pictures": [
                {"name": s.name, "label": names[s.label], "looks_like": names[s.other], "margin": round(s.margin, 4)}
                for s in self.suspicion.suspects
            ],
        }


def check(
    source: Source,
    *,
    model: Model | None = None,
    workers: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Report:
    """Looks at every picture of a source, and reports what is there and what is wrong with it.

    model: opened with ``threads=1``, its logits are the features by which wrong labels are suspected; None leaves that
    out, which is most of the time. ``step`` is called once for each picture, and once more for each that a model sees.
    """
    looks = look_at(source, workers=workers, step=step)
    suspicion = None if model is None else suspicious(source, looks, model, workers=workers, step=step)
    return Report(source, looks, find(source, looks), odd_ones(looks), suspicion)


def _advice(report: Report) -> Iterator[str]:
    names, totals = report.source.labels.names, {label: count["all"] for label, count in report.counts.items()}
    if len(totals) == 1:
        yield f"There is one class only, {names[0]!r}: add pictures of something else, for nothing is told apart yet."
    yield from report.source.notes
    yield from _about_files(report)
    yield from _about_labels(report)
    few = [label for label, total in totals.items() if total < FEW]
    if few:
        shown = ", ".join(repr(names[label]) for label in few[:3]) + (", …" if len(few) > 3 else "")
        classes = f"{_many(len(few), 'class has', 'classes have')} fewer than {FEW} pictures ({shown})"
        yield f"{classes}: collect more, or join classes."
    elif report.imbalance >= IMBALANCE:
        yield f"The largest class has {report.imbalance:.1f} times the smallest one's pictures: weigh the classes."


def _about_files(report: Report) -> Iterator[str]:
    if report.unreadable:
        yield f"{_many(len(report.unreadable), 'file')} cannot be read: replace or delete; training leaves them out."
    if report.across_classes:
        yield f"{_many(len(report.across_classes), 'set')} of duplicates with several labels: keep what is right."
    crossing = len(report.across_parts)
    if crossing:
        yield f"{_many(crossing, 'set')} of duplicates across the split: its figures flatter; keep each on one side."
    if report.groups_across_parts:
        groups = _many(len(report.groups_across_parts), "group")
        yield f"{groups} on several sides of the split: its figures flatter; keep each on one side."
    if report.duplicates.together and not report.parts:
        sets = _many(len(report.duplicates.together), "set")
        yield f"{sets} of duplicates: training keeps each on one side of its split."
    if report.left_out:
        (name, error, _), count = report.left_out[0], len(report.left_out)
        yield f"{_many(count, 'file or folder', 'files or folders')} left out ({name!r} {error})."


def _about_labels(report: Report) -> Iterator[str]:
    names = report.source.labels.names
    alone = [label for label, count in report.counts.items() if "train" in report.parts and not count["train"]]
    if alone:
        classes = _many(len(alone), "class has", "classes have")
        yield f"{classes} no images in train ({names[alone[0]]!r}): nothing to learn from; split anew, or add images."
    found = report.suspicion
    if found and found.suspects:
        yield f"{_many(len(found.suspects), 'label')} may be wrong: have a look on the page (--html)."
    if found and found.judged and found.agreement < ENOUGH:
        yield (
            f"{found.model} tells these classes apart in {found.agreement:.0%} of the cases only, so no labels were "
            "suspected: try another --model."
        )


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"
