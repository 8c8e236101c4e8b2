"""``eyespot fetch``: published weights onto this machine, ready to classify without a network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eyespot.cli import terminal

if TYPE_CHECKING:
    from eyespot.bundle.resolve import Errand


@click.command("fetch")
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--from", "folder", type=click.Path(path_type=Path), help="Take the files from this folder, not from the network."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per name, on a terminal too.")
def command(names: tuple[str, ...], folder: Path | None, as_json: bool) -> int:
    """Downloads the published weights NAMES, checks them and makes their bundles in the cache.

    An interrupted download goes on where it stopped. EYESPOT_MIRROR names a folder or an address to try before the
    publisher's, HF_ENDPOINT another Hugging Face hub. Exit code 1 when a name could not be had.
    """
    from eyespot.bundle.resolve import is_here, open_bundle
    from eyespot.errors import EyespotError, UsageError

    plain = as_json or not sys.stdout.isatty()
    failed = False
    for name in names:
        before = is_here(name)
        try:
            with terminal.Progress(unit=terminal.BYTES) as progress:
                bundle = open_bundle(name, errand=_errand(name, folder, progress))
        except UsageError:
            raise
        except EyespotError as error:
            failed = True
            click.echo(_json(name=name, error=str(error)) if plain else f"{name}: {error}", err=not plain)
            continue
        size = bundle.size()
        if plain:
            click.echo(_json(name=name, path=str(bundle.path), bytes=size, was_here=before))
        else:
            click.echo(f"{name} {'was here already' if before else 'is here now'}, {size / 1e6:.1f} MB: {bundle.path}")
    return int(failed)


def _json(**record: str | int) -> str:
    return json.dumps(record, ensure_ascii=False)


def _errand(name: str, folder: Path | None, progress: terminal.Progress) -> Errand:
    """What the bundle's opener is told: it shows the bytes as they come, from where an earlier download left off."""
    from eyespot.bundle.resolve import Errand

    before = -1

    def watch(count: int, total: int | None) -> None:
        nonlocal before
        if count < before or before < 0:
            progress.stage(name, total, done=count)
        else:
            progress.step(count - before)
        before = count

    def waiting() -> None:
        click.echo(f"another process is fetching {name}; waiting for it", err=True)

    return Errand(folder, watch, waiting)
