"""Measures on another machine over ssh: copies the bundles and eyespot's own source, runs ``there``, brings it back.

Nothing is installed there and nothing stays: Python 3.11 or newer, numpy and onnxruntime are all that is needed.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import eyespot
from eyespot.bundle.store import CARD, Bundle
from eyespot.core.timing import Measurement
from eyespot.errors import RuntimeFailure, UsageError
from eyespot.measure.latency import refuse_unverified
from eyespot.measure.record import USUAL, Effort, Way

# Asks what is there and makes a folder. Must run on any Python 3, and import nothing of the folder it starts in.
_ASK = """
import sys
sys.path[:] = [path for path in sys.path if path]
import json, tempfile
found = {"python": list(sys.version_info[:2])}
for name in ("numpy", "onnxruntime", "PIL"):
    try:
        found[name] = __import__(name).__version__
    except ImportError:
        found[name] = None
found["folder"] = tempfile.mkdtemp(prefix="eyespot-measure-")
print(json.dumps(found))
"""
_HOST = re.compile(r"[A-Za-z0-9_][\w.@:%+-]*")
_FOLDER = re.compile(r"/[\w./+-]*eyespot-measure-\w+")  # it will be removed, so it must be the one we asked for
_LEFT_OUT = ("cli", "learn", "serve", "choose", "builtin")


def measure_by_ssh(
    ways: Sequence[Way],
    host: str,
    *,
    python: str = "python3",
    effort: Effort = USUAL,
    picture: bytes | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> list[Measurement]:
    """One measurement for each way, from turns taken side by side on ``host``, as ``ssh`` knows it.

    ``python``: the interpreter there. JPEG to label and throughput are measured where Pillow is there, too. Raises
    UsageError for a host or runtime that cannot be, BundleError for a bundle that does not verify, here or there,
    RuntimeFailure when ssh fails or something is missing there.
    """
    if not _HOST.fullmatch(host):
        raise UsageError(f"--on ssh:{host}: a host that ssh knows was needed, such as ssh:pi or ssh:me@board.local")
    odd = [way.runtime for way in ways if way.runtime != "onnxruntime"]
    if odd:
        raise UsageError(f"--on ssh measures onnxruntime, not {odd[0]}; leave --runtime out")
    for way in ways:
        refuse_unverified(way)
    found = _ask(host, python)
    folder = found["folder"]
    try:
        step("copying")
        with tempfile.TemporaryDirectory(prefix="eyespot-measure-") as here:
            packed = Path(here) / "job.zip"
            packed.write_bytes(pack([way.bundle for way in ways], effort, picture))
            _run(["scp", "-q", str(packed), f"{host}:{folder}/job.zip"], "cannot be copied to")
        step("measuring there")
        unpack = shlex.join([python, "-P", "-m", "zipfile", "-e", "job.zip", "."])
        work = shlex.join(
            ["env", "PYTHONPATH=source", "EYESPOT_CACHE=cache", python, "-P", "-m", "eyespot.measure.there", "."]
        )
        said = _ssh(host, f"cd {shlex.quote(folder)} && {unpack} && {work}", check=False)
    finally:
        _ssh(host, f"rm -rf {shlex.quote(folder)}", check=False)
    return [replace(one, place="ssh") for one in _read(said)]


def pack(bundles: Sequence[Bundle], effort: Effort, picture: bytes | None) -> bytes:
    """The zip that travels: the bundles, their goldens for numpy, eyespot's source, and what to do."""
    data = io.BytesIO()
    names = [f"bundle{number}" for number in range(len(bundles))]
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, bundle in zip(names, bundles, strict=True):
            for part in (CARD, *bundle.card.files):
                file.write(bundle.path / part, f"{name}/{part}")
            goldens = bundle.goldens()
            arrays = io.BytesIO()
            jpeg = np.frombuffer(goldens.jpeg, np.uint8)
            np.savez(arrays, jpeg=jpeg, pixels=goldens.pixels, logits=goldens.logits)
            file.writestr(f"{name}.npz", arrays.getvalue())
        if picture is not None:
            file.writestr("picture.jpg", picture)
        file.writestr("job.json", json.dumps({"bundles": names, "effort": asdict(effort)}))
        home = Path(eyespot.__file__).parent
        for path in sorted(home.rglob("*.py")):
            inside = path.relative_to(home)
            if inside.parts[0] not in _LEFT_OUT:
                file.write(path, Path("source/eyespot", inside).as_posix())
    return data.getvalue()


def _ask(host: str, python: str) -> dict[str, Any]:
    """What is there. RuntimeFailure says what is missing and how to get it."""
    said = _ssh(host, shlex.join([python, "-c", _ASK]))
    try:
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        version, folder = tuple(found["python"]), found["folder"]
    except (ValueError, IndexError, KeyError, TypeError):
        raise RuntimeFailure(
            f"{host} answered {said.strip()[:80]!r}; a Python was needed: name it with --python"
        ) from None
    if not _FOLDER.fullmatch(folder):
        raise RuntimeFailure(f"{host} offers the folder {folder[:80]!r}; a fresh one of ours was needed")
    missing = [name for name in ("numpy", "onnxruntime") if not found[name]]
    problem = ""
    if version < (3, 11):
        problem = f"has Python {version[0]}.{version[1]}; 3.11 or newer was needed: name one there with --python"
    elif missing:
        problem = f"has no {' and no '.join(missing)}; run there: {python} -m pip install {' '.join(missing)}"
    if problem:
        _ssh(host, f"rm -rf {shlex.quote(folder)}", check=False)
        raise RuntimeFailure(f"{host} {problem}")
    return found


def _read(said: str) -> list[Measurement]:
    """The last line of what was said there, which may begin with a greeting."""
    lines = said.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (ValueError, IndexError):
        last = lines[-1][:200] if lines else "nothing"
        raise RuntimeFailure(f"the measurement there failed: {last}") from None
    if "error" in answer:
        raise RuntimeFailure(f"the measurement there failed: {answer['error']}")
    return [Measurement.from_json(one) for one in answer["measurements"]]


def _ssh(host: str, command: str, *, check: bool = True) -> str:
    return _run(["ssh", host, command], "cannot be reached at", check=check)


def _run(command: Sequence[str], problem: str, *, check: bool = True) -> str:
    """What a program said, with what it complained of when it failed. Its password prompts reach the terminal."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeFailure(f"{command[0]} cannot be started ({error.strerror}); install OpenSSH's client") from None
    if done.returncode and check:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeFailure(
            f"{command[0]} failed: the measurement {problem} that host: {lines[-1][:200] if lines else ''}"
        )
    return done.stdout if not done.returncode or done.stdout.strip() else done.stderr
