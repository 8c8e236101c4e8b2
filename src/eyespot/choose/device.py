"""Where candidates are measured: this machine, or one that ssh reaches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from eyespot.choose.kept import digest
from eyespot.core.pixels import Preprocess
from eyespot.core.roof import Peak
from eyespot.core.timing import Measurement
from eyespot.image.prepare import decode_and_prepare
from eyespot.measure.record import Effort, Way, runtime_version

_DECODES = 15


class Device(Protocol):
    """A machine that measures. key: what figures of it are kept under; place: as a Measurement's; title: in words."""

    @property
    def key(self) -> str: ...

    @property
    def place(self) -> str: ...

    @property
    def title(self) -> str: ...

    def runtime_version(self, runtime: str) -> str:
        """The runtime's there, as far as it is known."""

    def measure(self, ways: Sequence[Way], effort: Effort, picture: bytes) -> list[Measurement]:
        """The ways in turns, from the JPEG ``picture`` to its label. BundleError, RuntimeFailure."""

    def peak(self, threads: int) -> Peak | None:
        """The most that it can compute; None where that is not known before something is measured."""

    def floor_ms(self, picture: bytes) -> float:
        """Milliseconds that decoding and preparing the picture takes at the least; 0 when that is not known."""


class Here:
    """This machine."""

    place = "here"

    @property
    def key(self) -> str:
        """Equal for equal hardware, cores and system."""
        from eyespot.measure.machine import probe

        return probe().key

    @property
    def title(self) -> str:
        """Its processor and how many cores of it."""
        from eyespot.measure.machine import probe

        machine = probe()
        return f"{machine.processor}, {machine.cores} of {machine.cores_present} cores; {machine.system}"

    def runtime_version(self, runtime: str) -> str:
        """The installed one's."""
        return runtime_version(runtime)

    def measure(self, ways: Sequence[Way], effort: Effort, picture: bytes) -> list[Measurement]:
        """As ``eyespot measure``."""
        from eyespot.measure.latency import measure

        return measure(ways, effort=effort, picture=picture)

    def peak(self, threads: int) -> Peak:
        """Measured once, three seconds, and kept in the cache."""
        from eyespot.measure.peak import peak

        return peak(threads)[0]

    def floor_ms(self, picture: bytes) -> float:
        """The fastest of some runs, for a small network's pixels."""
        pixels = Preprocess((96, 96))
        return 1e3 * min(_seconds(lambda: decode_and_prepare(picture, pixels)) for _ in range(_DECODES))


class Ssh:
    """A machine as ``ssh`` knows it, with Python 3.11, numpy and onnxruntime; see ``measure.remote``."""

    place = "ssh"
    title = "another machine, by ssh"

    def __init__(self, host: str, *, python: str = "python3") -> None:
        self._host, self._python = host, python

    @property
    def key(self) -> str:
        """Of the name that it is reached by; the machine behind it may change, then measure anew (``--fresh``)."""
        return digest({"ssh": self._host, "python": self._python})

    def runtime_version(self, runtime: str) -> str:
        """Not known from here."""
        return ""

    def measure(self, ways: Sequence[Way], effort: Effort, picture: bytes) -> list[Measurement]:
        """Copies the bundles there and measures them; nothing stays."""
        from eyespot.measure.remote import measure_by_ssh

        return measure_by_ssh(ways, self._host, python=self._python, effort=effort, picture=picture)

    def peak(self, threads: int) -> None:
        """Not known from here: no candidate is left out by its MACs before some were measured."""
        return

    def floor_ms(self, picture: bytes) -> float:
        """Not known from here."""
        return 0.0


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
