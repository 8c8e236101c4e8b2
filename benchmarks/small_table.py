"""What `small_data.py` found, as Markdown: top-1 with intervals, ranks, differences and times.

Only trainings of (dataset, start, seed) that every way has finished are compared.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.accuracy.interval import wilson

OURS = "eyespot finetune"
PROBE = "eyespot probe"
Z = 1.959964  # standard deviations on either side of a 95 % interval
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """What one training reached. right: 1 or 0 for each test image, in the order of their names.

    curve: (seconds of the processor, top-1 of the validation split) after each epoch; seconds: of it all, testing left
    out; images: of train, val and test; version: of the code that trained; error: why there is nothing.
    """

    dataset: str
    start: str
    seed: int
    way: str
    version: str
    images: Sequence[int]
    right: str = ""
    curve: Sequence[tuple[float, float]] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def hits(self) -> Floats:
        """(n,) 1 for a test image with the right label, else 0."""
        return np.array([digit == "1" for digit in self.right], np.float64)

    def reached(self, top1: float) -> float | None:
        """The seconds when validation first had at least this; None if it never had."""
        return next((seconds for seconds, value in self.curve if value >= top1), None)


Cell = Mapping[str, Run]  # by way: one dataset, start and seed


def complete(runs: Iterable[Run], ways: Sequence[str]) -> list[Cell]:
    """The cells in which each of the ways is there and did not fail."""
    cells: dict[tuple[str, str, int], dict[str, Run]] = defaultdict(dict)
    for run in runs:
        if not run.error:
            cells[run.dataset, run.start, run.seed][run.way] = run
    return [cell for _, cell in sorted(cells.items()) if all(way in cell for way in ways)]


def mean_hits(cells: Iterable[Cell], way: str) -> Floats:
    """(images,) how often each test image had the right label, over cells of one dataset."""
    return np.mean([cell[way].hits for cell in cells], axis=0)


def difference(ours: Floats, theirs: Floats) -> tuple[float, float, float]:
    """The mean of ours - theirs and its 95 % interval, image by image (Agresti and Min 2005, for shares too)."""
    change = ours - theirs
    count = len(change) + 2
    mean = change.sum() / count
    half = Z * np.sqrt(((np.square(change).sum() + 1) / count - mean**2) / count)
    return float(change.mean()), float(mean - half), float(mean + half)


def ranks(values: Mapping[str, float]) -> dict[str, float]:
    """1 for the highest; equal ones share the mean of their places."""
    return {
        name: 1 + sum(other > value for other in values.values()) + (sum(o == value for o in values.values()) - 1) / 2
        for name, value in values.items()
    }


def render(runs: Sequence[Run], facts: Mapping[str, Any], ways: Sequence[str]) -> str:
    """All tables; a line instead when nothing is complete."""
    ways = [way for way in ways if any(run.way == way for run in runs)]
    cells = complete(runs, ways)
    if not cells or OURS not in ways:
        return f"{len(runs)} trainings, none of them to compare yet."
    lines: list[str] = []
    for table in (_by_dataset, _by_start, _by_rank, _times):
        lines += [*table(cells, ways), ""]
    seeds = sorted({cell[OURS].seed for cell in cells})
    lines += [f"{len(cells)} of (dataset, start, seed), seeds {', '.join(map(str, seeds))}."]
    lines += [f"- {r.way} on {r.dataset} from {r.start}, seed {r.seed}, failed: {r.error}" for r in runs if r.error]
    versions = {way: sorted({cell[way].version for cell in cells}) for way in ways}
    lines += [f"- {way}: of {len(found)} versions of the code" for way, found in versions.items() if len(found) > 1]
    lines += [f"Machine: {facts['cpu']}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}."]
    return "\n".join(lines)


def _grouped(cells: Iterable[Cell], *names: str) -> dict[tuple[str, ...], list[Cell]]:
    groups: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[tuple(str(getattr(cell[OURS], name)) for name in names)].append(cell)
    return groups


def _head(*columns: str, left: int = 1) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * left + "--:|" * (len(columns) - left)]


def _by_dataset(cells: Sequence[Cell], ways: Sequence[str]) -> list[str]:
    """Top-1 over all starts and seeds, and how far our finetune is from the best other way and from its probe."""
    lines = _head("dataset", "train / val / test", *ways, "finetune − best other", "finetune − probe", left=2)
    for (dataset,), members in _grouped(cells, "dataset").items():
        hits = {way: mean_hits(members, way) for way in ways}
        other = max((way for way in ways if way not in (OURS, PROBE)), key=lambda way: hits[way].mean(), default=PROBE)
        images = " / ".join(map(str, members[0][OURS].images))
        differences = [_points(difference(hits[OURS], hits[way])) for way in (other, PROBE) if way in hits]
        lines.append(_row([dataset, images, *_shares(hits), *differences]))
    return lines


def _by_start(cells: Sequence[Cell], ways: Sequence[str]) -> list[str]:
    lines = _head("dataset", "start", "seeds", *ways, left=2)
    for (dataset, start), members in _grouped(cells, "dataset", "start").items():
        hits = {way: mean_hits(members, way) for way in ways}
        lines.append(_row([dataset, start, str(len(members)), *_shares(hits)]))
    return lines


def _by_rank(cells: Sequence[Cell], ways: Sequence[str]) -> list[str]:
    """Mean ranks over (dataset, start), each of its mean over the seeds; and how often a way is the best."""
    placed = [
        (start, ranks({way: float(mean_hits(members, way).mean()) for way in ways}))
        for (_, start), members in _grouped(cells, "dataset", "start").items()
    ]
    starts = sorted({start for start, _ in placed})
    lines = _head("way", "mean rank", *(f"from {start}" for start in starts), "first or equal")
    groups = [starts, *([start] for start in starts)]
    for way in ways:
        means = [statistics.mean(rank[way] for start, rank in placed if start in group) for group in groups]
        first = sum(rank[way] == min(rank.values()) for _, rank in placed)
        lines.append(_row([way, *(f"{mean:.2f}" for mean in means), f"{first} of {len(placed)}"]))
    return lines


def _times(cells: Sequence[Cell], ways: Sequence[str]) -> list[str]:
    """When our finetune had the validation top-1 that another way ended with, as a share of that one's time."""
    lines = _head("way", "processor seconds, median", "until its best", "finetune had that in", "after, of its time")
    for way in ways:
        pairs = [(cell[way].reached(best(cell[way])), cell[OURS].reached(best(cell[way]))) for cell in cells]
        ratios = [math.inf if mine is None else mine / theirs for theirs, mine in pairs if theirs]
        had = sum(ratio < math.inf for ratio in ratios)
        row = [way, f"{statistics.median(cell[way].seconds for cell in cells):.0f}"]
        row += [f"{statistics.median(theirs for theirs, _ in pairs if theirs):.0f}"]
        row += ["", ""] if way == OURS else [f"{had} of {len(ratios)}", f"{statistics.median(ratios):.2f}×"]
        lines.append(_row(row))
    return lines


def best(run: Run) -> float:
    """The validation top-1 of the epoch that was kept."""
    return max((top1 for _, top1 in run.curve), default=0.0)


def _row(values: Iterable[str]) -> str:
    return "| " + " | ".join(values) + " |"


def _shares(hits: Mapping[str, Floats]) -> list[str]:
    """In percent with its interval, as if every image had been classified once; the highest in bold."""
    means = {way: float(values.mean()) for way, values in hits.items()}
    found = []
    for way, mean in means.items():
        low, high = wilson(mean * len(hits[way]), len(hits[way]))
        mark = "**" if mean == max(means.values()) else ""
        found.append(f"{mark}{100 * mean:.1f}{mark} ({100 * low:.0f}–{100 * high:.0f})")
    return found


def _points(figures: tuple[float, float, float]) -> str:
    mean, low, high = (100 * value for value in figures)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
