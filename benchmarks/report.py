"""What a benchmark found, every sample kept, and its table."""

import os
import platform
import re
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_README = {
    "eyespot": "eyespot (int8, its default)",
    "eyespot float32": "eyespot, float32",
    "onnxruntime": "Pillow + ONNX Runtime",
    "timm": "timm + torch",
    "transformers": "transformers",
    "keras-tensorflow": "Keras on TensorFlow",
}
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
    names, vnni = [], ""
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text()
        names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
        vnni = " with VNNI" if re.search(r"\b(avx512_vnni|avx_vnni)\b", text) else " without VNNI"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": (names[0] if names else platform.processor() or platform.machine()) + vnni,
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


def render_readme(figures: Mapping[str, Figures], facts: Mapping[str, Any]) -> str:
    """Markdown for the README: the ways that people know, and fewer columns."""
    present = {name: one for name, one in figures.items() if not one.absent and name in _README}
    ours = present["eyespot"]
    lines = [
        f"MobileNetV2 1.0 side by side in one run on {facts['cores']} cores ({facts['cpu']}), from a file's bytes",
        "to its label; in brackets how many times eyespot's. All of it, and what limits it, is in",
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        "",
        "| way | 640×427 JPEG | 12 megapixels, 1.2 MB | cold start | peak memory | folder |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, one in present.items():
        cells = [f"{one.milliseconds(image):.3g} ms{_times(_ratio(one, ours, image))}" for image in ("small", "large")]
        cold, ours_cold = statistics.median(one.cold), statistics.median(ours.cold)
        cells.append(f"{cold:.2g} s{_times(cold / ours_cold)}")
        cells.append(f"{one.peak_bytes / 1e6:.0f} MB{_times(one.peak_bytes / ours.peak_bytes)}")
        cells.append(f"{statistics.median(one.rates):.0f} /s")
        lines.append(f"| {_README[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def put(path: Path, name: str, text: str) -> None:
    """Puts a text between a file's marks ``<!-- name -->`` and ``<!-- /name -->``."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not mark or not end:
        raise SystemExit(f"{path.name} has no <!-- {name} --> … <!-- /{name} -->; put them where the table belongs")
    path.write_text(f"{before}{mark}{text}\n{end}{after}", encoding="utf-8")


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
