"""``eyespot unpack``: bundles out of a file that ``eyespot pack`` wrote."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("unpack")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The folder to put them in.  [default: the cache]")
@click.option("--replace", is_flag=True, help="Put them in the place of bundles that are there.")
def command(file: Path, out: Path | None, replace: bool) -> None:
    """Puts the bundles of FILE in place, every file checked against its card first.

    Without --out they go into the cache, where `--model NAME` finds them. A name that a built-in or published
    model has stays that model's: the bundle gets another one, which is said.
    """
    from eyespot.bundle.pack import unpack

    for bundle in unpack(file, out, replace=replace, say=lambda line: click.echo(line, err=True)):
        click.echo(f"{bundle.path} holds {bundle.card.name}, {bundle.size() / 1e6:.1f} MB")
