"""``eyespot data``: what is in a collection of labelled pictures, and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from eyespot.cli import terminal

if TYPE_CHECKING:
    from eyespot.data.check import Report
    from eyespot.data.split_file import WrittenSplit

_TITLES = {"blank": "blank", "dark": "dark", "blurred": "blurred", "size": "odd size", "shape": "odd shape"}
_CLASSES = 24  # rows of the table; of more classes, the largest and the smallest are shown


@click.group("data")
def command() -> None:
    """Labelled images: what is in a dataset, what is wrong with it, and its division into splits."""


@command.command("check")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page with pictures."
)
@click.option("--group", help="A column of the CSV, or a regular expression with one group over the names.")
@click.option("--model", help="Whose features judge the labels: a name or a bundle.  [default: as classify]")
@click.option("--quick", is_flag=True, help="Without the search for wrong labels, which takes most of the time.")
@click.option("--workers", type=click.IntRange(1), help="Pictures at the same time.  [default: one per core]")
def check_command(
    data: Path, as_json: bool, page: Path | None, group: str | None, model: str | None, quick: bool, workers: int | None
) -> int:
    """Counts per class, and everything that looks wrong: unreadable files, duplicates, labels, odd pictures.

    DATA is a folder with a folder of pictures per class (also inside train, val and test), a CSV with the columns file
    and label, or a .zip or .tar of these. Exit code 1 when some file cannot be read.
    """
    from contextlib import ExitStack

    from eyespot.data.check import check
    from eyespot.data.source import open_source

    if page is not None:
        from eyespot.pages.data_page import check_page, write_page

        check_page(page)
    source = open_source(data, group=group)
    with ExitStack() as stack:
        judge = None
        if not quick:
            from eyespot.run.predict import load

            judge = stack.enter_context(load(model, threads=1))
        progress = stack.enter_context(terminal.Progress(len(source) * (1 if quick else 2)))
        report = check(source, model=judge, workers=workers, step=progress.step)
    if page is not None:
        write_page(page, report)
    if as_json or not sys.stdout.isatty():
        from eyespot.run.records import json_text

        click.echo(json_text(report.to_json()))
    else:
        _show(report)
    if page is not None:
        click.echo(f"the page is in {page}", err=True)
    return 1 if report.unreadable else 0


@command.command("split")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The CSV to write.")
@click.option("--validation", default=0.15, show_default=True, type=click.FloatRange(0, 1), help="Share of images.")
@click.option("--test", default=0.15, show_default=True, type=click.FloatRange(0, 1), help="Share of images.")
@click.option("--group", help="A column of the CSV, or a regular expression with one group over the names.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed of the split.")
@click.option("--workers", type=click.IntRange(1), help="Images at the same time.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
def split_command(
    data: Path,
    out: Path,
    validation: float,
    test: float,
    group: str | None,
    seed: int,
    workers: int | None,
    as_json: bool,
) -> int:
    """Divides DATA into train, val and test and writes a CSV that train, evaluate, quantize and data check take.

    Images of one group (a patient, a camera) stay in one split, and so do duplicates, near ones too; every class keeps
    its shares as near as that allows. The same command gives the same file. DATA is a folder or a CSV; splits that it
    brings are kept, and refused if they leak.
    """
    from eyespot.data.source import open_source
    from eyespot.data.split_file import write_split

    source = open_source(data, group=group)
    with terminal.Progress(len(source)) as progress:
        written = write_split(
            source, out, validation=validation, test=test, seed=seed, workers=workers, step=progress.step
        )
    if as_json or not sys.stdout.isatty():
        from eyespot.run.records import json_text

        click.echo(json_text(written.to_json()))
    else:
        _show_split(written)
    for note in written.notes:
        click.echo(click.style("note: ", fg="yellow") + note, err=True)
    return 0


def _show_split(written: WrittenSplit) -> None:
    parts, names = list(written.parts), written.labels.names
    rows = [["class", *parts]]
    for label, name in enumerate(map(_plain, names[:_CLASSES])):
        counts = written.counts(label)
        shown = terminal.fit(name, min(terminal.width_of(name), 40))
        rows.append([shown, *(f"{counts[part]:,}" for part in parts)])
    if len(names) > _CLASSES:
        rows.append([f"… {len(names) - _CLASSES:,} more", *[""] * len(parts)])
    total = written.counts()
    rows.append(["all", *(f"{total[part]:,}" for part in parts)])
    if written.groups is not None:
        rows.append(["groups", *(f"{written.groups[part]:,}" for part in parts)])
    click.echo(terminal.table(rows, right=range(1, 1 + len(parts))))
    sets = len(written.duplicates)
    kept = f"; {sets:,} set{'s' * (sets > 1)} of duplicates kept together" if sets else ""
    click.echo(f"\n{written.path} holds the split{kept}: eyespot train {written.path} --out RUN")


def _show(report: Report) -> None:
    source = report.source
    classes = f"{len(source.labels):,} class{'es' * (len(source.labels) > 1)}"
    click.echo(f"{source.root}: {len(source):,} pictures in {classes}\n")
    click.echo(terminal.table(_class_rows(report), right=range(1, 2 + len(report.parts))))
    rows = _findings(report)
    if rows:
        room = terminal.columns() - max(len(row.what) for row in rows) - max(len(row.number) for row in rows) - 4
        shown = [[row.what, row.number, row.example(max(room, 20))] for row in rows]
        click.echo("\n" + terminal.table(shown, right=(1,)))
    click.echo()
    for line in report.advice or ["Nothing stands in the way of training."]:
        click.echo(click.wrap_text(line, terminal.columns(), subsequent_indent="  "))


def _class_rows(report: Report) -> list[list[str]]:
    parts, names = report.parts, report.source.labels.names
    most = max(count["all"] for count in report.counts.values())
    rows = [["class", *parts, "pictures", ""]]
    counts = list(report.counts.items())
    if len(counts) > _CLASSES:
        counts = counts[: _CLASSES * 2 // 3] + counts[-(_CLASSES // 3) :]
    for label, count in counts:
        numbers = [f"{count[part]:,}" for part in (*parts, "all")]
        name = _plain(names[label])
        rows.append([terminal.fit(name, min(terminal.width_of(name), 40)), *numbers, terminal.bar(count["all"] / most)])
    if len(report.counts) > len(counts):
        rows.insert(1 + _CLASSES * 2 // 3, [f"… {len(report.counts) - len(counts):,} more", *[""] * (len(parts) + 2)])
    return rows


def _plain(text: str) -> str:
    """A name from outside without what would move the cursor, or cannot be written."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


class _Finding(NamedTuple):
    """What was found, how often, and the first of it: names, and what is to be said of them."""

    what: str
    number: str
    names: Sequence[str]
    said: str

    def example(self, room: int) -> str:
        """As much as ``room`` columns hold: the ends of names, the beginning of what is said."""
        share = max((room - 3 * (len(self.names) - 1)) // len(self.names), 12) if len(self.names) < 4 else 12
        names = [_plain(name) for name in self.names]
        names = [terminal.fit(name, min(share, terminal.width_of(name))) for name in names]
        text = " = ".join(names) + (f": {_plain(self.said)}" if self.said else "")
        while terminal.width_of(text) > room:
            text = text[:-2] + "…"
        return text


def _findings(report: Report) -> list[_Finding]:
    labels, sets = report.source.labels.names, report.duplicates
    rows = [
        *_finding("cannot be read", [((s.name,), s.error) for s in report.unreadable]),
        *_finding("left out", [((s.name,), s.error) for s in report.left_out]),
        *_finding("same picture", [(names, "") for names in sets.exact]),
        *_finding("nearly the same", [(names, "") for names in sets.near]),
        *_finding("duplicates across classes", [(names, "") for names in report.across_classes]),
        *_finding("duplicates across the split", [(names, "") for names in report.across_parts]),
        *_finding("groups across the split", [((name,), "") for name in report.groups_across_parts]),
    ]
    if report.suspicion:
        suspects = [((s.name,), f"looks like {labels[s.other]}") for s in report.suspicion.suspects]
        rows += _finding("labels that look wrong", suspects)
    for kind, title in _TITLES.items():
        rows += _finding(title, [((o.name,), o.text) for o in report.odd if o.kind == kind])
    return rows


def _finding(what: str, found: Sequence[tuple[Sequence[str], str]]) -> list[_Finding]:
    return [_Finding(what, f"{len(found):,}", *found[0])] if found else []
