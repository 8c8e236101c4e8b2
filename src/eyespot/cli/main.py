"""The command line: finds the verb, and turns every error that is ours into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from importlib import import_module
from typing import cast

import click

from eyespot import __version__
from eyespot.cli import terminal
from eyespot.errors import EyespotError

VERBS = (
    "choose", "classify", "data", "evaluate", "export", "export-weights", "fetch", "import", "measure", "models",
    "pack", "prune", "quantize", "scale", "show", "train", "unpack", "verify",
)  # fmt: skip


# What a disk says that is full, over its quota, read-only or broken.
_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))


class _Verbs(click.Group):
    """Imports a verb's file only when that verb is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = import_module(f"eyespot.cli.{'import_' if cmd_name == 'import' else cmd_name.replace('-', '_')}")
        return cast("click.Command", module.command)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="eyespot")
def cli() -> None:
    """Puts an accurate light CNN on the hardware you have."""


def main() -> None:
    """Runs the command line: exit code 0 all well, 1 some input failed, 2 wrong usage, 130 interrupted."""
    _open_closed_streams()
    terminal.escape_terminals()
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("eyespot: interrupted; what was written stays", err=True)
        sys.exit(130)
    except EyespotError as error:
        click.echo(f"eyespot: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _give_up_stdout()  # the reader of our pipe went away; nothing is left to tell it
        sys.exit(1)
    except OSError as error:
        is_stdout = _is_of_output(error)
        if not is_stdout and error.errno not in _DISK:
            raise
        _give_up_stdout()
        what = "standard output" if is_stdout else error.filename or "a file"
        with contextlib.suppress(OSError):
            click.echo(
                f"eyespot: {what} cannot be written: {error.strerror or error}; fix that, run it again", err=True
            )
        sys.exit(1)


def _open_closed_streams() -> None:
    """Takes the numbers of streams that were closed (``>&-``), so that no file that is opened later gets them.

    Nothing can be written to standard output then; warnings go nowhere.
    """
    for name, mode, flags in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))


def _is_of_output(error: OSError) -> bool:
    """Whether printing raised it: ``click.echo``, or the last flush in ``main`` itself."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return len(codes) == 1 or click.echo.__code__ in codes


def _give_up_stdout() -> None:
    """Lets what is still to be written vanish, so that the interpreter does not fail at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
