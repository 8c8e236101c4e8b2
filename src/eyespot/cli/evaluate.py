"""``eyespot evaluate``: how often a bundle is right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from eyespot.cli import terminal

_LISTED = 20


@click.command("evaluate")
@click.argument("bundle")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
@click.option("--runtime", default="onnxruntime", show_default=True, type=click.Choice(["onnxruntime", "reference"]))
@click.option("--workers", type=click.IntRange(1), help="Pictures at the same time.  [default: one per core]")
def command(bundle: str, data: Path, as_json: bool, runtime: str, workers: int | None) -> int:
    """Top-1 and top-5 of BUNDLE (a name or a directory) on DATA, with 95 % intervals.

    DATA is a folder with a folder of pictures per class, or a CSV with the columns file and index whose pictures lie
    beside it or in images/.
    """
    from eyespot.measure.accuracy import evaluate
    from eyespot.measure.dataset import examples
    from eyespot.run.predict import load

    with load(bundle, runtime=runtime, threads=1) as model:
        labelled = examples(data, model.bundle.labels)
        progress = terminal.Progress(len(labelled))
        result = evaluate(model, labelled, workers=workers, step=progress.step)
        progress.clear()
    if as_json or not sys.stdout.isatty():
        click.echo(json.dumps(result.to_json(), ensure_ascii=False))
    else:
        click.echo(f"{result.model} on {result.pictures:,} pictures of {data}")
        rows = [["", "%", "95 % interval", ""]]
        for name, share, (low, high) in (
            ("top-1", result.top1, result.top1_interval),
            ("top-5", result.top5, result.top5_interval),
        ):
            rows.append([name, f"{share:.1%}"[:-1], f"{100 * low:.1f} – {100 * high:.1f}", terminal.bar(share)])
        click.echo(terminal.table(rows, right=(1, 2)))
        click.echo(progress.summary(), err=True)
    for failure in result.failures[:_LISTED]:
        click.echo(f"not counted: {failure.error}", err=True)
    if len(result.failures) > _LISTED:
        click.echo(f"not counted: {len(result.failures) - _LISTED:,} more that could not be read", err=True)
    return 1 if result.failures else 0
