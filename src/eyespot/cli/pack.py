"""``eyespot pack``: bundles in one file, to be carried to machines without a network."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("pack")
@click.argument("bundles", nargs=-1, required=True)
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The file.  [default: NAME.eyespot for one bundle]")
@click.option("--replace", is_flag=True, help="Write over a file that is there.")
def command(bundles: tuple[str, ...], out: Path | None, replace: bool) -> None:
    """Writes BUNDLES (names or directories) into one file; `eyespot unpack` puts them in place elsewhere.

    A published name that is not here yet is fetched first.
    """
    from eyespot.bundle.pack import SUFFIX, pack
    from eyespot.bundle.resolve import open_bundle
    from eyespot.errors import UsageError

    if out is None and len(bundles) > 1:
        raise UsageError("several bundles need a file to go into; pass --out stick.eyespot")
    opened = [open_bundle(name) for name in bundles]
    path = pack(opened, out or Path(f"{opened[0].card.name}{SUFFIX}"), replace=replace)
    names = ", ".join(bundle.card.name for bundle in opened)
    click.echo(f"{path} holds {names}, {path.stat().st_size / 1e6:.1f} MB")
