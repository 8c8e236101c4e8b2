"""``eyespot prune``: a bundle with fewer channels, fine-tuned on one's own pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eyespot.cli import terminal
from eyespot.cli.quantize import close, compared, times
from eyespot.cli.train import load_torch, shown

if TYPE_CHECKING:
    from eyespot.shrink.prune import Pruned


@click.command("prune")
@click.argument("bundle")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled pictures, as for train.")
@click.option("--macs", default="0.5x", show_default=True, help="What may be left: 0.5x of them, or 150M.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The new bundle's directory.")
@click.option("--max-drop", type=click.FloatRange(-100, 100), help="Points of top-1 it may lose.  [default: any]")
@click.option("--epochs", type=click.IntRange(1), help="Rounds over the pictures.  [default: by their number]")
@click.option("--minutes", type=click.FloatRange(0.01), help="About so many of fine-tuning, instead of --epochs.")
@click.option(
    "--rounds", type=click.IntRange(1, 20), help="Of cutting and fine-tuning.  [default: one for each halving]"
)
@click.option(
    "--score",
    default="gradients",
    show_default=True,
    type=click.Choice(["gradients", "magnitudes"]),
    help="What a channel is worth.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A value of the recipe: optimizer.lr=1e-4.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the split, as for train.")
@click.option(
    "--validation", default=0.2, show_default=True, type=float, help="The share of pictures that are not trained on."
)
@click.option("--group", default="", help="As for train: pictures that stay on one side.")
@click.option("--threads", type=click.IntRange(1), help="Of the arithmetic.  [default: one per core]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[default: cuda where there is one]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on a terminal too.")
@click.option("--replace", is_flag=True, help="Put it in the place of a bundle that is there.")
def command(
    bundle: str,
    data: Path,
    macs: str,
    out: Path,
    max_drop: float | None,
    epochs: int | None,
    minutes: float | None,
    rounds: int | None,
    score: str,
    settings: tuple[str, ...],
    seed: int,
    validation: float,
    group: str,
    threads: int | None,
    device: str | None,
    as_json: bool,
    replace: bool,
) -> int:
    """Removes channels of BUNDLE (a name or a directory) until it takes MACS, and fine-tunes the rest on DATA.

    The channels that matter least for what they cost go, with all that hangs together with them; the network as it was
    teaches what is left. Figures are of pictures that are not trained on. Stopped at any moment, the same command goes
    on. Exit code 1, and no bundle, when it loses more than MAX-DROP points.
    """
    from eyespot.errors import UsageError

    if epochs and minutes:
        raise UsageError("--epochs and --minutes both say how long it takes; give one of them")
    load_torch("eyespot prune")
    from eyespot.bundle.resolve import open_bundle
    from eyespot.learn.prune import prune
    from eyespot.shrink.prune import Wish

    drop = None if max_drop is None else max_drop / 100
    chosen: Any = score  # one of the two that click lets through
    wish = Wish(macs, drop, epochs, minutes, rounds, chosen, seed, validation, group, settings)
    json_wanted = as_json or not sys.stdout.isatty()
    try:
        with terminal.Progress() as progress:
            watch = shown(progress, lambda record: None if json_wanted else _told(record))
            report = prune(
                open_bundle(bundle), data, out,
                wish=wish, replace_bundle=replace, threads=threads, device=device, watch=watch,
            )  # fmt: skip
    except KeyboardInterrupt:
        click.echo("eyespot: interrupted; the same command goes on from here", err=True)
        return 130
    return close(report, as_json=json_wanted, show=lambda: _print(report))


def _told(record: dict[str, Any]) -> str | None:
    """An event as a line for a person."""
    top1 = "" if record.get("top1") is None else f"top-1 {100 * record['top1']:.2f} %"
    match record["event"]:
        case "cut":
            return f"cut to {record['macs'] / 1e6:,.1f}M MACs{'':9}  {top1}"
        case "epoch":
            mark = "  best so far" if record["best"] else ""
            return f"epoch {record['epoch']:<4} loss {record['loss']:<12.4f}  {top1}{mark}"
    return None


def _print(report: Pruned) -> None:
    name = report.bundle.card.name if report.bundle else "not written"
    click.secho(f"{report.model} → {name}", bold=True)
    found, alone, timed = report.found, report.alone, report.timed
    click.echo(
        f"{found.pictures:,} pictures of the {_PARTS.get(report.held, report.held)} part measured on, "
        f"{report.learned:,} others fine-tuned on; answers agree in {100 * found.agreement:.1f} %"
    )
    costs = report.costs
    rows = [
        ["", "before", "after", "", "95 % interval"],
        compared("top-1 %, cut alone", alone),
        compared("top-1 %, fine-tuned", found),
        ["MACs, millions", *(f"{c.macs / 1e6:.1f}" for c in costs), f"× {costs[1].macs / costs[0].macs:.2f}", ""],
        [
            "parameters, millions",
            *(f"{c.parameters / 1e6:.2f}" for c in costs),
            f"× {costs[1].parameters / costs[0].parameters:.2f}",
            "",
        ],
        ["MB", *(f"{size / 1e6:.2f}" for size in report.sizes), f"× {report.sizes[1] / report.sizes[0]:.2f}", ""],
        ["ms", f"{timed.before:.2f}", f"{timed.after:.2f}", f"× {timed.ratio.value:.2f}", times(timed)],
    ]
    click.echo(terminal.table(rows, right=(1, 2, 3)))
    if len(report.rounds) > 1:
        click.echo("\n" + _rounds(report))
    click.echo("\n" + _layers(report))
    if report.bundle is not None:
        click.echo(f"\n{report.bundle.path} holds {name}, {report.bundle.size() / 1e6:.1f} MB")


_PARTS = {"val": "validation"}


def _rounds(report: Pruned) -> str:
    rows = [["round", "MACs, millions", "epochs", "top-1 %, cut", "fine-tuned"]]
    rows += [
        [str(i), f"{r.macs / 1e6:.1f}", str(r.epochs), f"{100 * r.cut:.2f}", f"{100 * r.tuned:.2f}"]
        for i, r in enumerate(report.rounds, 1)
    ]
    return terminal.table(rows, right=(0, 1, 2, 3, 4))


def _layers(report: Pruned) -> str:
    rows = [["channels of", "before", "after", ""]]
    for row in report.layers:
        more = f"and {row.others} more that share them" if row.others else ""
        rows.append([row.name, str(row.before), str(row.after), more])
    return terminal.table(rows, right=(1, 2))
