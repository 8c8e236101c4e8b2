"""The first use of an int8 bundle on a processor and a runtime: its reference answers are replayed, once."""

from __future__ import annotations

import hashlib
import platform
from importlib import import_module
from pathlib import Path

from eyespot.bundle.cache import cache_directory
from eyespot.bundle.store import GOLDENS, MODEL, Bundle
from eyespot.errors import RuntimeFailure
from eyespot.run.answers import check_logits
from eyespot.run.ort import saturates
from eyespot.run.session import Session

_FIELDS = ("model name", "flags", "Features", "CPU implementer", "CPU variant", "CPU part")


def check_first_use(bundle: Bundle, session: Session, *, runtime: str) -> None:
    """Compares the session's answers with the bundle's goldens, unless they were equal here before.

    Kernels for integers are many, and some saturate: a network in 8 bits may be served only where it was seen to be
    right. An empty file in the cache folder remembers that, by the digests of model and goldens, the runtime's version
    and the processor. Where the folder cannot be written the check is made at each opening, and nothing else changes.

    Raises:
        RuntimeFailure: The answers differ; the message says what the processor lacks and what to do.
    """
    mark = cache_directory() / "verified" / _key(bundle, runtime)
    try:
        if mark.exists():
            return
    except OSError:
        pass
    goldens = bundle.goldens()
    check = check_logits(session.run(goldens.pixels), goldens, precision=bundle.card.precision, runtime=runtime)
    if not check.passed:
        parent = bundle.card.parent or "it was made of"
        other = "--runtime onnxruntime" if runtime != "onnxruntime" else f"another version of it or the bundle {parent}"
        lack = "; this processor has no VNNI and adds products in 16 bits" if saturates() else ""
        raise RuntimeFailure(
            f"{bundle.card.name} in 8 bits is wrong on {runtime} {_version(runtime)} here: logits {check.found}{lack}; "
            f"use {other}"
        )
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        pass


def _key(bundle: Bundle, runtime: str) -> str:
    files = bundle.card.files
    facts = (files[MODEL], files[GOLDENS], runtime, _version(runtime), str(saturates()), _processor())
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _version(runtime: str) -> str:
    return str(import_module(runtime).__version__)  # a runtime is called as its module is


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What kernels are chosen by: the first processor's name and instructions."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 14).partition("\n\n")[0].splitlines()
    except OSError:
        lines = []
    facts = [line for line in lines if line.partition(":")[0].strip() in _FIELDS]
    return "\n".join(facts) or f"{platform.machine()} {platform.processor()}"
