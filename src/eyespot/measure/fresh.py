"""Cold start and peak memory: a fresh process that opens a bundle and names one picture, again and again.

The process is started by another small one, because Linux counts the memory of whoever starts a process as its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from eyespot.core.child import python_child
from eyespot.errors import RuntimeFailure

# Starts sys.argv[1:], waits for its first byte and for its end; prints seconds, bytes and the exit code. Written for a
# Python without site-packages: it holds ten megabytes.
_LAUNCHER = """
import json, os, sys, time
read, write = os.pipe()
null = os.open(os.devnull, os.O_WRONLY)
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[
    (os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)])
os.close(write)
said = os.read(read, 1)
seconds = time.perf_counter() - start
while os.read(read, 65536):
    pass
_, status, usage = os.wait4(pid, 0)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([seconds, usage.ru_maxrss * unit, bool(said), os.waitstatus_to_exitcode(status)]))
"""


class Fresh(NamedTuple):
    """What fresh processes took: milliseconds of each, and the most memory that one of them held, in bytes."""

    milliseconds: list[float]
    peak_bytes: int


def measurable() -> bool:
    """Whether this system can start and watch a process so (not Windows)."""
    return hasattr(os, "posix_spawn") and hasattr(os, "wait4")


def fresh(program: list[str], *, times: int, step: Callable[[], None] = lambda: None) -> Fresh:
    """Starts ``program`` (its first word is a path) so many times, and once before to bring its files into memory.

    Its clock stops at the first byte on its standard output. RuntimeFailure when it fails or says nothing.
    """
    found: list[float] = []
    peak = 0
    for turn in range(times + 1):
        seconds, held = _once(program)
        if turn:
            found.append(1e3 * seconds)
            peak = max(peak, held)
            step()
    return Fresh(found, peak)


def cold_program(bundle: Path, *, runtime: str, threads: int, picture: Path) -> list[str]:
    """The program that a cold start is measured with: Python, ``eyespot.load``, one picture, its label."""
    return python_child("eyespot.measure.once", str(bundle), runtime, str(threads), str(picture))


def kept(data: bytes, name: str = "picture.jpg") -> tempfile.TemporaryDirectory[str]:
    """A folder that holds ``data`` as a file until it is closed."""
    folder = tempfile.TemporaryDirectory(prefix="eyespot-measure-")
    (Path(folder.name) / name).write_bytes(data)
    return folder


def _once(program: list[str]) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *program], capture_output=True, text=True, check=False
    )
    try:
        seconds, held, said, code = json.loads(done.stdout)
    except ValueError:
        raise RuntimeFailure(f"a fresh process could not be started: {_last(done.stderr)}") from None
    if code or not said:
        raise RuntimeFailure(f"a fresh process ended with {code} and no label: {_last(done.stderr)}")
    return seconds, held


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
