"""What choosing found, as a value: every candidate that was measured, the choice, and what would have to give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eyespot.bundle.pareto import Point, Sheet, front, plot
from eyespot.choose.budget import HEADROOM, WORDS, Budget, Figures, amount
from eyespot.errors import UsageError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate that was measured. top1: per cent, as ``source`` says; None: nothing is known. trained: the figure is
    of this person's pictures. exceeded: by the name of a limit, the share of it that was measured, above 1."""

    title: str
    name: str
    architecture: str
    family: str
    side: int
    precision: str
    macs: int
    parameters: int
    figures: Figures
    top1: float | None
    source: str
    weights: str
    exceeded: Mapping[str, float]

    @property
    def inside(self) -> bool:
        """Whether it is within the budget."""
        return not self.exceeded

    def to_json(self) -> dict[str, Any]:
        """Every field."""
        exceeded = {name: round(share, 4) for name, share in self.exceeded.items()}
        return {**asdict(self), "figures": self.figures.to_json(), "exceeded": exceeded}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """The row that ``to_json`` wrote."""
        return cls(**{**data, "figures": Figures.from_json(data["figures"]), "exceeded": dict(data["exceeded"])})


@dataclass(frozen=True, slots=True)
class Better:
    """A network inside the budget that is more accurate than the bundle that was written, and cannot be written yet.

    top1: per cent, as published; None: nobody did. to_do: the commands that get it.
    """

    title: str
    top1: float | None
    to_do: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The outcome. choice: the title of a row, None where nothing fits. bundle: the name, inside the folder, of the
    bundle that was written, None where none could be; figures: of that very bundle, measured again.

    timed: what the latencies are of, in words. left_out: how many candidates were never built, by reason. notes: what a
    person should know; to_do: commands that get the choice where it was not written; better: what would be chosen
    before it, had one what each needs. load: of the machine when it was
    done. seconds: that choosing took.
    """

    budget: Budget
    timed: str
    rows: tuple[Row, ...]
    left_out: Mapping[str, int]
    unmeasured: int
    choice: str | None = None
    bundle: str | None = None
    figures: Figures | None = None
    top1: float | None = None
    top1_of: str = ""
    notes: tuple[str, ...] = ()
    to_do: tuple[str, ...] = ()
    better: tuple[Better, ...] = ()
    machine: str = ""
    load: float | None = None
    seconds: float = 0.0

    @property
    def chosen(self) -> Row | None:
        """The choice's row."""
        return next((row for row in self.rows if row.title == self.choice), None)

    @property
    def nearest(self) -> Row | None:
        """The measured candidate that exceeds the budget by the least factor."""
        outside = [row for row in self.rows if row.exceeded]
        return min(outside, key=lambda row: (max(row.exceeded.values()), -(row.top1 or 0)), default=None)

    def front(self) -> list[Row]:
        """The rows that no other beats in both accuracy and latency, the fastest first."""
        best = {point.name for point in front(_points(self))}
        return sorted((row for row in self.rows if row.title in best), key=lambda row: _latency(self, row))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "budget": self.budget.to_json(),
            "headroom": HEADROOM,
            "timed": self.timed,
            "choice": self.choice,
            "bundle": self.bundle,
            "figures": self.figures and self.figures.to_json(),
            "top1": self.top1,
            "top1_of": self.top1_of,
            "notes": list(self.notes),
            "to_do": list(self.to_do),
            "better": [{"title": one.title, "top1": one.top1, "to_do": list(one.to_do)} for one in self.better],
            "machine": self.machine,
            "load": self.load,
            "seconds": round(self.seconds, 1),
            "front": [row.title for row in self.front()],
            "left_out": dict(self.left_out),
            "unmeasured": self.unmeasured,
            "rows": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Chosen:
        """The outcome that ``to_json`` wrote. UsageError for anything else."""
        try:
            values = {key: value for key, value in data.items() if key not in ("front", "headroom")}
            if values.pop("format") != FORMAT:
                raise UsageError("this report is of another eyespot; choose again, into another folder")
            values["budget"] = Budget(**values["budget"])
            values["rows"] = tuple(Row.from_json(row) for row in values["rows"])
            values["figures"] = values["figures"] and Figures.from_json(values["figures"])
            values["notes"], values["to_do"] = tuple(values["notes"]), tuple(values["to_do"])
            better = (Better(**{**one, "to_do": tuple(one["to_do"])}) for one in values.get("better", ()))
            return cls(**{**values, "better": tuple(better)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"this is no report of choosing ({type(error).__name__}: {error}); choose again, into another folder"
            ) from None

    def with_notes(self, notes: Sequence[str]) -> Chosen:
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))


def would_have_to_give(budget: Budget, row: Row) -> str:
    """What keeps a candidate outside, and the limits that would let it in: 'latency p95 11 ms instead of 8 ms'."""
    parts = []
    for name, share in row.exceeded.items():
        limit = getattr(budget, name)
        parts.append(f"{WORDS[name]} {amount(name, limit * share)} instead of {amount(name, limit)}")
    return ", ".join(parts)


def table(chosen: Chosen) -> list[list[str]]:
    """The Pareto front, the choice and the nearest, fastest first, with a head; a mark for the choice. Where no
    accuracy is known, all that was measured."""
    shown = chosen.front() or list(chosen.rows)
    for row in (chosen.chosen, chosen.nearest if chosen.choice is None else None):
        shown += [] if row is None or row in shown else [row]
    memory = any(row.figures.memory_bytes for row in shown)
    head = ["", "network", "precision", "top-1", "median", "p95", "size", *(["memory"] if memory else []), "budget"]
    return [head, *(_cells(chosen, row, memory=memory) for row in sorted(shown, key=lambda row: _latency(chosen, row)))]


def _cells(chosen: Chosen, row: Row, *, memory: bool) -> list[str]:
    figures = row.figures
    held = [f"{figures.memory_bytes / 1e6:.0f} MB" if figures.memory_bytes else ""] if memory else []
    outside = ", ".join(f"{WORDS[name]} × {share:.2f}" for name, share in row.exceeded.items())
    return [
        "→" if row.title == chosen.choice else "",
        row.title.rpartition(", ")[0],
        row.precision,
        "" if row.top1 is None else f"{row.top1:.1f}",
        f"{figures.median_ms:.2f} ms",
        f"{figures.p95_ms:.2f} ms",
        f"{figures.model_bytes / 1e6:.1f} MB",
        *held,
        outside or "inside",
    ]


def draw(chosen: Chosen) -> str | None:
    """Accuracy against latency as an SVG, the budget drawn in and the choice marked; None with no accuracy known."""
    points = _points(chosen)
    if not points:
        return None
    trained = any(row.source.startswith("trained") for row in chosen.rows)
    which = "p95" if _by_p95(chosen) else "median"
    limit = chosen.budget.latency_p95_ms if _by_p95(chosen) else chosen.budget.latency_ms
    sheet = Sheet(
        "Top-1 on your own pictures against measured latency" if trained
        else "ImageNet-1K top-1, as published, against measured latency",
        f"{which} of one picture, {_what(chosen)}, in milliseconds (logarithmic)",
        lambda value: f"{value:.3g} ms",
        limit=limit,
        limit_name="" if limit is None else f"budget: {limit:g} ms",
        chosen=chosen.choice,
    )  # fmt: skip
    return plot(points, sheet)


def _what(chosen: Chosen) -> str:
    return next((row.figures.timed for row in chosen.rows), "JPEG to label")


def _points(chosen: Chosen) -> list[Point]:
    return [
        Point(row.title, row.title.rpartition(" at ")[0], row.side, row.family, _latency(chosen, row), row.top1)
        for row in chosen.rows
        if row.top1 is not None
    ]


def _by_p95(chosen: Chosen) -> bool:
    return chosen.budget.latency_p95_ms is not None


def _latency(chosen: Chosen, row: Row) -> float:
    return row.figures.p95_ms if _by_p95(chosen) else row.figures.median_ms


def write(chosen: Chosen, folder: Path) -> None:
    """report.json, table.txt and plot.svg, each whole or as it was. OSError as it comes."""
    import json

    from eyespot.core.whole import whole

    rows = table(chosen)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    texts = {"table.txt": f"{text}\n", "plot.svg": draw(chosen)}
    texts["report.json"] = json.dumps(chosen.to_json(), ensure_ascii=False, indent=1) + "\n"
    for name, content in texts.items():
        if content is not None:
            with whole(folder / name) as file:
                file.write(content.encode())
