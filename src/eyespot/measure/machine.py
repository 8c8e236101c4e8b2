"""Looks at the machine: what it is, and what else it did while something was measured. The standard library only."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from eyespot.core.cores import allowed_cores, cpu_groups, cpu_quota
from eyespot.core.machine import Conditions, Machine
from eyespot.core.processor import INSTRUCTIONS, apple, cpu_fields


def probe(root: Path = Path("/")) -> Machine:
    """This machine; ``root`` is where its /proc and /sys are looked for."""
    facts = cpu_fields(root, first=False)
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    found = tuple(name for name in INSTRUCTIONS if name in flags)
    processor = facts.get("model name") or facts.get("hardware") or ""
    if sys.platform == "darwin":
        processor, found = apple()
    elif not processor:  # Arm's /proc/cpuinfo has numbers only; a board says what it is elsewhere
        processor = _read(root / "sys/firmware/devicetree/base/model").strip("\0\n ")
    return Machine(
        processor=processor or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        instructions=found,
        cores=len(allowed_cores()),
        cores_present=os.cpu_count() or 1,
        core_limit=cpu_quota(root),
        memory_bytes=_memory(),
        governor=_read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        virtual="hypervisor" in flags if flags and platform.machine() in ("x86_64", "AMD64") else None,
        system=f"{platform.system()} {_numbers(platform.release())}".strip(),
        python=platform.python_version(),
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """The machine's counters at one time, in seconds; None where the system does not count."""

    time: float
    own: float
    load: float | None
    busy: float | None
    stolen: float | None
    throttled: float | None
    megahertz: float | None
    neighbours: float | None = None  # seconds for each core outside those allowed


def look(root: Path = Path("/")) -> Moment:
    """The counters now. Two moments give the conditions between them."""
    used = os.times()
    busy, stolen, neighbours = _stat(root)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    own = used.user + used.system + used.children_user + used.children_system
    return Moment(time.perf_counter(), own, load, busy, stolen, _throttled(root), _megahertz(root), neighbours)


def between(before: Moment, after: Moment) -> Conditions:
    """How quiet it was from one moment to the other."""
    capacity = max(after.time - before.time, 1e-9) * len(allowed_cores())

    def share(spent: float) -> float:
        return min(max(spent / capacity, 0.0), 1.0)

    others = stolen = throttled = megahertz = neighbours = None
    if before.busy is not None and after.busy is not None:
        others = share(after.busy - before.busy - (after.own - before.own))
    if before.stolen is not None and after.stolen is not None:
        stolen = share(after.stolen - before.stolen)
    if before.throttled is not None and after.throttled is not None:
        throttled = max(after.throttled - before.throttled, 0.0)
    if before.megahertz is not None and after.megahertz is not None:
        megahertz = (before.megahertz, after.megahertz)
    if before.neighbours is not None and after.neighbours is not None:
        neighbours = share((after.neighbours - before.neighbours) * len(allowed_cores()))
    return Conditions(before.load, after.load, others, stolen, throttled, megahertz, neighbours)


def _stat(root: Path) -> tuple[float | None, float | None, float | None]:
    """Seconds that the allowed cores were busy, that the hypervisor took, and that each other core was busy."""
    tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    allowed = allowed_cores()
    busy = stolen = 0.0
    neighbours = []
    for core, counts in re.findall(r"^cpu(\d+) +(.*)$", _read(root / "proc/stat"), re.MULTILINE):
        user, nice, system, _, _, irq, softirq, steal, *_ = [*map(int, counts.split()), *[0] * 8]
        worked = (user + nice + system + irq + softirq) / tick
        if int(core) in allowed:
            busy += worked
            stolen += steal / tick
        else:
            neighbours.append(worked)
    if not busy:  # no such file, or one of zeros, as some sandboxes show it
        return None, None, None
    return busy, stolen, sum(neighbours) / len(neighbours) if neighbours else None


def _cpu_stat(root: Path) -> str:
    """What the innermost control group with such counters says of itself."""
    return next((text for group in cpu_groups(root) if (text := _read(group / "cpu.stat"))), "")


def _throttled(root: Path) -> float | None:
    match = re.search(r"^throttled_(usec|time) (\d+)", _cpu_stat(root), re.MULTILINE)
    return int(match[2]) / (1e6 if match[1] == "usec" else 1e9) if match else None


def _megahertz(root: Path) -> float | None:
    """The mean over the allowed cores."""
    found = []
    for core in allowed_cores():
        text = _read(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")
        if text.strip().isdecimal():
            found.append(int(text) / 1e3)
    if not found:
        found = [float(mhz) for mhz in re.findall(r"^cpu MHz\s*: ([\d.]+)", _read(root / "proc/cpuinfo"), re.MULTILINE)]
    return sum(found) / len(found) if found else None


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _numbers(release: str) -> str:
    """6.8.0 of 6.8.0-45-generic-somebodys-build: whose kernel it is is nobody's business."""
    match = re.match(r"[\d.]+", release)
    return match[0].rstrip(".") if match else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
