"""measure as a person and as a pipe see it."""

import json
import os
import subprocess
import sys

import pytest

from conftest import make_bundle, make_pictures
from terminal import on_a_terminal

SHORT = ("--seconds", "0.05", "--turns", "6", "--warmup", "1", "--threads", "1")


def eyespot(*args):
    done = subprocess.run(
        [sys.executable, "-m", "eyespot", *map(str, args)], capture_output=True, check=False, text=True
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_pipe_gets_the_promised_keys(tiny, tmp_path):
    picture = make_pictures(tmp_path, 1)[0]
    done = eyespot("measure", tiny.path, *SHORT, "--quick", "--picture", picture, "--threads", 64)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert {"median", "mad", "p95", "p99", "samples"} <= data["latency_ms"].keys()
    assert data["latency_ms"]["count"] == len(data["latency_ms"]["samples"])
    assert data["picture"] == {"bytes": picture.stat().st_size, "height": 40, "width": 40}
    assert data["cold_start_ms"] is None
    assert data["machine"]["cores"] >= 1
    assert data["threads"] == 64
    assert "caution: 64 threads shared" in done.stderr


def test_two_runtimes_and_their_ratio(tiny, tmp_path):
    plot = tmp_path / "times.svg"
    runtimes = ("--runtime", "onnxruntime", "--runtime", "reference")
    done = eyespot("measure", tiny.path, *SHORT, "--quick", *runtimes, "--json", "--plot", plot)
    first, second = map(json.loads, done.stdout.splitlines())
    assert "against" not in first
    assert second["against"]["runtime"] == "onnxruntime"
    low, high = second["against"]["latency"]["interval"]
    assert low <= second["against"]["latency"]["ratio"] <= high
    assert plot.read_text().startswith("<svg")
    assert [file.name for file in tmp_path.iterdir()] == ["times.svg"]


def test_a_terminal_gets_a_table(tiny, tmp_path):
    other = make_bundle(tmp_path / "other", name="other.test", seed=3)
    command = ["measure", str(tiny.path), str(other.path), *SHORT, "--cold-starts", "1", "--layers"]
    code, text = on_a_terminal([sys.executable, "-m", "eyespot", *command], env=dict(os.environ))
    assert code == 0
    for word in ("tiny.test, float32, on onnxruntime", "JPEG to label", "cold start", "peak memory", "MACs",
                 "times as long as tiny.test", "throughput", "320×213, 18 kB",
                 "of the peak", "block13.pointwise.act", "bound by",
                 "the roof with 1 thread: "):  # fmt: skip
        assert word in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--plot", "times.png"], "a name that ends in .svg was needed"),
        (["--picture", "nowhere.jpg"], "nowhere.jpg cannot be read"),
    ],
)
def test_what_cannot_be(tiny, args, message):
    done = eyespot("measure", tiny.path, *SHORT, "--quick", *args)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nothing_that_does_not_verify(tmp_path):
    from eyespot.bundle.store import write

    one, other = make_bundle(tmp_path / "one", seed=0), make_bundle(tmp_path / "other", seed=1)
    write(tmp_path / "wrong", one.card, weights=one.weights(), labels=one.labels, model=other.model.read_bytes(),
          goldens=one.goldens())  # fmt: skip
    done = eyespot("measure", tmp_path / "wrong", *SHORT, "--quick")
    assert done.returncode == 1
    assert "does not verify" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--on", "moon"], "ssh:HOST, adb or adb:SERIAL was needed"),
        (["--on", "ssh:"], "a host that ssh knows"),
        (["--on", "adb", "--runtime", "reference"], "takes no --runtime"),
        (["--on", "adb", "--tool", "hammer"], "built for Android"),
    ],
)
def test_elsewhere_that_cannot_be(tiny, args, message):
    done = eyespot("measure", tiny.path, *SHORT, "--quick", *args)
    assert done.returncode == 2
    assert message in done.stderr
