"""``eyespot train``: a classifier for one's own pictures."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eyespot.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from eyespot.learn.run import Run


@click.command("train")
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The run's directory, a new one.")
@click.option("--model", help="A model, a bundle, an architecture, or FILE.py:FUNCTION.  [default: the default model]")
@click.option("--recipe", help="probe, finetune, scratch, distill, or a .toml file.  [default: finetune]")
@click.option("--epochs", type=click.IntRange(1), help="Rounds over the pictures.  [default: by their number]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A value of the recipe: optimizer.lr=0.01.")
@click.option("--seed", type=click.IntRange(0), help="Of the split and of all random numbers.  [default: 0]")
@click.option("--validation", type=float, help="The share of pictures that are not trained on.  [default: 0.2]")
@click.option("--group", help="A CSV's column or a regular expression: pictures that stay on one side.")
@click.option("--teacher", help="A bundle that knows these classes, for distill.")
@click.option("--resume", "resumed", type=click.Path(path_type=Path), help="Go on with this run.")
@click.option("--threads", type=click.IntRange(1), help="Of the arithmetic.  [default: one per core]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[default: cuda where there is one]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per event, on a terminal too.")
def command(
    data: Path | None,
    out: Path | None,
    model: str | None,
    recipe: str | None,
    epochs: int | None,
    settings: tuple[str, ...],
    seed: int | None,
    validation: float | None,
    group: str | None,
    teacher: str | None,
    resumed: Path | None,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> int:
    """Trains a classifier on the pictures of DATA and leaves a run in --out, its best bundle in RUN/best.

    DATA is a folder with a folder of pictures per class (with or without train/val/test), a CSV with the columns file
    and label, or a zip or tar of these. Stopped at any moment, `eyespot train --resume RUN` goes on. Exit code 1 when
    pictures had to be left out.
    """
    chosen: dict[str, Any] = {"model": model, "recipe": recipe, "epochs": epochs, "seed": seed, "group": group}
    chosen |= {"validation": validation, "teacher": teacher, "threads": threads, "device": device}
    if resumed is not None:
        _refuse_with_resume(data, out, chosen)
    load_torch("eyespot train")
    try:
        with terminal.Progress() as progress:
            watch = _watch(progress, as_json=as_json or not sys.stdout.isatty())
            run = _begin(data, out, settings, chosen, watch) if resumed is None else _resume(resumed, settings, watch)
    except KeyboardInterrupt:
        click.echo(f"eyespot: interrupted; go on with `eyespot train --resume {resumed or out}`", err=True)
        return 130
    return 1 if any(event["event"] == "skipped" for event in run.events()) else 0


def _refuse_with_resume(data: Path | None, out: Path | None, chosen: dict[str, Any]) -> None:
    from eyespot.errors import UsageError

    given = {"DATA": data, "--out": out, **{f"--{name}": value for name, value in chosen.items()}}
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise UsageError(f"--resume takes all from the run's recipe but --set; leave out {', '.join(extra)}")


def load_torch(who: str) -> None:
    """MissingExtra, for the command ``who``, where it is not installed."""
    from eyespot.errors import MissingExtra

    # Threads that wait by spinning take the cores from those that prepare pictures, and on a shared machine from
    # everybody: there a run took ten times as long. This is read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtra(who, "train") from None


def _begin(data: Path | None, out: Path | None, settings: tuple[str, ...], chosen: dict[str, Any], watch: Any) -> Run:
    from eyespot.errors import UsageError
    from eyespot.learn.training import train

    if data is None or out is None:
        raise UsageError("say what to train on and where to: eyespot train PICTURES --out RUN")
    return train(data, out, settings=settings, watch=watch, **chosen)


def _resume(run: Path, settings: tuple[str, ...], watch: Any) -> Run:
    from eyespot.learn.training import resume

    found = resume(run, settings=settings, watch=watch)
    if found.result is not None and not watch.heard and os.environ.get("RANK", "0") == "0":
        watch.event(found.result)  # it was done already
    return found


def _watch(progress: terminal.Progress, *, as_json: bool) -> Any:
    """A watch that shows bars and lines on a terminal, or prints events as JSON lines."""

    def line(record: dict[str, Any]) -> str | None:
        return json.dumps(record, ensure_ascii=False) if as_json else told(record)

    return shown(progress, line, skipped=not as_json)


def shown(progress: terminal.Progress, line: Callable[[dict[str, Any]], str | None], *, skipped: bool = True) -> Any:
    """A watch that shows what is done, and prints what ``line`` says of each event; on stderr what was skipped, if
    ``skipped``.

    ``heard`` says whether there was an event.
    """
    from eyespot.learn.events import Watch

    class Shown(Watch):
        """What a person, or a pipe, sees."""

        def __init__(self) -> None:
            self.heard = False

        def stage(self, title: str, total: int, done: int = 0) -> None:
            progress.stage(title, total, done)

        def step(self, count: int = 1) -> None:
            progress.step(count)

        def event(self, record: dict[str, Any]) -> None:
            self.heard = True
            progress.clear()
            if (text := line(record)) is not None:
                click.echo(text, err=skipped and record["event"] == "skipped")

        def note(self, text: str) -> None:
            progress.clear()
            click.echo(text, err=True)

    return Shown()


def told(record: dict[str, Any]) -> str | None:
    """An event as a line for a person; None when there is nothing to say."""
    top1 = "" if record.get("top1") is None else f"top-1 {100 * record['top1']:.2f} %"
    loss = "" if record.get("val_loss") is None else f"validation loss {record['val_loss']:.4f}"
    match record["event"]:
        case "start":
            epochs = f"{record['epochs']} epochs of batches of {record['batch']}, " if record["epochs"] else ""
            parts = ", ".join(f"{record[part]:,} to {use}" for part, use in _USES.items() if part in record)
            return (
                f"{record['recipe']} from {record['model']}: {record['classes']} classes, {parts}; "
                f"{epochs}{record['size']} pixels"
            )
        case "skipped":
            return f"left out: {record['picture']}: {record['error']}"
        case "speed":
            return f"fastest here: {record['settings']}"
        case "probe":
            return f"probe      {'':18}  {loss}  {top1}"
        case "epoch":
            mark = "  best so far" if record["best"] else ""
            return f"epoch {record['epoch']:<4} loss {record['loss']:<12.4f}  {loss}  {top1}{mark}"
        case "done":
            low, high = record["top1_interval"] or (0, 0)
            figures = (
                f"{top1} (95 % interval {100 * low:.1f} to {100 * high:.1f}) on the validation part" if top1 else ""
            )
            tested = record.get("test_top1")
            figures += f", {100 * tested:.2f} % on the test part" if tested is not None else ""
            return f"the best is of epoch {record['epoch']}: {record['best']}\n{figures}".rstrip()
    return None


_USES = {"train": "learn from", "val": "validate", "test": "test"}
