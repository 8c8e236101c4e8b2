"""What a measurement knows before anything is timed: the bundle, the effort, and the record that holds the figures.

Needs the standard library, numpy and the runtime only, so that it works wherever a network runs.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eyespot.bundle.store import CARD, Bundle, sha256
from eyespot.core.cores import cores
from eyespot.core.cost import cost
from eyespot.core.machine import Conditions, Machine
from eyespot.core.roof import Roofline
from eyespot.core.timing import Caution, Measurement, Picture, Samples
from eyespot.errors import UsageError
from eyespot.measure.cautions import BUSY


@dataclass(frozen=True, slots=True)
class Way:
    """A bundle on a runtime."""

    bundle: Bundle
    runtime: str = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured, for each way.

    seconds: for one picture at a time, half on the network alone and half from JPEG to label. turns: in which the ways
    take that time side by side. warmup: runs before that. cold_starts: fresh processes, 0 for none. throughput: seconds
    of many pictures at a time, 0 for none. threads: inside one call (None: every core, up to eight). roof: whether each
    layer on ONNX Runtime is held against the machine's peak, which takes three seconds the first time.
    """

    seconds: float = 4.0
    turns: int = 20
    warmup: int = 5
    cold_starts: int = 5
    throughput: float = 2.0
    threads: int | None = None
    roof: bool = True

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seconds", self.seconds, 0.01),
            ("turns", self.turns, 1),
            ("warmup", self.warmup, 0),
            ("cold_starts", self.cold_starts, 0),
            ("throughput", self.throughput, 0),
            ("threads", 1 if self.threads is None else self.threads, 1),
        ):
            if not least <= value <= 1e6:
                raise UsageError(f"{name} is {value:g}; {least:g} or more was needed")

    def inside(self) -> int:
        """The threads inside one call."""
        return self.threads or min(cores(), 8)


USUAL = Effort()


def record(
    way: Way,
    machine: Machine,
    conditions: Conditions,
    cautions: Sequence[Caution],
    *,
    threads: int,
    network: Samples,
    latency: Samples | None = None,
    throughput: Samples | None = None,
    workers: int = 0,
    cold: Samples | None = None,
    peak_memory_bytes: int | None = None,
    picture: Picture | None = None,
    roof: Roofline | None = None,
    place: str = "here",
) -> Measurement:
    """The measurement with all that is known of the bundle without measuring."""
    card = way.bundle.card
    costs = cost(card.graph)
    return Measurement(
        bundle=card.name,
        digest=sha256(way.bundle.path / CARD),
        runtime=way.runtime,
        runtime_version=runtime_version(way.runtime),
        threads=threads,
        precision=card.precision,
        place=place,
        machine=machine,
        conditions=conditions,
        parameters=costs.parameters,
        macs=costs.macs,
        size_bytes=way.bundle.size(),
        model_bytes=way.bundle.model.stat().st_size,
        network=network,
        latency=latency,
        throughput=throughput,
        workers=workers,
        cold=cold,
        peak_memory_bytes=peak_memory_bytes,
        picture=picture,
        roofline=roof,
        cautions=tuple(cautions),
    )


def roof_of(
    way: Way, network: Samples, effort: Effort, step: Callable[[str], None]
) -> tuple[Roofline | None, list[Caution]]:
    """The roofline, and a doubt about the peak where others were busy while it was measured."""
    if not effort.roof or way.runtime != "onnxruntime":
        return None, []
    from eyespot.measure.peak import peak
    from eyespot.measure.roofline import roofline

    most, others = peak(effort.inside())
    step("peak")
    found = roofline(way.bundle, most, network_ms=network.median)
    step("layers")
    if others is None or others <= BUSY:
        return found, []
    seen = f"the machine's peak was measured while other programs took {others:.0%} of its cores"
    return found, [Caution("peak", seen, "it is measured again the next time, and the better one is kept")]


def runtime_version(runtime: str) -> str:
    """The version of what computes: the runtime's distribution, or numpy for the reference."""
    return importlib.metadata.version("numpy" if runtime == "reference" else runtime)
