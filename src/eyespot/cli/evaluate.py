"""``eyespot evaluate``: how good a bundle is on labelled pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import RUNTIME
from eyespot.errors import UsageError

if TYPE_CHECKING:
    from eyespot.accuracy.abstain import Abstention
    from eyespot.accuracy.evaluation import Evaluation
    from eyespot.bundle.store import Bundle

_LISTED = 20  # pictures that could not be read, named
_CLASSES = 30  # with more, a table of them is no longer read


@click.command("evaluate")
@click.argument("bundle")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write a page to this .html: figures, curves, mistakes."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
@click.option(
    "--precision", default=0.99, show_default=True, type=click.FloatRange(0, 1, min_open=True),
    help="Seek the threshold from which on so many answers are right.",
)  # fmt: skip
@click.option(
    "--part", type=click.Choice(["train", "val", "test"]),
    help="Of data that are divided.  [default: test, else val; with --calibrate val, else test]",
)  # fmt: skip
@click.option(
    "--calibrate", "calibrated", type=click.Path(path_type=Path),
    help="Bundle to write with the temperature and threshold that fit DATA: a new directory, or BUNDLE's own.",
)  # fmt: skip
@click.option("--runtime", default="onnxruntime", show_default=True, type=RUNTIME)
@click.option("--workers", type=click.IntRange(1), help="Pictures at the same time.  [default: one per core]")
def command(
    bundle: str,
    data: Path,
    report: Path | None,
    as_json: bool,
    precision: float,
    part: str | None,
    calibrated: Path | None,
    runtime: str,
    workers: int | None,
) -> int:
    """Says how good BUNDLE (a name or a directory) is on DATA: accuracy, each class, calibration, mistakes.

    DATA is a folder with a folder of pictures per class, a CSV with the columns file and label whose pictures lie
    beside it or in images/, or a zip or tar of these. Intervals are at 95 %.

    With two .json files, detections in COCO's results form are scored against COCO's instances, without a network.
    """
    if bundle.lower().endswith(".json") and data.suffix.lower() == ".json":
        if (report, part, calibrated) != (None, None, None):
            raise UsageError(
                "expected --json alone with files of detections, got --report, --part or --calibrate; leave them out"
            )
        from eyespot.cli.evaluate_results import evaluate_results

        evaluate_results(Path(bundle), data, as_json=as_json)
        return 0
    from eyespot.accuracy.calibrate import write_calibrated
    from eyespot.accuracy.dataset import examples
    from eyespot.accuracy.evaluation import evaluate
    from eyespot.bundle.store import check_free
    from eyespot.pages.about import about
    from eyespot.pages.evaluation_page import check_page, write_page
    from eyespot.run.predict import load
    from eyespot.run.records import json_text

    if report is not None:
        check_page(report)
    with load(bundle, runtime=runtime, threads=1) as model:
        if calibrated is not None and calibrated.resolve() != model.bundle.path.resolve():
            check_free(calibrated, replace=False)
        usual = ("test", "val") if calibrated is None else ("val", "test")
        labelled = examples(data, model.bundle.labels, part=part, usual=usual)
        with terminal.Progress(len(labelled)) as progress:
            result = evaluate(model, labelled, precision=precision, workers=workers, step=progress.step)
        facts = about(model, data, labelled)
        if report is not None:
            write_page(report, result, facts, model=model, data=labelled)
        written = None if calibrated is None else write_calibrated(model.bundle, result, calibrated)
    if as_json or not sys.stdout.isatty():
        made = {} if written is None else {"calibrated": str(written.path)}
        click.echo(json_text({**result.to_json(), "about": facts, **made}))
    else:
        unseen = " that it was not trained on" if result.overlap and not result.overlap.counted else ""
        click.echo(f"{result.model} on {result.pictures:,} pictures of {data}{unseen}")
        click.echo(_figures(result))
        for sentence in result.overlap.sentences if result.overlap else ():
            click.secho(click.wrap_text(sentence, terminal.columns()), fg="yellow")
        if 1 < len(result.classes) <= _CLASSES:
            click.echo("\n" + _classes(result))
        click.echo("\n" + _abstaining(result))
        if written is not None:
            click.echo("\n" + _calibrated(written))
        click.echo(progress.summary() + (f" → {report}" if report else ""), err=True)
    for failure in result.failures[:_LISTED]:
        click.echo(f"not counted: {failure}", err=True)
    if len(result.failures) > _LISTED:
        click.echo(f"not counted: {len(result.failures) - _LISTED:,} more that could not be read", err=True)
    return 1 if result.failures else 0


def _calibrated(written: Bundle) -> str:
    card = written.card
    threshold = "no threshold" if card.threshold is None else f"threshold {card.threshold:.4f}"
    return f"{written.path} has temperature {card.temperature:.4g} and {threshold}: evaluate it on other images"


def _figures(result: Evaluation) -> str:
    rows = [["", "%", "95 % interval", ""]]
    for name, share, (low, high) in (
        ("top-1", result.top1, result.top1_interval),
        *((("top-5", result.top5, result.top5_interval),) if len(result.labels) > 5 else ()),
    ):
        rows.append([name, _percent(share), f"{100 * low:.1f} – {100 * high:.1f}", terminal.bar(share)])
    for name, share in (("macro F1", result.macro.f1), ("calibration error", result.ece)):
        rows.append([name, _percent(share), "", terminal.bar(share)])
    if result.curves:
        low, high = result.curves[1].auc_interval
        auc = result.curves[1].auc
        rows.append(["area under ROC", _percent(auc), f"{100 * low:.1f} – {100 * high:.1f}", terminal.bar(auc)])
    return terminal.table(rows, right=(1, 2))


def _classes(result: Evaluation) -> str:
    room = max(terminal.columns() - 56, 12)
    rows = [["class", "pictures", "precision", "recall", "F1", ""]]
    for count in result.classes:
        name = result.labels.names[count.label]
        shares = [_percent(share) for share in (count.precision, count.recall, count.f1)]
        drawn = terminal.bar(count.f1 or 0.0, 12)
        rows.append([terminal.fit(name, room).rstrip(), f"{count.support:,}", *shares, drawn])
    return terminal.table(rows, right=(1, 2, 3, 4))


def _abstaining(result: Evaluation) -> str:
    wanted = f"{100 * result.wanted:.4g} % right"
    kept = [(wanted, result.abstention), ("the bundle's", result.certain)]
    rows = [["threshold", "from", "answered", "95 % interval", "right", "95 % interval"]]
    rows += [[name, *_left(one)] for name, one in kept if one is not None]
    lines = [] if result.abstention else [f"no threshold makes {100 * result.wanted:.4g} % of the answers right"]
    return "\n".join([*([terminal.table(rows, right=(1, 2, 3, 4, 5))] if len(rows) > 1 else []), *lines])


def _left(kept: Abstention) -> list[str]:
    cells = [f"{kept.threshold:.4f}"]
    for share, (low, high) in (
        (kept.coverage, kept.coverage_interval),
        (kept.precision if kept.answered else None, kept.precision_interval),
    ):
        cells += [_percent(share), f"{100 * low:.1f} – {100 * high:.1f}"]
    return cells


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
