"""A device that takes a time for every MAC, networks that are small, and a trainer that knows the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import make_bundle
from eyespot.accuracy.dataset import Example
from eyespot.arch.catalogue import draw
from eyespot.choose.candidate import Candidate
from eyespot.choose.kept import Kept
from eyespot.choose.search import Bench
from eyespot.choose.training import Trained
from eyespot.core.cost import cost
from eyespot.core.machine import Conditions
from eyespot.core.pixels import torchvision_preprocess
from eyespot.core.roof import Peak
from eyespot.core.timing import Picture, Samples
from eyespot.measure.machine import probe
from eyespot.measure.record import Effort, record

QUICK = Effort(seconds=0.02, turns=2, warmup=1, cold_starts=0, throughput=0.0, threads=1, roof=False)
JPEG = b"a picture that this device never decodes"


def candidate(
    side: int = 32, *, top1: float | None = None, start: str = "", precision: str = "float32", width: float = 0.25
) -> Candidate:
    """A MobileNet V1 of ten classes. Its promise is its top-1, or less than any."""
    arguments = {"classes": 10, "size": side, "width": width}
    costs = cost(draw("mobilenet_v1_1.0", arguments))
    return Candidate(
        start or f"net{width:g}", "mobilenet_v1_1.0", arguments, torchvision_preprocess(side, side), costs,
        precision=precision, start=start, top1=top1, source="a paper" if top1 else "",
        weights="cached" if start else "fetch",
        promise=-1000.0 if top1 is None else top1 - 0.5 * (precision == "int8"),
    )  # fmt: skip


@dataclass
class Counting:
    """A device that takes a millisecond and one more for each million MACs (int8: for each three), p95 a tenth more.

    memory: of every network; later: what a finished bundle takes, in times of its trial; runs: what it measured.
    """

    key: str = "a machine"
    place: str = "here"
    title: str = "a stand-in"
    memory: int = 50_000_000
    later: float = 1.0
    runs: list[tuple[str, int]] = field(default_factory=list)

    def runtime_version(self, runtime: str) -> str:
        return "1"

    def measure(self, ways, effort, picture):
        return [self._one(way, effort) for way in ways]

    def peak(self, threads: int) -> Peak:
        return Peak(threads, {"float32": 2.0, "int8": 6.0}, ((1 << 20, 10.0),))

    def floor_ms(self, picture: bytes) -> float:
        return 0.5

    def _one(self, way, effort):
        macs = cost(way.bundle.card.graph).macs
        self.runs.append((way.bundle.card.precision, way.bundle.card.graph.input[1]))
        alone = macs / (3e6 if way.bundle.card.precision == "int8" else 1e6) + 1e-3
        factor = 1.0 if way.bundle.card.name.endswith(".trial") else self.later
        whole = [[factor * (1 + alone) * share] for share in (1.0, 1.0, 1.0, 1.1)]
        return record(
            way, probe(), Conditions(others=0.0), [], threads=1, network=Samples.of([[alone]] * 4),
            latency=Samples.of(whole), picture=Picture(1, 1, 1),
            peak_memory_bytes=self.memory if effort.cold_starts else None,
        )  # fmt: skip


def bench(path: Path, device: Counting | None = None) -> Bench:
    """What measures on that device, with a cache of its own."""
    return Bench(device or Counting(), Kept(path / "kept.jsonl"), QUICK, JPEG)


class Knowing:
    """A trainer that is told each start's top-1 and makes a bundle of random weights of it."""

    def __init__(self, folder: Path, top1: dict[str, float], *, digest: str = "pictures") -> None:
        self._folder, self._top1, self.digest = folder, top1, digest
        self.classes, self.side, self.notes = 10, 32, []
        self.asked: list[list[str]] = []

    def compete(self, entries, until):
        self.asked.append([entry.name for entry in entries])
        found = []
        for entry in entries:
            if entry.candidate.name in self._top1:
                place = self._folder / entry.name.replace(" ", "_")
                if not place.exists():
                    make_bundle(place, size=entry.candidate.side)
                found.append(Trained(entry, self._top1[entry.candidate.name], None, place, "probe"))
        return sorted(found, key=lambda one: -one.top1)

    def held_out(self):
        place = self._folder / "held.png"
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(place)
        return [Example(str(place), 0)] * 3
