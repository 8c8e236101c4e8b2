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
        meter = _Meter(name)
        try:
            bundle = open_bundle(name, errand=meter.errand(folder))
        except UsageError:
            raise
        except EyespotError as error:
            failed = True
            meter.clear()
            click.echo(_json(name=name, error=str(error)) if plain else f"{name}: {error}", err=not plain)
            continue
        meter.clear()
        size = bundle.size()
        if plain:
            click.echo(_json(name=name, path=str(bundle.path), bytes=size, was_here=before))
        else:
            click.echo(f"{name} {'was here already' if before else 'is here now'}, {size / 1e6:.1f} MB: {bundle.path}")
    return int(failed)


def _json(**record: str | int) -> str:
    return json.dumps(record, ensure_ascii=False)


class _Meter:
    """Shows the bytes as they come, from where an earlier download left off."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._progress: terminal.Progress | None = None
        self._count = 0

    def errand(self, folder: Path | None) -> Errand:
        """What the bundle's opener is told."""
        from eyespot.bundle.resolve import Errand

        return Errand(folder, self.watch, self.waiting)

    def watch(self, count: int, total: int | None) -> None:
        """So many bytes are here."""
        if self._progress is None:
            self._progress = terminal.Progress(total, done=count, unit=terminal.BYTES)
        elif count >= self._count:
            self._progress.step(count - self._count)
        self._count = count

    def waiting(self) -> None:
        """Says why nothing happens."""
        click.echo(f"another process is fetching {self.name}; waiting for it", err=True)

    def clear(self) -> None:
        """Takes the line away."""
        if self._progress is not None:
            self._progress.clear()
