"""Measures on an Android device over adb, with ONNX Runtime's or LiteRT's own benchmark program.

Either program feeds random numbers and says nothing of its answers: only the network's time is measured, and a caution
says that the answers there were not compared. What they print and take as options is in their sources:
onnxruntime/test/perftest (command_args_parser.cc, performance_runner.cc) and tensorflow/lite/tools/benchmark.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from eyespot.core.machine import Conditions, Machine
from eyespot.core.processor import INSTRUCTIONS
from eyespot.core.timing import Caution, Measurement, Samples
from eyespot.errors import RuntimeFailure, UsageError
from eyespot.measure.cautions import Asked, judge
from eyespot.measure.latency import refuse_unverified
from eyespot.measure.record import USUAL, Effort, Way, record

FOLDER = "/data/local/tmp/eyespot"
ORT_TOOL, LITERT_TOOL = "onnxruntime_perf_test", "benchmark_model"
_SERIAL = re.compile(r"[\w.:-]*")
_FEWEST = 30  # processes of LiteRT's program, which prints one figure for all runs of a process


class Tool(NamedTuple):
    """A benchmark program: its kind, the file to copy there (None: it is there), what it runs (None: the bundle's)."""

    kind: str
    program: Path | None = None
    model: Path | None = None


ON_THE_PHONE = Tool(ORT_TOOL)


def tool_for(program: Path | None, model: Path | None) -> Tool:
    """Which of the two programs a file is, by its name. UsageError for another, and for a file that it cannot run."""
    name = ORT_TOOL if program is None and (model is None or model.suffix == ".onnx") else LITERT_TOOL
    if program is not None:
        kinds = [kind for kind in (ORT_TOOL, LITERT_TOOL) if kind in program.name]
        if not kinds or not program.is_file():
            raise UsageError(
                f"--tool {program}: ONNX Runtime's {ORT_TOOL} or LiteRT's {LITERT_TOOL}, built for Android, was needed"
            )
        name = kinds[0]
    if name == LITERT_TOOL and (model is None or model.suffix != ".tflite" or not model.is_file()):
        raise UsageError(f"{LITERT_TOOL} runs a .tflite file; name the one made of this bundle with --model-file")
    return Tool(name, program, model if name == LITERT_TOOL else None)


def measure_by_adb(
    ways: Sequence[Way],
    serial: str = "",
    *,
    tool: Tool = ON_THE_PHONE,
    effort: Effort = USUAL,
    step: Callable[[str], None] = lambda _: None,
) -> list[Measurement]:
    """The network alone of each way, in turns, on the phone that adb calls ``serial`` (empty: the only one).

    Every bundle is verified here first. Raises BundleError where one does not verify, UsageError for what cannot be,
    RuntimeFailure when adb or the program there fails.
    """
    if not _SERIAL.fullmatch(serial):
        raise UsageError(f"--on adb:{serial}: a serial number was needed, as `adb devices` lists them")
    if tool.model is not None and len(ways) > 1:
        raise UsageError("--model-file is one network; measure one bundle at a time with it")
    for way in ways:
        refuse_unverified(way)
    phone = _Phone(serial)
    step("copying")
    phone.shell(f"mkdir -p {FOLDER}")
    try:
        program = _push(phone, tool)
        models = []
        for number, way in enumerate(ways):
            source = tool.model or way.bundle.model
            models.append(f"{FOLDER}/model{number}{source.suffix}")
            phone.push(source, models[-1])
        return _measure(phone, ways, program, models, tool, effort, step)
    finally:
        phone.shell(f"rm -rf {FOLDER}", check=False)


def _push(phone: _Phone, tool: Tool) -> str:
    """Where the program lies on the phone. RuntimeFailure, with what to do, when it is not there."""
    if tool.program is not None:
        place = f"{FOLDER}/{tool.kind}"
        phone.push(tool.program, place)
        phone.shell(f"chmod 755 {place}")
        return place
    place = f"/data/local/tmp/{tool.kind}"
    if phone.shell(f"test -x {place} && echo yes", check=False).strip() != "yes":
        raise RuntimeFailure(f"there is no {place} on the phone; name a file to copy there with --tool")
    return place


def _measure(
    phone: _Phone,
    ways: Sequence[Way],
    program: str,
    models: Sequence[str],
    tool: Tool,
    effort: Effort,
    step: Callable[[str], None],
) -> list[Measurement]:
    threads = effort.threads or min(max(int(phone.number("nproc") or 1), 1), 4)
    run = _with_ort if tool.kind == ORT_TOOL else _with_litert
    turns: list[list[list[float]]] = [[] for _ in ways]
    peaks = [0] * len(ways)
    loads = [phone.load()]
    count = effort.turns if tool.kind == ORT_TOOL else max(effort.turns, _FEWEST)
    runs = [1] * len(ways)
    for turn in range(count + 1):  # the first finds out how long one takes, and is not kept
        for at, model in enumerate(models):
            times, peak = run(phone, program, model, threads, runs[at], effort.warmup)
            if turn:
                turns[at].append(times)
            elif tool.kind == ORT_TOOL:
                runs[at] = max(1, round(1e3 * effort.seconds / 2 / count / max(times[0], 1e-3)))
            peaks[at] = max(peaks[at], peak)
            step("turns")
    loads.append(phone.load())
    machine = phone.machine()
    conditions = Conditions(loads[0], loads[1])
    name = "onnxruntime" if tool.kind == ORT_TOOL else "litert"
    found = []
    for way, samples, peak in zip(ways, map(Samples.of, turns), peaks, strict=True):
        asked = Asked(effort.seconds, effort.warmup, threads, len(ways))
        doubts = [*judge([("network alone", samples)], conditions, machine, asked), _not_compared(tool.kind)]
        one = record(
            way,
            machine,
            conditions,
            doubts,
            threads=threads,
            network=samples,
            peak_memory_bytes=peak or None,
            place="adb",
        )
        found.append(replace(one, runtime=name, runtime_version=""))
    return found


def _not_compared(kind: str) -> Caution:
    seen = f"{kind} feeds random numbers, so the phone's answers were not compared with the bundle's"
    return Caution("not compared", seen, "run the goldens in your app once before you trust its labels")


def _with_ort(phone: _Phone, program: str, model: str, threads: int, runs: int, warmup: int) -> tuple[list[float], int]:
    """Milliseconds of every run, and peak bytes: the result file has a line ``name,seconds,peak bytes,load,number``."""
    result = f"{FOLDER}/result.csv"
    command = [program, "-I", "-e", "cpu", "-m", "times", "-r", str(runs + warmup), "-x", str(threads), model, result]
    said = phone.shell(f"cd {FOLDER} && rm -f {result} && LD_LIBRARY_PATH=. {shlex.join(command)} && cat {result}")
    rows = re.findall(r"^[^,\n]*,([\d.eE+-]+),(\d+),-?\d+,\d+$", said, re.MULTILINE)
    if len(rows) != runs + warmup:
        raise RuntimeFailure(f"{ORT_TOOL} gave {len(rows)} times, {runs + warmup} were needed: {_last(said)}")
    return [1e3 * float(seconds) for seconds, _ in rows[warmup:]], max(int(peak) for _, peak in rows)


def _with_litert(
    phone: _Phone, program: str, model: str, threads: int, runs: int, warmup: int
) -> tuple[list[float], int]:
    """Milliseconds of one run after warming up, and peak bytes: a process prints only the mean of its runs."""
    options = {
        "graph": model, "num_threads": threads, "num_runs": runs, "min_secs": 0, "warmup_runs": max(warmup, 1),
        "warmup_min_secs": 0,
    }  # fmt: skip
    said = phone.shell(shlex.join([program, *(f"--{name}={value}" for name, value in options.items())]) + " 2>&1")
    mean = re.search(r"Inference \(avg\): ([\d.eE+]+)", said)
    if mean is None:
        raise RuntimeFailure(f"{LITERT_TOOL} printed no 'Inference (avg)': {_last(said)}")
    held = re.search(r"overall=([\d.]+)", said)
    return [float(mean[1]) / 1e3], round(float(held[1]) * (1 << 20)) if held else 0


class _Phone:
    """One device, through adb."""

    def __init__(self, serial: str) -> None:
        self._adb = ["adb", *(["-s", serial] if serial else [])]

    def shell(self, command: str, *, check: bool = True) -> str:
        """What a command there prints."""
        return self._run(["shell", command], check=check)

    def push(self, source: Path, place: str) -> None:
        """Copies a file there."""
        self._run(["push", str(source), place], check=True)

    def number(self, command: str) -> float | None:
        """The first number that a command prints."""
        match = re.search(r"\d+(\.\d+)?", self.shell(command, check=False))
        return float(match[0]) if match else None

    def load(self) -> float | None:
        """The load average of one minute."""
        return self.number("cat /proc/loadavg")

    def machine(self) -> Machine:
        """What the phone is: its chip, not its owner."""
        flags = set(re.findall(r"\w+", self.shell("grep -m1 -i -E 'features|flags' /proc/cpuinfo", check=False)))
        chip = " ".join(self._property(f"ro.soc.{part}") for part in ("manufacturer", "model")).strip()
        cores = int(self.number("nproc") or 1)
        return Machine(
            processor=chip or self._property("ro.product.model") or "Android device",
            architecture=self._property("ro.product.cpu.abi"),
            instructions=tuple(name for name in INSTRUCTIONS if name in flags),
            cores=cores,
            cores_present=cores,
            core_limit=None,
            memory_bytes=1024 * int(self.number("grep MemTotal /proc/meminfo") or 0),
            governor=self.shell("cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", check=False).strip()
            or None,
            virtual=None,
            system=f"Android {self._property('ro.build.version.release')}".strip(),
            python="",
        )

    def _property(self, name: str) -> str:
        return self.shell(f"getprop {name}", check=False).strip()

    def _run(self, command: Sequence[str], *, check: bool) -> str:
        try:
            done = subprocess.run(
                [*self._adb, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise RuntimeFailure(
                f"adb cannot be started ({error.strerror}); install Android's platform tools"
            ) from None
        if done.returncode and check:
            raise RuntimeFailure(f"adb {command[0]} failed: {_last(done.stderr or done.stdout)}")
        return "" if done.returncode else done.stdout


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
