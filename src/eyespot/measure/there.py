"""The measurement as it runs on another machine: ``python -m eyespot.measure.there FOLDER``; see ``remote``.

Python, numpy and ONNX Runtime are enough for the network alone; where Pillow is too, all is measured as at home.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Bundle, Goldens, read
from eyespot.core.timing import Measurement, Samples
from eyespot.errors import BundleError, EyespotError
from eyespot.measure.cautions import Asked, judge
from eyespot.measure.fresh import cold_program, fresh, measurable
from eyespot.measure.machine import between, look, probe
from eyespot.measure.record import Effort, Way, record, roof_of
from eyespot.measure.turns import Work, plan, take_turns, warm_up
from eyespot.run.answers import check_logits
from eyespot.run.open import open_unchecked
from eyespot.run.session import Session


@dataclass(frozen=True, eq=False)
class Copied(Bundle):
    """A bundle whose goldens lie beside it as .npz, which numpy reads by itself."""

    def goldens(self) -> Goldens:
        """The pictures and answers that were copied."""
        with np.load(self.path.with_suffix(".npz"), allow_pickle=False) as kept:
            return Goldens(kept["jpeg"].tobytes(), kept["pixels"], kept["logits"])


def main(folder: Path) -> None:
    """Prints ``{"measurements": […]}``, or ``{"error": "…"}`` with exit code 1."""
    try:
        job: dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        opened = [read(folder / name) for name in job["bundles"]]
        ways = [Way(Copied(bundle.path, bundle.card, bundle.labels)) for bundle in opened]
        found = run(ways, Effort(**job["effort"]), folder)
    except EyespotError as error:
        print(json.dumps({"error": str(error)}))
        raise SystemExit(1) from None
    print(json.dumps({"measurements": [one.to_json() for one in found]}))


def run(ways: list[Way], effort: Effort, folder: Path) -> list[Measurement]:
    """All that can be measured here; ``picture.jpg`` in ``folder`` is the picture, where there is one."""
    if find_spec("PIL") is None:
        return network_only(ways, effort, folder)
    from eyespot.measure.latency import measure

    picture = folder / "picture.jpg"
    return measure(ways, effort=effort, picture=picture.read_bytes() if picture.exists() else None)


def network_only(ways: list[Way], effort: Effort, folder: Path) -> list[Measurement]:
    """The network alone, cold start from prepared pixels, memory and roof; BundleError for answers that are wrong."""
    machine = probe()
    sessions = [open_unchecked(way.bundle, runtime=way.runtime, threads=effort.inside()) for way in ways]
    try:
        batches = [_checked(way, session) for way, session in zip(ways, sessions, strict=True)]
        works = [_network(session, batch) for session, batch in zip(sessions, batches, strict=True)]
        planned = plan(warm_up(works, runs=effort.warmup), seconds=effort.seconds / 2, turns=effort.turns)
        before = look()
        samples = [Samples.of(each) for each in take_turns(works, planned)]
        conditions = between(before, look())
    finally:
        for session in sessions:
            session.close()
    asked = Asked(effort.seconds, effort.warmup, effort.inside(), len(ways))
    found = []
    for way, batch, network in zip(ways, batches, samples, strict=True):
        roof, doubts = roof_of(way, network, effort, lambda _: None)
        doubts = [*judge([("network alone", network)], conditions, machine, asked), *doubts]
        cold, peak = _cold(way, batch, effort, folder)
        threads = effort.inside()
        figures = record(
            way,
            machine,
            conditions,
            doubts,
            threads=threads,
            network=network,
            cold=cold,
            peak_memory_bytes=peak,
            roof=roof,
        )
        found.append(figures)
    return found


def _checked(way: Way, session: Session) -> NDArray[np.uint8]:
    """One prepared picture, once the answers to all of them are those that travelled with the weights."""
    goldens = way.bundle.goldens()
    check = check_logits(session.run(goldens.pixels), goldens, precision=way.bundle.card.precision)
    if not check.passed:
        raise BundleError(
            f"{way.bundle.card.name} does not verify there ({check.name}: {check.found}); it would be fast and wrong: "
            "try another version of the runtime"
        )
    return goldens.pixels[:1]


def _network(session: Session, batch: NDArray[np.uint8]) -> Work:
    return lambda: session.run(batch)


def _cold(way: Way, batch: NDArray[np.uint8], effort: Effort, folder: Path) -> tuple[Samples | None, int | None]:
    if not effort.cold_starts or not measurable():
        return None, None
    pixels = folder / "pixels.npy"
    np.save(pixels, batch)
    program = cold_program(way.bundle.path, runtime=way.runtime, threads=effort.inside(), picture=pixels)
    found = fresh(program, times=effort.cold_starts)
    return Samples.of([[each] for each in found.milliseconds]), found.peak_bytes


if __name__ == "__main__":
    main(Path(sys.argv[1]))
