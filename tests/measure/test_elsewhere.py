"""Measuring elsewhere, against stand-ins: programs called ssh, scp and adb that do here what they would do there."""

import importlib.util
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from eyespot.errors import BundleError, RuntimeFailure, UsageError
from eyespot.measure.phone import LITERT_TOOL, ORT_TOOL, Tool, measure_by_adb, tool_for
from eyespot.measure.record import Effort, Way
from eyespot.measure.remote import measure_by_ssh, pack
from terminal import on_a_terminal

SHORT = Effort(seconds=0.05, turns=6, warmup=1, cold_starts=1, throughput=0.05, threads=1, roof=False)

# The other machine is this one; what it was told is written down.
SSH = """#!/bin/sh
echo "ssh $1" >> "$STANDIN/log"
[ "$1" = away ] && { echo "ssh: connect to host away port 22: No route to host" >&2; exit 255; }
echo "Welcome to the board"
exec sh -c "$2"
"""
SCP = """#!/bin/sh
echo "scp $3" >> "$STANDIN/log"
cp "$2" "${3#*:}"
"""
ADB = """#!/bin/sh
[ "$1" = -s ] && { echo "serial $2" >> "$STANDIN/log"; shift 2; }
verb=$1; shift
case $verb in
  push) mkdir -p "$STANDIN/phone"; cp "$1" "$STANDIN/phone/$(basename "$2")";;
  shell) echo "shell $1" >> "$STANDIN/log"
    case $1 in
      "getprop ro.soc.manufacturer") echo Google;;
      "getprop ro.soc.model") echo "Tensor G3";;
      "getprop ro.build.version.release") echo 15;;
      "getprop ro.product.cpu.abi") echo arm64-v8a;;
      *cpuinfo*) echo "Features : fp asimd asimddp i8mm bf16";;
      *MemTotal*) echo "MemTotal:       8000000 kB";;
      *loadavg*) echo "0.25 0.2 0.1 1/900 1234";;
      *scaling_governor*) echo schedutil;;
      nproc) echo 8;;
      test*) [ -n "$HAS_TOOL" ] && echo yes;;
      *perf_test*) [ -n "$BROKEN" ] && { echo "Load model failed"; exit 1; }
        n=$(echo "$1" | sed 's/.*-r \\([0-9]*\\).*/\\1/')
        for i in $(seq 0 $((n - 1))); do echo "model0,0.00${i}5,52428800,400,$i"; done;;
      *benchmark_model*) [ -n "$BROKEN" ] && { echo "ERROR: Failed to load"; exit 0; }
        echo "INFO: Inference timings in us: Init: 900, Warmup (avg): 4000, Inference (avg): 3456.5"
        echo "INFO: Memory footprint delta from the start of the tool (MB): init=5.5 overall=8.5";;
    esac;;
esac
"""


@pytest.fixture
def standin(tmp_path, monkeypatch):
    """Stand-ins first on PATH; what they were told lies in ``log``."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("scp", SCP), ("adb", ADB)):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A Python with numpy and onnxruntime and nothing else."""
    place = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(place)], check=True)
    [packages] = place.glob("lib/python*/site-packages")
    for name in ("numpy", "onnxruntime"):
        for found in Path(importlib.util.find_spec(name).origin).parents[1].glob(f"{name}*"):
            (packages / found.name).symlink_to(found)
    return place / "bin" / "python"


def left_behind(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith("eyespot-measure-")]


def test_ssh_needs_python_numpy_and_the_runtime_only(tiny, standin, bare):
    [one] = measure_by_ssh([Way(tiny)], "me@board.local", python=str(bare), effort=SHORT)
    assert one.place == "ssh"
    assert (one.bundle, one.runtime, one.threads) == ("tiny.test", "onnxruntime", 1)
    assert len(one.network.turns) == 6
    assert (one.latency, one.throughput) == (None, None)  # they need Pillow there
    assert len(one.cold.values) == 1
    assert one.peak_memory_bytes > 20 << 20
    log = (standin / "log").read_text()
    assert log.splitlines()[0] == "ssh me@board.local"
    assert "scp me@board.local:" in log
    assert left_behind(standin) == []
    assert "board" not in json.dumps(one.to_json())


def test_ssh_runs_nothing_of_the_folder_it_arrives_in(tiny, standin, bare, monkeypatch):
    home = standin / "home"
    home.mkdir()
    for name in ("json", "tempfile", "zipfile", "numpy", "eyespot", "onnxruntime"):
        (home / f"{name}.py").write_text(f"open({str(standin / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(home)
    [one] = measure_by_ssh([Way(tiny)], "board", python=str(bare), effort=SHORT)
    assert len(one.cold.values) == 1
    assert not (standin / "ran").exists()


def test_ssh_measures_all_where_pillow_is(tiny, standin, examples):
    picture = (examples / "chelsea.jpg").read_bytes()
    one, two = measure_by_ssh([Way(tiny), Way(tiny)], "board", python=sys.executable, effort=SHORT, picture=picture)
    assert len(one.latency.turns) == len(two.latency.turns) == 6
    assert len(one.throughput.values) == 6
    assert one.picture.bytes == len(picture)
    assert left_behind(standin) == []


def test_ssh_refuses_wrong_answers_there(tiny, standin, bare, monkeypatch):
    def spoiled(bundles, effort, picture):
        class Spoiled(type(bundles[0])):
            def goldens(self):
                goldens = super().goldens()
                return type(goldens)(goldens.jpeg, goldens.pixels, -goldens.logits)

        return pack([Spoiled(b.path, b.card, b.labels) for b in bundles], effort, picture)

    monkeypatch.setattr("eyespot.measure.remote.pack", spoiled)
    with pytest.raises(RuntimeFailure, match="does not verify there"):
        measure_by_ssh([Way(tiny)], "board", python=str(bare), effort=SHORT)
    assert left_behind(standin) == []


@pytest.mark.parametrize(
    ("host", "python", "error", "message"),
    [
        ("-oProxyCommand=x", "python3", UsageError, "a host that ssh knows"),
        ("a b", "python3", UsageError, "a host that ssh knows"),
        ("away", "python3", RuntimeFailure, "No route to host"),
        ("board", "no-such-python", RuntimeFailure, "not found"),
    ],
)
def test_ssh_that_cannot_work(tiny, standin, host, python, error, message):
    with pytest.raises(error, match=message) as raised:
        measure_by_ssh([Way(tiny)], host, python=python, effort=SHORT)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"python": [3, 9], "numpy": "1", "onnxruntime": "1"}, "has Python 3.9; 3.11 or newer was needed"),
        (
            {"python": [3, 12], "numpy": "2.0", "onnxruntime": None},
            "has no onnxruntime; run there: fake -m pip install",
        ),
        ({"python": [3, 12], "numpy": "2.0", "onnxruntime": "1", "folder": "/tmp; rm -rf ~"}, "offers the folder"),
        ({"python": [3, 12], "numpy": "2.0", "onnxruntime": "1", "folder": "/home"}, "offers the folder"),
        (["what"], "a Python was needed"),
    ],
)
def test_what_is_missing_there_is_said(tiny, standin, said, message):
    folder = standin / "eyespot-measure-fake"
    folder.mkdir()
    if isinstance(said, dict):
        said = {"folder": str(folder), **said}
    fake = standin / "programs" / "fake"
    fake.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\n")
    fake.chmod(stat.S_IRWXU)
    with pytest.raises(RuntimeFailure, match=message):
        measure_by_ssh([Way(tiny)], "board", python="fake", effort=SHORT)
    assert folder.exists() == ("pip" not in message and "3.9" not in message)


def test_no_other_runtime_over_ssh(tiny, standin):
    with pytest.raises(UsageError, match="not reference"):
        measure_by_ssh([Way(tiny, "reference")], "board", effort=SHORT)


def test_no_ssh_at_all(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeFailure, match="OpenSSH"):
        measure_by_ssh([Way(tiny)], "board", effort=SHORT)
    with pytest.raises(RuntimeFailure, match="platform tools"):
        measure_by_adb([Way(tiny)], effort=SHORT)


def test_adb_with_onnx_runtimes_program(tiny, standin):
    program = standin / ORT_TOOL
    program.write_text("")
    one, two = measure_by_adb([Way(tiny), Way(tiny)], "R5CT", tool=tool_for(program, None), effort=SHORT)
    assert (one.place, one.runtime) == ("adb", "onnxruntime")
    assert len(one.network.turns) == len(two.network.turns) == 6
    assert one.network.values[0] == 1.5  # the second line of its file: one run warmed up
    assert one.peak_memory_bytes == 52428800
    assert one.machine.processor == "Google Tensor G3"
    assert one.machine.instructions == ("asimd", "asimddp", "i8mm", "bf16")
    assert (one.machine.system, one.machine.cores, one.machine.memory_bytes) == ("Android 15", 8, 8_192_000_000)
    assert {"not compared", "governor"} <= {caution.kind for caution in one.cautions}
    log = (standin / "log").read_text()
    assert "serial R5CT" in log
    assert f"{ORT_TOOL} -I -e cpu -m times" in log
    assert log.splitlines()[-1] == "shell rm -rf /data/local/tmp/eyespot"
    assert {path.name for path in (standin / "phone").iterdir()} == {ORT_TOOL, "model0.onnx", "model1.onnx"}


def test_the_verb_reaches_a_phone(tiny, standin, monkeypatch):
    monkeypatch.setenv("HAS_TOOL", "1")
    short = ["--seconds", "0.01", "--turns", "6", "--warmup", "1", "--threads", "2"]
    command = [sys.executable, "-m", "eyespot", "measure", str(tiny.path), "--on", "adb:R5CT", *short]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["place"], data["latency_ms"], data["threads"]) == ("adb", None, 2)
    assert "caution: onnxruntime_perf_test feeds random numbers" in done.stderr
    code, text = on_a_terminal(command)
    assert code == 0
    assert "on onnxruntime, 2 threads, by adb" in text
    assert "Google Tensor G3" in text


def test_adb_with_literts_program(tiny, standin):
    program, model = standin / LITERT_TOOL, standin / "tiny.tflite"
    for file in (program, model):
        file.write_text("")
    [one] = measure_by_adb([Way(tiny)], tool=tool_for(program, model), effort=SHORT)
    assert one.runtime == "litert"
    assert set(one.network.values) == {3.4565}
    assert one.peak_memory_bytes == round(8.5 * (1 << 20))
    with pytest.raises(UsageError, match="one bundle at a time"):
        measure_by_adb([Way(tiny), Way(tiny)], tool=tool_for(program, model), effort=SHORT)


@pytest.mark.parametrize("kind", [ORT_TOOL, LITERT_TOOL])
def test_a_program_that_fails_there(tiny, standin, monkeypatch, kind):
    monkeypatch.setenv("BROKEN", "1")
    monkeypatch.setenv("HAS_TOOL", "1")
    model = standin / "tiny.tflite"
    model.write_text("")
    with pytest.raises(RuntimeFailure, match=r"failed|Failed"):
        measure_by_adb([Way(tiny)], tool=Tool(kind, None, model if kind == LITERT_TOOL else None), effort=SHORT)
    assert (standin / "log").read_text().splitlines()[-1] == "shell rm -rf /data/local/tmp/eyespot"


def test_a_phone_without_the_program(tiny, standin):
    with pytest.raises(RuntimeFailure, match="copy there with --tool"):
        measure_by_adb([Way(tiny)], effort=SHORT)
    with pytest.raises(UsageError, match="adb devices"):
        measure_by_adb([Way(tiny)], "x; rm", effort=SHORT)


@pytest.mark.parametrize(
    ("program", "model", "message"),
    [
        ("other", None, "built for Android"),
        ("absent/benchmark_model", None, "built for Android"),
        (LITERT_TOOL, None, "runs a .tflite file"),
        (LITERT_TOOL, "x.onnx", "runs a .tflite file"),
        (None, "absent.tflite", "runs a .tflite file"),
    ],
)
def test_a_tool_that_cannot_be(tmp_path, program, model, message):
    for name in ("other", LITERT_TOOL, "x.onnx"):
        (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match=message):
        tool_for(tmp_path / program if program else None, tmp_path / model if model else None)
    assert tool_for(None, None) == Tool(ORT_TOOL)


def test_nothing_travels_that_does_not_verify(tmp_path, standin):
    from conftest import make_bundle
    from eyespot.bundle.store import write

    one, other = make_bundle(tmp_path / "one", seed=0), make_bundle(tmp_path / "other", seed=1)
    parts = {"weights": one.weights(), "labels": one.labels, "goldens": one.goldens()}
    wrong = write(tmp_path / "wrong", one.card, model=other.model.read_bytes(), **parts)
    with pytest.raises(BundleError, match="does not verify"):
        measure_by_ssh([Way(wrong)], "board", effort=SHORT)
    with pytest.raises(BundleError, match="does not verify"):
        measure_by_adb([Way(wrong)], effort=SHORT)
    assert not (standin / "log").exists()
