"""Time to an accuracy, side by side in one run: `python benchmarks/train.py DATA WEIGHTS [--json FILE]`; see README.md.

DATA: a folder of class folders (the apple leaves). WEIGHTS: torchvision's MobileNetV2, the .pth. Each way starts from
these weights, in a process of its own, on the same split and at the same size of pictures, and says its top-1 on the
validation part after each epoch. The clock starts with the process: imports, reading and validating count.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from report import machine

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
SIZE, EPOCHS, BATCH = 160, 5, 32  # what `eyespot train` chooses by itself for 2,500 pictures of 128 pixels
OURS = "eyespot train"


@dataclass(frozen=True)
class Way:
    """One way to a classifier. packages: what it needs; one that cannot be imported makes it absent."""

    name: str
    script: str
    packages: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


WAYS = (
    Way("timm and torch", "train_with_timm.py", ("timm", "torchvision")),
    Way("Keras, base frozen", "train_with_keras.py", ("keras", "torch", "scipy"), (), {"KERAS_BACKEND": "torch"}),
    Way("Keras, all layers", "train_with_keras.py", ("keras", "torch", "scipy"), ("all",), {"KERAS_BACKEND": "torch"}),
    Way(OURS, "", ("torch",)),
)


@dataclass
class Curve:
    """What one way reached: (seconds since its process began, processor seconds, top-1) after each validation."""

    points: list[tuple[float, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    load: tuple[float, float] = (0.0, 0.0)
    absent: str = ""

    @property
    def best(self) -> float:
        """The best top-1."""
        return max(top1 for _, _, top1 in self.points)

    def reached(self, top1: float) -> tuple[float, float] | None:
        """(seconds, processor seconds) when it first had at least this; None if it never had."""
        return next(((wall, cpu) for wall, cpu, value in self.points if value >= top1), None)


def main() -> None:
    """Prepare, train each way in turn, print."""
    asked = _arguments()
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="eyespot-benchmark-") as folder:
        home = Path(folder)
        _prepare(home, asked)
        wanted = asked.only or [way.name for way in WAYS if not way.arguments]
        curves: dict[str, Curve] = {}
        for way in (way for way in WAYS if way.name in wanted):
            enough = max((c.best for c in curves.values() if c.points), default=1.0) if asked.stop else 2.0
            curves[way.name] = _train(way, home, enough if way.name == OURS else 2.0)
        counts = [len([*(home / "pictures" / part).rglob("*.*")]) for part in ("train", "val")]
    facts = machine(before) | {"pictures": counts}
    print(render(curves, facts))
    if asked.json:
        asked.json.write_text(json.dumps({"machine": facts, "ways": {k: asdict(v) for k, v in curves.items()}}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--pictures", type=int, help="of so many only, for a quick look")
    parser.add_argument("--stop", action="store_true", help="end eyespot once it has reached what all others did")
    parser.add_argument("--only", nargs="+", metavar="WAY", choices=[way.name for way in WAYS])
    parser.add_argument("--json", type=Path, help="write every point to this file")
    return parser.parse_args()


def _prepare(home: Path, asked: argparse.Namespace) -> None:
    """The split, and the weights as each way reads them; outside all timings."""
    count = [str(asked.pictures)] if asked.pictures else []
    _run(sys.executable, PEERS / "split_pictures.py", asked.data, home, *count)
    eyespot = Path(sys.executable).parent / "eyespot"
    _run(eyespot, "import", asked.weights, "--out", home / "bundle")
    _run(eyespot, "export-weights", home / "bundle", "--as", "timm", "--out", home / "timm.safetensors")
    # Keras pads its strided layers as TensorFlow does; the tensors are the same.
    _run(eyespot, "import", asked.weights, "--set", "padding=same", "--out", home / "same")
    _run(eyespot, "export-weights", home / "same", "--as", "keras", "--out", home / "keras.weights.h5")


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} {command[1]} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _train(way: Way, home: Path, enough: float) -> Curve:
    """One way from its process's start to its end, or until its top-1 is enough."""
    code = f"import importlib.util as u, sys; sys.exit(next((n for n in {way.packages} if u.find_spec(n) is None), 0))"
    absent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.strip()
    if absent:
        return Curve(absent=f"{absent} is not installed")
    _say(f"{way.name} begins")
    curve, load = Curve(), os.getloadavg()[0]
    start = time.perf_counter()
    process = subprocess.Popen(
        _command(way, home),
        env=os.environ | way.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if way.script else None,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for top1 in _told(process.stdout):
        point = (time.perf_counter() - start, _processor_seconds(process.pid), top1)
        curve.points.append(point)
        _say(f"{way.name}: {point[0]:.0f} s, top-1 {100 * top1:.2f} %")
        if top1 >= enough:
            process.kill()
            break
    errors = process.stderr.read() if process.stderr else ""
    if not curve.points or (process.wait() and curve.best < enough):
        raise SystemExit(f"{way.name} ended with {process.returncode}:\n{errors[-2000:]}")
    curve.seconds, curve.load = time.perf_counter() - start, (load, os.getloadavg()[0])
    return curve


def _command(way: Way, home: Path) -> Sequence[str]:
    if way.script:
        numbers = [str(n) for n in (SIZE, EPOCHS, BATCH)]
        return [sys.executable, str(PEERS / way.script), str(home), *numbers, *way.arguments]
    eyespot = str(Path(sys.executable).parent / "eyespot")
    places = [str(home / "pictures"), "--out", str(home / "run"), "--model", str(home / "bundle")]
    return [eyespot, "train", *places, "--json"]


def _told(lines: Iterator[str]) -> Iterator[float]:
    """The top-1 of each line that is a validation's."""
    for line in lines:
        if line.startswith("{"):
            record = json.loads(line)
            if record.get("event", "epoch") in ("probe", "epoch"):
                yield record["top1"]


def _processor_seconds(session: int) -> float:
    """Of all processes of a session, ended children counted in; 0 where the system does not say."""
    total = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def render(curves: Mapping[str, Curve], facts: Mapping[str, Any]) -> str:
    """Markdown: each way's curve, and how much sooner eyespot had what it reached."""
    train, held = facts["pictures"]
    lines = [
        f"{train} pictures to learn from, {held} to validate on, {SIZE} pixels.",
        "",
        "| way | best top-1 | reached after | processor time | eyespot had that after | processor time | sooner |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    present = {name: curve for name, curve in curves.items() if not curve.absent}
    for name, curve in present.items():
        wall, cpu = curve.reached(curve.best) or (0.0, 0.0)
        row = f"| {name} | {100 * curve.best:.2f} % | {wall:.0f} s | {cpu:.0f} s |"
        ours = present[OURS].reached(curve.best) if OURS in present else None
        if name == OURS:
            lines.append(f"{row} | | |")
        elif ours is None:
            lines.append(f"{row} never | | |")
        else:
            ratio = f"{wall / ours[0]:.1f}×" + (f" ({cpu / ours[1]:.1f}× by processor)" if cpu and ours[1] else "")
            lines.append(f"{row} {ours[0]:.0f} s | {ours[1]:.0f} s | {ratio} |")
    lines += ["", "Top-1 after each validation:", ""]
    for name, curve in present.items():
        told = ", ".join(f"{wall:.0f} s {100 * top1:.2f} %" for wall, _, top1 in curve.points)
        lines.append(f"- {name}: {told}; in all {curve.seconds:.0f} s, load {curve.load[0]:.1f} → {curve.load[1]:.1f}.")
    lines += [f"- {name} is absent: {curve.absent}" for name, curve in curves.items() if curve.absent]
    lines += ["", f"Machine: {facts['cpu']}, {facts['cores']} cores, {facts['system']}, Python {facts['python']}."]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
