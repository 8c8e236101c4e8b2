"""``eyespot classify``: pictures to labels."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import RUNTIME
from eyespot.errors import UsageError

if TYPE_CHECKING:
    from eyespot.run.many import Outcome
    from eyespot.run.pictures import Picture
    from eyespot.run.predict import Model
    from eyespot.run.sink import Sink

_LISTED = 20  # unreadable files named at the end; all of them stand among the results
_NOT_CERTAIN = "  not certain"


@click.command("classify")
@click.argument("pictures", nargs=-1, required=True)
@click.option("--model", "-m", help="A model's name or a bundle's directory.  [default: ImageNet, else the built-in]")
@click.option("--float32", is_flag=True, help="The default model in float32, even where int8 is faster.")
@click.option("--top", "-k", default=5, show_default=True, type=click.IntRange(1), help="Labels per picture.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per picture, on a terminal too.")
@click.option("--recursive", "-r", is_flag=True, help="Folders inside folders too.")
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Write to this .jsonl, .csv or .parquet; goes on.")
@click.option(
    "--escape-formulas", is_flag=True, help="An apostrophe before CSV cells that a spreadsheet would compute."
)
@click.option("--runtime", default="onnxruntime", show_default=True, type=RUNTIME)
@click.option("--workers", type=click.IntRange(1), help="Pictures at the same time.  [default: one per core]")
def command(
    pictures: tuple[str, ...],
    model: str | None,
    float32: bool,
    top: int,
    as_json: bool,
    recursive: bool,
    out: Path | None,
    escape_formulas: bool,
    runtime: str,
    workers: int | None,
) -> int:
    """Says what is on PICTURES: files, folders, URLs, or - for standard input.

    In a pipe, or with --json, each line is a JSON object; a picture that cannot be read has an "error" in its place,
    and the exit code is 1. With --out, a job that was stopped goes on where it was when the same command is run again.
    """
    if pictures.count("-") > 1:
        raise UsageError("- stands for one picture on standard input; it can be given once")
    if runtime != "reference":  # which alone multiplies matrices in numpy
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that numpy starts as it is imported: 20 ms of 270
    from eyespot.run.predict import load

    many = len(pictures) > 1 or Path(pictures[0]).is_dir()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: click.echo(f"eyespot: {message}", err=True)
        opened = load(model, runtime=runtime, threads=1 if many else None, float32=float32)
    _say_what_it_knows(opened, asked=model)
    top = min(top, len(opened.bundle.labels))
    if out is not None:
        if "-" in pictures:
            raise UsageError("--out needs pictures that can be found again; - is read only once")
        sink = _open_sink(opened, out, top=top, escape_formulas=escape_formulas)
        return _to_file(opened, pictures, sink, recursive=recursive, workers=workers)
    if escape_formulas:
        raise UsageError("--escape-formulas needs --out with a .csv")
    if as_json or not sys.stdout.isatty():
        return _to_pipe(opened, pictures, recursive=recursive, top=top, workers=workers)
    return _to_terminal(opened, pictures, recursive=recursive, top=top, workers=workers)


def _to_pipe(model: Model, pictures: tuple[str, ...], *, recursive: bool, top: int, workers: int | None) -> int:
    from eyespot.run.records import json_text

    passed = _PassedOver()
    count = failed = 0
    with terminal.Progress(lambda: _count(pictures, recursive=recursive)) as progress:
        for outcome in _outcomes(model, _inputs(pictures, recursive=recursive, passed=passed), workers=workers):
            record = outcome.to_json(top)
            count += 1
            failed += "error" in record
            progress.above(json_text(record))
            progress.step()
    if not count:
        raise UsageError(_nothing(pictures, passed, recursive=recursive))
    passed.tell()
    return min(failed, 1)


def _to_terminal(model: Model, pictures: tuple[str, ...], *, recursive: bool, top: int, workers: int | None) -> int:
    total = _count(pictures, recursive=recursive)
    passed = _PassedOver()
    listed: list[tuple[str, str]] = []
    failed = 0
    with terminal.Progress(total) as progress:
        for outcome in _outcomes(model, _inputs(pictures, recursive=recursive, passed=passed), workers=workers):
            record = outcome.to_json(top)
            if "error" in record:
                failed += 1
                listed += [(record["image"], record["error"])] if failed <= _LISTED else []
            else:
                progress.above(_block(record) if total <= 10 else _row(record))
            progress.step()
    if not total:
        raise UsageError(_nothing(pictures, passed, recursive=recursive))
    if total > 10:
        click.echo(progress.summary(), err=True)
    passed.tell()
    return _list_failures(listed, failed)


def _open_sink(model: Model, out: Path, *, top: int, escape_formulas: bool) -> Sink:
    from eyespot.run.sink import Sink

    bundle = model.bundle
    version = bundle.version if model.runtime == "onnxruntime" else f"{bundle.version}+{model.runtime}"
    certain = bundle.card.threshold is not None
    return Sink(
        out, model=bundle.card.name, version=version, top=top, certain=certain, escape_formulas=escape_formulas
    )  # fmt: skip


def _to_file(model: Model, pictures: tuple[str, ...], sink: Sink, *, recursive: bool, workers: int | None) -> int:
    out, top = sink.path, sink.top
    passed = _PassedOver(out)
    with sink:
        _say_what_is_there(sink)
        listed: list[tuple[str, str]] = []
        count = failed = 0
        left = sink.left(_inputs(pictures, recursive=recursive, passed=passed))
        with terminal.Progress(lambda: _count(pictures, recursive=recursive), done=sink.results) as progress:
            for outcome in _outcomes(model, left, workers=workers):
                record = outcome.to_json(top)
                sink.write(record)
                count += 1
                if "error" in record:
                    failed += 1
                    listed += [(record["image"], record["error"])] if failed <= _LISTED else []
                progress.step()
        if not count and not sink.skipped:
            raise UsageError(_nothing(pictures, passed, recursive=recursive))
    click.echo(f"{progress.summary()} → {out}", err=True)
    if sink.results and not sink.skipped:
        click.echo(f"none of the {sink.results:,} results that {out} held is of these images", err=True)
    passed.tell()
    return _list_failures(listed, failed, where=out)


def _say_what_is_there(sink: Sink) -> None:
    """What a file of an earlier run holds, and what becomes of it."""
    if sink.results or sink.failures:
        failures = f"{sink.failures:,} failure{'s' * (sink.failures != 1)} (retried if among these images)"
        what = f"{sink.results:,} result{'s' * (sink.results != 1)}{f', and {failures}' if sink.failures else ''}"
        click.echo(f"{sink.path} holds {what}; going on from there", err=True)
    if sink.unversioned:
        click.echo(
            f"{sink.unversioned:,} of them do not say which version of {sink.model} they are of, as an earlier eyespot "
            "wrote them; they are taken for this one's",
            err=True,
        )


class _PassedOver:
    """Counts what a folder holds beside pictures, and says so at the end. Not the output file."""

    def __init__(self, out: Path | None = None) -> None:
        self._out = () if out is None else (str(out), f"{out}.partial.jsonl")
        self._files: list[str] = []  # the first few
        self._count = self._folders = 0

    def __call__(self, path: str) -> None:
        from eyespot.run.pictures import identity

        if path.endswith("/"):
            self._folders += 1
        elif not any(identity(path) == identity(own) for own in self._out):
            self._count += 1
            self._files += [os.path.basename(path)] if self._count <= 3 else []  # noqa: PTH119

    @property
    def files(self) -> str:
        """How many files, and the first few; '' for none."""
        if not self._count:
            return ""
        names = ", ".join(self._files) + (", …" if self._count > len(self._files) else "")
        files = f"{self._count:,} file{'s' * (self._count != 1)} passed over"
        return f"{files}, no images by their names or first bytes: {names}"

    def tell(self) -> None:
        """A line about files, and one about folders."""
        if self.files:
            click.echo(self.files, err=True)
        if self._folders:
            folders = f"{self._folders:,} folder{'s' * (self._folders != 1)}"
            click.echo(
                f"{folders} inside not looked into; --recursive does (links to folders are never followed)", err=True
            )


def _outcomes(model: Model, inputs: Iterator[str], *, workers: int | None) -> Iterator[Outcome]:
    from dataclasses import replace

    from eyespot.run.many import classify_many
    from eyespot.run.pictures import MAX_FILE_BYTES

    def sources() -> Iterator[Picture]:
        for image in inputs:
            yield sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if image == "-" else image

    for outcome in classify_many(model, sources(), workers=workers):
        yield replace(outcome, image="-") if outcome.image == "<bytes>" else outcome


def _inputs(
    pictures: tuple[str, ...], *, recursive: bool, passed: Callable[[str], None] = lambda _: None
) -> Iterator[str]:
    from eyespot.run.pictures import walk

    for picture in pictures:
        if picture != "-" and os.path.isdir(picture):  # noqa: PTH112 - URLs and NUL bytes come here too
            yield from walk(picture, recursive=recursive, passed_over=passed)
        else:
            yield picture


def _count(pictures: tuple[str, ...], *, recursive: bool) -> int:
    return sum(1 for _ in _inputs(pictures, recursive=recursive))


def _nothing(pictures: tuple[str, ...], passed: _PassedOver, *, recursive: bool) -> str:
    hint = "" if recursive else "; pass --recursive to look into the folders inside"
    return f"there are no images in {', '.join(pictures)}{f' ({passed.files})' if passed.files else ''}{hint}"


def _say_what_it_knows(model: Model, *, asked: str | None) -> None:
    from eyespot.bundle.resolve import BUILT_IN

    card = model.bundle.card
    if asked is None and model.bundle.path.is_relative_to(BUILT_IN):
        click.echo(
            f"eyespot: answering with the built-in {card.name}, which knows {len(model.bundle.labels)} classes; "
            "for the 1,000 of ImageNet: pip install 'eyespot[imagenet]'",
            err=True,
        )


def _block(record: dict[str, object]) -> str:
    rows = [
        [f"  {p['probability']:6.1%}", terminal.bar(p["probability"]), p["label"], click.style(p["id"], dim=True)]
        for p in record["top"]  # type: ignore[attr-defined]
    ]
    return (
        click.style(str(record["image"]), bold=True) + _doubt(record) + "\n" + "\n".join("  ".join(row) for row in rows)
    )


def _row(record: dict[str, object]) -> str:
    best = record["top"][0]  # type: ignore[index]
    room = terminal.columns() - 40 - (len(_NOT_CERTAIN) if "certain" in record else 0)
    name = terminal.fit(str(record["image"]), room)
    return (
        f"{name} {best['probability']:6.1%} {terminal.bar(best['probability'], 8)} {best['label'][:22]}{_doubt(record)}"
    )


def _doubt(record: dict[str, object]) -> str:
    """What is said of an answer that does not reach the card's threshold."""
    return click.style(_NOT_CERTAIN, fg="yellow") if record.get("certain") is False else ""


def _list_failures(listed: list[tuple[str, str]], count: int, *, where: Path | None = None) -> int:
    if not count:
        return 0
    click.echo(f"{count:,} {'picture' if count == 1 else 'pictures'} could not be read:", err=True)
    for image, error in listed:
        click.echo(f"  {error}" if image in error else f"  {image}: {error}", err=True)
    if count > len(listed):
        place = f'; the lines of {where} with an "error" name them all' if where else ""
        click.echo(f"  … and {count - len(listed):,} more{place}", err=True)
    return 1
