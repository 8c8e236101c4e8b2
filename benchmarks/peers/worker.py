"""The one protocol that every peer speaks, so that all of them are asked for the same things in the same way.

Each script holds one `Peer`. Run as `script.py HOME --build`, as `script.py HOME --once PICTURE` (prints one label: the
cold start), or as `script.py HOME --serve`, which answers JSON requests, one per line, with JSON on standard output.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import ClassVar, Protocol, TextIO


class Peer(Protocol):
    """One library, used as its documentation shows; made from the directory in which `build` left its files.

    packages: the distributions whose versions belong in the report, "a|b" for either of two; one that is not installed
    makes the peer absent.
    """

    packages: ClassVar[tuple[str, ...]]

    def __init__(self, home: Path) -> None:
        """Imports the library and reads the model."""

    @staticmethod
    def build(home: Path) -> None:
        """Writes what the peer needs (weights, configuration) into `home`; outside all timings."""

    def classify(self, data: bytes) -> str:
        """The label of one encoded picture."""

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """The labels of many files, in the way usual for the library."""


def main(peer: type[Peer]) -> None:
    """Carry out the command line described above; a missing library is said as `{"absent": …}`, with exit status 0."""
    home, mode, *rest = Path(sys.argv[1]), *sys.argv[2:]
    operators = _operators(home, build=mode == "--build") if "torchvision" in peer.packages else None
    # Whatever the libraries print goes to the error stream, so that the answers stay alone on the standard output.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if mode == "--build":
            print(json.dumps(_build(peer, home)), file=answers)
        elif mode == "--once":
            print(peer(home).classify(Path(rest[0]).read_bytes()), file=answers)
        else:
            _serve(peer(home), answers)
    del operators


def _operators(home: Path, *, build: bool) -> object:
    """torchvision's own operators, declared where its wheel's do not load (that for CUDA beside torch's CPU build).

    Its import fails without them; no network that classifies needs them. The build finds out, so that a cold start does
    not pay for the failed import.
    """
    missing = home / "declare-operators"
    if build and not missing.exists():
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            missing.touch()
        except ImportError:
            return None
    if not missing.exists():
        return None
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # torch forgets an operator with the object that defined it


def _build(peer: type[Peer], home: Path) -> dict[str, object]:
    versions = {}
    for names in peer.packages:
        found = {name: version for name in names.split("|") if (version := _version(name))}
        if not found:
            return {"absent": f"{names.replace('|', ' or ')} is not installed"}
        versions |= found
    peer.build(home)
    return {"versions": versions}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _serve(peer: Peer, answers: TextIO) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "classify":
            answer = _timed(peer, Path(request["picture"]).read_bytes(), request["times"])
        elif request["do"] == "folder":
            paths = sorted(Path(request["path"]).iterdir())[: request["pictures"]]
            start = time.perf_counter()
            labels = peer.folder(paths)
            answer = {"seconds": time.perf_counter() - start, "pictures": len(labels)}
        else:
            answer = {"peak_bytes": peak_bytes()}
        print(json.dumps(answer), file=answers)


def _timed(peer: Peer, data: bytes, times: int) -> dict[str, object]:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        peer.classify(data)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def peak_bytes() -> int:
    """This process's peak resident memory; on Linux without what its parent held when it forked, unlike ru_maxrss."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
