"""What a benchmark found, every sample kept, and its table."""

import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

COLUMNS = {"small": "640×427", "large": "4000×3000, soft", "detailed": "4000×3000, detailed"}


@dataclass
class Figures:
    """The samples of one way: seconds per picture and turn, cold starts in seconds and processor time, rates, bytes."""

    whole: bool
    absent: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    cold: list[float] = field(default_factory=list)
    cold_processor: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    cold_peak_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Every field."""
        return asdict(self)

    def milliseconds(self, picture: str) -> float:
        """The median over all turns."""
        return 1e3 * statistics.median(s for turn in self.seconds[picture] for s in turn)


def machine(load_before: tuple[float, float, float]) -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    names = []
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": usable,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": load_before,
        "load_after": os.getloadavg(),
    }


def render(figures: Mapping[str, Figures], facts: Mapping[str, Any]) -> str:
    """Markdown: the table with ratios to eyespot, the floor, the machine, the versions, the doubts."""
    present = {name: one for name, one in figures.items() if not one.absent}
    ours = present["eyespot"]
    lines = [
        "| way | " + " | ".join(COLUMNS.values()) + " | cold start | peak memory | folder |",
        "|---|" + "--:|" * (len(COLUMNS) + 3),
    ]
    for name, one in present.items():
        if not one.whole:
            continue
        cells = [f"{one.milliseconds(picture):.1f} ms{_times(_ratio(one, ours, picture))}" for picture in COLUMNS]
        cold, ours_cold = statistics.median(one.cold), statistics.median(ours.cold)
        rate, ours_rate = statistics.median(one.rates), statistics.median(ours.rates)
        cells.append(f"{cold:.2f} s{_times(cold / ours_cold)}")
        cells.append(f"{one.peak_bytes / 1e6:.0f} MB{_times(one.peak_bytes / ours.peak_bytes)}")
        cells.append(f"{rate:.0f} /s{_times(ours_rate / rate)}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "In brackets: how many times eyespot's (for the folder: how many times slower).", ""]
    lines += _floor(present, ours)
    lines += [f"- {name} is absent: {one.absent}" for name, one in figures.items() if one.absent]
    lines += ["", f"Machine: {facts['cpu']}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}."]
    lines += [f"Pictures, from {facts['photograph']}: " + _sizes(facts["picture_bytes"]) + "."]
    versions = {k: v for one in present.values() for k, v in one.versions.items()}
    lines += ["Versions: " + ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) + "."]
    load = facts["load_before"][0]
    lines += [f"Load average before the run {load:.1f}, after it {facts['load_after'][0]:.1f}."]
    if load > 0.5:
        lines += ["**Caution: the machine was busy with other work; trust the ratios only, and those with reserve.**"]
    return "\n".join(lines)


def render_search(found: Mapping[str, Mapping[str, list[list[float]]]]) -> str:
    """Markdown: milliseconds from a JPEG's bytes to its label by the number of threads, quiet and under load."""
    settings = list(next(iter(found.values())))
    lines = ["| 640×427, eyespot | " + " | ".join(settings) + " |", "|---|" + "--:|" * len(settings)]
    for load, ways in found.items():
        cells = [f"{1e3 * statistics.median(s for turn in ways[name] for s in turn):.1f} ms" for name in settings]
        what = "another program on every second core" if load == "busy" else "nothing else runs"
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(one: Figures, ours: Figures, picture: str) -> float:
    """The median of the turns' ratios: both were measured within the same seconds."""
    pairs = zip(one.seconds[picture], ours.seconds[picture], strict=True)
    return statistics.median(statistics.median(theirs) / statistics.median(mine) for theirs, mine in pairs)


def _times(ratio: float) -> str:
    return "" if ratio == 1 else f" ({ratio:.1f}×)"


def _floor(present: Mapping[str, Figures], ours: Figures) -> list[str]:
    decode, network = present.get("floor: decode"), present.get("floor: network")
    if decode is None or network is None:
        return ["No floor: ONNX Runtime or Pillow is absent.", ""]
    lines = [
        "The floor is the scaled libjpeg-turbo decode plus the float32 network in ONNX Runtime, nothing between:",
        "",
    ]
    for picture, title in COLUMNS.items():
        a, b, we = decode.milliseconds(picture), network.milliseconds(picture), ours.milliseconds(picture)
        lines.append(f"- {title}: {a:.1f} + {b:.1f} = {a + b:.1f} ms; eyespot takes {we:.1f} ms, {we / (a + b):.2f}×.")
    return [*lines, ""]


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{COLUMNS[name]}: {size / 1e6:.2f} MB" for name, size in sizes.items())
