"""``eyespot verify``: hashes, and goldens replayed on this machine's runtime."""

from __future__ import annotations

import json
import sys

import click

from eyespot.cli import terminal
from eyespot.cli.arguments import RUNTIME


@click.command("verify")
@click.argument("bundles", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per bundle, on a terminal too.")
@click.option("--runtime", default="onnxruntime", show_default=True, type=RUNTIME)
def command(bundles: tuple[str, ...], as_json: bool, runtime: str) -> int:
    """Checks that BUNDLES (names or directories) give here what they gave where they were made."""
    from eyespot.bundle.resolve import open_bundle
    from eyespot.errors import EyespotError, UnknownName
    from eyespot.run.verify import Check, verify

    failed = False
    for name in bundles:
        try:
            checks = verify(open_bundle(name), runtime=runtime)
        except UnknownName:
            raise
        except EyespotError as error:
            checks = [Check("files", False, str(error))]
        good = all(check.passed for check in checks)
        failed |= not good
        if as_json or not sys.stdout.isatty():
            rows = [{"check": c.name, "passed": c.passed, "found": c.found} for c in checks]
            click.echo(json.dumps({"bundle": name, "verified": good, "checks": rows}, ensure_ascii=False))
        else:
            click.secho(f"{name} {'is verified' if good else 'FAILS'}", bold=True, fg=None if good else "red")
            click.echo(terminal.table([["  ok" if c.passed else "  FAILS", c.name, c.found] for c in checks]))
    return int(failed)
