"""Parts for training, validation and test: stratified by label, whole groups on one side, the same every time.

A unit is what must not be divided: pictures of one group, and sets of duplicates; most units are one picture. Units of
several pictures go first, the largest first, each to the part that lacks most of what the unit holds; then single
pictures fill each class up to its share, the last ones by largest remainder. What "random" means here is the order of
sha256(seed, name): it depends on no library's generator, and a picture more moves few of the others.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from eyespot.core.labels import Labels
from eyespot.data.source import Sample
from eyespot.errors import UsageError

Parts = dict[str, tuple[Sample, ...]]
TRAIN, VALIDATION, TEST = "train", "val", "test"


def split(
    samples: Sequence[Sample],
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    together: Sequence[Sequence[str]] = (),
) -> Parts:
    """The samples by part: keys "train" and "val", and "test" where there is one; each in the order given.

    validation, test: shares of the pictures (0 to 1), of each class as near as groups allow. A class with one picture,
    or one unit, goes to training; see ``notes``. together: names that stay on one side, as duplicates do; names that
    are none of the samples' are passed over.
    Parts that the source gives are kept: one that it gives is not cut anew, one that it lacks is taken from its
    training pictures. A picture without a part that belongs together with one in validation or test goes there too.
    Raises UsageError for shares that leave nothing, and when no picture is left for training.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise UsageError(f"shares of {validation:g} and {test:g} came, each must be from 0 to 1 and together below 1")
    given = {sample.part for sample in samples}
    shares = {
        VALIDATION: 0.0 if VALIDATION in given else validation,
        TEST: 0.0 if TEST in given else test,
    }
    place: dict[str, str] = {}
    free: list[list[Sample]] = []
    for unit in units(samples, together):
        fixed = {sample.part for sample in unit} - {None, TRAIN}
        loose = [sample for sample in unit if sample.part in (None, TRAIN)]
        place |= {sample.name: sample.part for sample in unit if sample.part in (VALIDATION, TEST)}
        if fixed:
            other = VALIDATION if VALIDATION in fixed else TEST
            place |= {sample.name: sample.part or other for sample in loose}
        elif loose:
            free.append(loose)
    place |= _Deal(free, shares, seed).place
    keys = [TRAIN, VALIDATION, *([TEST] if test or TEST in given else [])]
    parts = {key: tuple(sample for sample in samples if place[sample.name] == key) for key in keys}
    if not parts[TRAIN]:
        raise UsageError(f"no picture of {len(samples)} is left for training; give more pictures, or a train part")
    return parts


def notes(parts: Mapping[str, Sequence[Sample]], labels: Labels) -> list[str]:
    """What a person should know of a split, a line each: classes that are missing from a part, and empty parts."""
    counts = {part: Counter(sample.label for sample in samples) for part, samples in parts.items()}
    whole: Counter[int] = sum(counts.values(), Counter())
    lines = []
    for part, count in counts.items():
        missing = [label for label in sorted(whole) if not count[label]]
        single = [label for label in missing if whole[label] == 1]
        if not count:
            lines.append(f"{part} is empty: too few pictures to take any from training")
            continue
        if part == TRAIN and missing:
            lines.append(f"nothing to learn {_named(missing, labels)} from: no pictures in train")
        elif single:
            lines.append(f"{_named(single, labels)}: a single picture, which went to train, none in {part}")
        others = [label for label in missing if label not in single]
        if part != TRAIN and others:
            lines.append(f"{_named(others, labels)}: none in {part}, so nothing there says how well it is known")
    return lines


class _Deal:
    """Deals units out to the parts; ``place`` is the part by the name of each picture."""

    def __init__(self, units: list[list[Sample]], shares: Mapping[str, float], seed: int) -> None:
        self.place: dict[str, str] = {}
        self._shares = {part: share for part, share in shares.items() if share}
        self._shares = {TRAIN: 1 - sum(self._shares.values())} | self._shares
        self._size = Counter(sample.label for unit in units for sample in unit)
        self._had: dict[str, Counter[int]] = {part: Counter() for part in self._shares}
        units = sorted(units, key=lambda unit: _rank(seed, min(sample.name for sample in unit)))
        only = _only_units(units)
        several = sorted((unit for unit in units if len(unit) > 1), key=len, reverse=True)
        for unit in several:
            self._give(unit, TRAIN if id(unit) in only else self._neediest(unit))
        self._singles([unit[0] for unit in units if len(unit) == 1])
        self._teach(several)

    def _give(self, unit: Iterable[Sample], part: str) -> None:
        for sample in unit:
            before = self.place.get(sample.name)
            if before is not None:
                self._had[before][sample.label] -= 1
            self.place[sample.name] = part
            self._had[part][sample.label] += 1

    def _neediest(self, unit: Sequence[Sample]) -> str:
        """The part that lacks most of what the unit holds, as a share of what it wants of each class."""

        def lack(part: str) -> float:
            share, had = self._shares[part], self._had[part]
            return sum(1 - had[s.label] / (share * self._size[s.label]) for s in unit) / len(unit)

        return max(self._shares, key=lambda part: (round(lack(part), 9), self._shares[part]))

    def _singles(self, samples: Sequence[Sample]) -> None:
        """Fills each class up to its share with single pictures; training takes what is left."""
        by_label: dict[int, list[Sample]] = defaultdict(list)
        for sample in samples:
            by_label[sample.label].append(sample)
        for part in self._shares:
            if part == TRAIN:
                continue
            room = {
                label: max(len(rest) - (not self._had[TRAIN][label]), 0) for label, rest in sorted(by_label.items())
            }
            for label, count in self._quota(part, room).items():
                self._give(by_label[label][:count], part)
                by_label[label] = by_label[label][count:]
        for rest in by_label.values():
            self._give(rest, TRAIN)

    def _quota(self, part: str, room: Mapping[int, int]) -> dict[int, int]:
        """How many single pictures of each class: whole shares first, then the largest remainders up to the total."""
        share = self._shares[part]
        lack = {label: max(share * self._size[label] - self._had[part][label], 0.0) for label in room}
        quota = {label: min(math.floor(lack[label] + 1e-9), room[label]) for label in room}
        total = max(round(share * self._size.total()) - self._had[part].total(), 0)
        if not total and not self._had[part].total():
            total = 1  # a part that was asked for gets a picture if there is one to spare
        rest = sorted(room, key=lambda label: (quota[label] - lack[label], -self._size[label], label))
        for label in rest:
            if sum(quota.values()) < total and quota[label] < min(room[label], math.ceil(lack[label] - 1e-9)):
                quota[label] += 1
        return quota

    def _teach(self, several: Sequence[Sequence[Sample]]) -> None:
        """A class that only units elsewhere hold gets its smallest one back into training."""
        for label in sorted(self._size):
            if not self._had[TRAIN][label]:
                holding = [unit for unit in several if any(sample.label == label for sample in unit)]
                if holding:
                    smallest = min(holding, key=len)
                    self._give(smallest, TRAIN)


def _only_units(units: Iterable[Sequence[Sample]]) -> set[int]:
    """The ids of units that hold a class which no other unit holds."""
    holders: dict[int, list[int]] = defaultdict(list)
    for unit in units:
        for label in {sample.label for sample in unit}:
            holders[label].append(id(unit))
    return {found[0] for found in holders.values() if len(found) == 1}


def units(samples: Sequence[Sample], together: Sequence[Sequence[str]]) -> list[list[Sample]]:
    """The samples in sets that must not be divided: by groups and ``together``, as ``split`` takes them."""
    above = {sample.name: sample.name for sample in samples}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    first: dict[str, str] = {}
    for sample in samples:
        if sample.group is not None:
            above[top(sample.name)] = top(first.setdefault(sample.group, sample.name))
    for names in together:
        known = [name for name in names if name in above]
        for name in known[1:]:
            above[top(name)] = top(known[0])
    units: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        units[top(sample.name)].append(sample)
    return list(units.values())


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()


def _named(labels: Sequence[int], names: Labels) -> str:
    shown = ", ".join(repr(names.names[label]) for label in labels[:3])
    more = len(labels) - 3
    return f"{shown} and {more} more classes" if more > 0 else shown
