"""Side by side with the usual ways, in one run: `python benchmarks/classify.py [--json FILE]`; see README.md.

Every way lives in its own process, started by `peers/`, and they take turns, so that a busy moment of the machine hits
all of them and the ratios hold. This process imports nothing heavy: a child's ru_maxrss counts what its parent held.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from report import Figures, machine, put, render, render_readme, render_search

HERE = Path(__file__).resolve().parent
PICTURES = ("small", "large", "detailed")
# Installed libraries have their bytecode on disk; so shall an editable checkout, whatever the caller's shell says.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
SPIN = "while True: pass"
PHOTOGRAPHS = ("../../shared/assets/photos/dog.jpg", "../examples/rocket.jpg")


@dataclass(frozen=True)
class Way:
    """One way from bytes to a label: its script in `peers/`, its environment, whether it does all of the job."""

    name: str
    script: str
    environment: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True


WAYS = (
    Way("eyespot", "with_eyespot.py"),
    Way("eyespot float32", "with_eyespot.py", {"BUNDLE": "eyespot-float32"}),
    Way("onnxruntime", "with_onnxruntime.py"),
    Way("timm", "with_timm.py"),
    Way("transformers", "with_transformers.py"),
    Way("keras-torch", "with_keras.py", {"KERAS_BACKEND": "torch"}),
    Way("keras-tensorflow", "with_keras.py", {"KERAS_BACKEND": "tensorflow"}),
    Way("floor: decode", "floor.py", {"FLOOR": "decode"}, whole=False),
    Way("floor: network", "floor.py", {"FLOOR": "network"}, whole=False),
)


class Worker:
    """A long-lived child that answers one JSON request per line."""

    def __init__(self, way: Way, python: str, home: Path) -> None:
        self.process = subprocess.Popen(
            _command(way, python, home, "--serve"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT | way.environment,
            text=True,
        )

    def ask(self, **request: object) -> dict[str, object]:
        """The worker's answer; SystemExit when it died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with {self.process.wait()} at {request}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the child."""
        self.process.communicate()


def main() -> None:
    """Build, measure, print."""
    asked = _arguments()
    pythons = dict(pair.split("=", 1) for pair in asked.python)
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="eyespot-benchmark-") as folder:
        home = Path(folder)
        (home / "labels.txt").write_text("".join(f"class {index}\n" for index in range(1001)))
        photograph = asked.photograph or next(p for p in (HERE / q for q in PHOTOGRAPHS) if p.exists())
        subprocess.run([sys.executable, HERE / "peers/pictures.py", photograph, home], check=True)
        wanted = {*asked.only, "eyespot"} if asked.only else {way.name for way in WAYS}
        ways = [way for way in WAYS if way.name in wanted or not way.whole]
        figures = {way.name: Figures(way.whole) for way in ways}
        for way in ways:
            _build(way, pythons.get(way.name, sys.executable), home, figures[way.name])
        ways = [way for way in ways if not figures[way.name].absent]
        children = {way.name: (way, pythons.get(way.name, sys.executable)) for way in ways}
        _take_turns(children, home, figures, rounds=asked.rounds)
        _cold_starts(children, home, figures, rounds=asked.cold)
        searched = _search(pythons.get("eyespot", sys.executable), home, rounds=asked.rounds)
        sizes = {name: (home / f"{name}.jpg").stat().st_size for name in PICTURES}
    facts = machine(before) | {"picture_bytes": sizes, "photograph": Path(photograph).name}
    tables = render(figures, facts) + "\n\n" + render_search(searched)
    print(tables)
    if asked.write:
        put(HERE / "RESULTS.md", "classify", tables)
        put(HERE.parent / "README.md", "classify", render_readme(figures, facts))
    if asked.json:
        ways = {name: one.to_json() for name, one in figures.items()}
        asked.json.write_text(json.dumps({"machine": facts, "ways": ways, "threads": searched}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="turns that each way takes; fewer is quicker")
    parser.add_argument("--cold", type=int, default=5, help="cold starts of each way")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md and README.md")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WAY",
        choices=[way.name for way in WAYS if way.whole],
        help="these, eyespot and the floor",
    )
    parser.add_argument("--photograph", type=Path, help="make the pictures from this one")
    parser.add_argument(
        "--python", action="append", default=[], metavar="WAY=PATH", help="the interpreter that has this way's library"
    )
    return parser.parse_args()


def _command(way: Way, python: str, home: Path, *rest: str) -> list[str]:
    return [python, "-W", "default", str(HERE / "peers" / way.script), str(home), *rest]


def _build(way: Way, python: str, home: Path, figures: Figures) -> None:
    done = subprocess.run(
        _command(way, python, home, "--build"),
        env=ENVIRONMENT | way.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{way.name} cannot be built:\n{done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    figures.absent = answer.get("absent", "")
    figures.versions = answer.get("versions", {})


def _take_turns(children: Mapping[str, tuple[Way, str]], home: Path, figures: dict[str, Figures], rounds: int) -> None:
    workers = {name: Worker(way, python, home) for name, (way, python) in children.items()}
    for turn in range(rounds + 1):
        for name, worker in workers.items():
            for picture in PICTURES:
                times = 10 if picture == "small" else 4
                answer = worker.ask(do="classify", picture=str(home / f"{picture}.jpg"), times=times)
                if turn:  # the first turn warms up, and so does the first picture of every turn
                    figures[name].seconds.setdefault(picture, []).append(answer["seconds"][1:])  # type: ignore[index]
        _say(f"turn {turn} of {rounds}")
    for name, worker in workers.items():
        figures[name].peak_bytes = worker.ask(do="peak")["peak_bytes"]  # type: ignore[assignment]
    folders = max(1, rounds // 3)
    for turn in range(folders + 1):
        for name, worker in workers.items():
            if children[name][0].whole:
                answer = worker.ask(do="folder", path=str(home / "folder"), pictures=200 if turn else 32)
                if turn:
                    figures[name].rates.append(answer["pictures"] / answer["seconds"])  # type: ignore[operator]
        _say(f"folder {turn} of {folders}")
    for worker in workers.values():
        worker.close()


def _cold_starts(children: Mapping[str, tuple[Way, str]], home: Path, figures: dict[str, Figures], rounds: int) -> None:
    picture = str(home / "small.jpg")
    for turn in range(rounds + 1):
        for name, (way, python) in children.items():
            if not way.whole:
                continue
            command = _command(way, python, home, "--once", picture)
            if way.script == "with_eyespot.py":
                bundle = home / way.environment.get("BUNDLE", "eyespot")
                command = [str(Path(python).parent / "eyespot"), "classify", picture, "--model", str(bundle)]
            start = time.perf_counter()
            process = subprocess.Popen(
                command, env=ENVIRONMENT | way.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert process.stdout is not None
            label = process.stdout.readline()
            seconds = time.perf_counter() - start
            process.stdout.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode or not label:
                raise SystemExit(f"{command} ended with {process.returncode} and said {label!r}")
            if turn:  # the first start fills the file cache
                figures[name].cold.append(seconds)
                figures[name].cold_processor.append(usage.ru_utime + usage.ru_stime)
                figures[name].cold_peak_bytes = max(figures[name].cold_peak_bytes, usage.ru_maxrss * _rss_unit())
        _say(f"cold start {turn} of {rounds}")


def _search(python: str, home: Path, rounds: int) -> dict[str, dict[str, list[list[float]]]]:
    """{quiet or busy: {setting: seconds of each image, turn by turn}}: eyespot by the number of threads in a call.

    Busy: another program computes on every second core meanwhile. Every setting is a process of its own, and they take
    turns; the first images of each, among which eyespot looks for the better number, are not counted.
    """
    every = str(min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8))
    settings = {"found while it works": "", "1 thread": "1", f"{every} threads": every}
    found: dict[str, dict[str, list[list[float]]]] = {}
    for load in ("quiet", "busy"):
        busy = (int(every) + 1) // 2 if load == "busy" else 0
        spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(busy)]
        try:
            way = WAYS[0]
            workers = {
                name: Worker(replace(way, environment={"THREADS": threads} if threads else {}), python, home)
                for name, threads in settings.items()
            }
            found[load] = {name: [] for name in settings}
            for turn in range(-6, rounds):
                for name, worker in workers.items():
                    answer = worker.ask(do="classify", picture=str(home / "small.jpg"), times=10)
                    if turn >= 0:
                        found[load][name].append(answer["seconds"][1:])  # type: ignore[index]
            for worker in workers.values():
                worker.close()
        finally:
            _end(spinning)
        _say(f"threads, {load}")
    return found


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _rss_unit() -> int:
    return 1 if sys.platform == "darwin" else 1024


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
