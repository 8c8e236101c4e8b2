"""The tables of a report: figures of each class, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eyespot.accuracy.evaluation import Evaluation
from eyespot.pages import html

_OPEN = 30  # classes whose table is shown at once
_WORST = 15  # of more classes, those that are shown first
_PAIRS = 20
_DEEP = 0.85  # from this strength on, white letters are read more easily than dark ones
_FEW = 8  # classes whose matrix has room for large letters


def classes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Precision, recall and F1 of each class; of many classes the worst first, and all of them on demand."""
    present = [row for row in rows if row["support"]]
    if len(present) <= _OPEN:
        return _classes(rows)
    worst = sorted(present, key=lambda row: (row["f1"], -row["support"]))[:_WORST]
    return (
        _classes(worst, caption=f"The {_WORST} classes with the lowest F1")
        + f"<details><summary>All {len(rows):,} classes</summary>\n{_classes(rows)}</details>"
    )


def _classes(rows: Sequence[Mapping[str, Any]], *, caption: str = "") -> str:
    head = ["Class", ">Pictures", ">Precision", ">Recall", ">95&#8239;% of recall", ">F1"]
    cells = []
    for row in rows:
        spread = html.interval(*row["recall_interval"]) if row["recall_interval"] else ""
        precision, recall, f1 = (html.bar(row[key]) for key in ("precision", "recall", "f1"))
        cells.append(
            f'<th scope="row">{html.name(row["label"])}</th><td class="number">{html.count(row["support"])}</td>'
            f'{precision}{recall}<td class="number quiet">{spread}</td>{f1}'
        )
    return html.table(head, cells, caption=caption, css="wide")


def matrix(result: Evaluation) -> str:
    """The confusion matrix, a row for each right label; colours are shares of the row."""
    if result.matrix is None:
        return ""
    shown = [result.labels.names[count.label] for count in result.classes]
    rows = []
    for i, counts in enumerate(result.matrix.tolist()):
        total = sum(counts) or 1
        cells = "".join(_cell(count, count / total, hit=i == j) for j, count in enumerate(counts))
        rows.append(f'<th scope="row">{html.name(shown[i])}</th>{cells}')
    note = "A row for each right label, a column for each answer; the colour is the share of the row."
    css = "matrix few" if len(shown) <= _FEW else "matrix"
    return f'<p class="quiet">{note}</p>' + html.table(["", *map(html.name, shown)], rows, css=css)


def _cell(count: int, share: float, *, hit: bool) -> str:
    if not count:
        return '<td class="zero">0</td>'
    strength = 0.12 + 0.88 * share
    css = ("hit" if hit else "miss") + (" deep" if strength > _DEEP else "")
    return f'<td class="{css}" style="--s:{strength:.3f}">{count}</td>'


def confused(result: Evaluation) -> str:
    """The pairs of classes that were taken for one another most often."""
    support = {count.label: count.support for count in result.classes}
    names = result.labels.names
    rows = [
        f'<td class="what">{html.name(names[target])}</td><td class="what">{html.name(names[predicted])}</td>'
        f'<td class="number">{pictures:,}</td><td class="number">{html.percent(pictures / support[target])}</td>'
        for target, predicted, pictures in result.confused[:_PAIRS]
    ]
    head = ["Is", "was called", ">Pictures", ">of its class"]
    listed = (
        f"The {_PAIRS} most frequent of {len(result.confused):,} pairs"
        if len(result.confused) > _PAIRS
        else "All pairs"
    )
    drawn = html.table(head, rows, caption=f"{listed} that were confused")
    return drawn if result.matrix is None else f"<details><summary>As a list</summary>\n{drawn}</details>"
