"""A whole measurement: what it holds, what it refuses, what a fresh process is."""

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from measurements import measurement

from conftest import make_bundle
from eyespot.bundle.store import read
from eyespot.core.cost import cost
from eyespot.core.timing import Measurement, Samples
from eyespot.errors import BundleError, PictureError, RuntimeFailure, UsageError
from eyespot.measure import fresh as fresh_file
from eyespot.measure.fresh import fresh
from eyespot.measure.latency import measure, refuse_unverified
from eyespot.measure.plot import plot
from eyespot.measure.record import Effort, Way

SHORT = Effort(seconds=0.05, turns=6, warmup=1, cold_starts=0, throughput=0, threads=1, roof=False)


def test_everything_is_measured(tiny):
    told = []
    effort = Effort(seconds=0.05, turns=6, warmup=1, cold_starts=1, throughput=0.05, threads=1, roof=False)
    [one] = measure([Way(tiny)], effort=effort, step=told.append)
    costs = cost(tiny.card.graph)
    assert (one.macs, one.parameters) == (costs.macs, costs.parameters)
    assert one.size_bytes == sum(file.stat().st_size for file in tiny.path.iterdir())
    assert one.model_bytes < one.size_bytes
    assert len(one.network.turns) == len(one.latency.turns) == len(one.throughput.turns) == 6
    assert len(one.cold.values) == 1
    assert one.peak_memory_bytes > 20 << 20
    assert one.picture.bytes == len(tiny.goldens().jpeg)
    assert {"warm", "turns", "throughput", "cold starts"} <= set(told)
    assert Measurement.from_json(json.loads(json.dumps(one.to_json()))) == Measurement.from_json(one.to_json())


def test_two_runtimes_take_the_same_turns(tiny):
    fast, slow = measure([Way(tiny), Way(tiny, "reference")], effort=SHORT)
    assert len(fast.network.turns) == len(slow.network.turns)
    assert (fast.runtime, slow.runtime) == ("onnxruntime", "reference")
    assert fast.cold is None
    assert fast.throughput is None
    assert fast.conditions == slow.conditions


def test_a_bundle_that_does_not_verify_is_refused(tmp_path):
    """The file of one network beside the goldens of another, the hashes all right."""
    from eyespot.bundle.store import write

    one, other = make_bundle(tmp_path / "one", seed=0), make_bundle(tmp_path / "other", seed=1)
    wrong = write(
        tmp_path / "wrong",
        one.card,
        weights=one.weights(),
        labels=one.labels,
        model=other.model.read_bytes(),
        goldens=one.goldens(),
    )
    with pytest.raises(BundleError, match=r"does not verify on onnxruntime \(network: model.onnx is not"):
        measure([Way(one), Way(wrong)], effort=SHORT)
    refuse_unverified(Way(one))


def test_what_cannot_be_measured(tiny, tmp_path):
    with pytest.raises(UsageError, match="nothing to measure"):
        measure([])
    with pytest.raises(PictureError):
        measure([Way(tiny)], effort=SHORT, picture=b"no picture")
    with pytest.raises(UsageError, match="seconds is 0"):
        Effort(seconds=0)
    with pytest.raises(UsageError, match="threads"):
        Effort(threads=0)
    copy = tmp_path / "copy"
    shutil.copytree(tiny.path, copy)
    (copy / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError):
        read(copy)


def test_memory_is_the_process_own():
    """This process holds far more than the one that is measured, and it does not show."""
    ballast = bytearray(300 << 20)
    ballast[:: 1 << 12] = b"x" * len(ballast[:: 1 << 12])
    small = fresh([sys.executable, "-I", "-S", "-c", "print(1)"], times=2)
    large = fresh([sys.executable, "-I", "-S", "-c", "x = b'x' * (100 << 20); print(1)"], times=1)
    assert len(small.milliseconds) == 2
    assert small.peak_bytes < 60 << 20
    assert large.peak_bytes > 100 << 20
    del ballast


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "pass"])
def test_a_fresh_process_that_fails(code):
    with pytest.raises(RuntimeFailure, match="no label"):
        fresh([sys.executable, "-I", "-S", "-c", code], times=1)


def test_no_fresh_process_where_the_system_cannot(tiny, monkeypatch):
    monkeypatch.setattr("eyespot.measure.latency.measurable", lambda: False)
    [one] = measure(
        [Way(tiny)], effort=Effort(seconds=0.05, turns=6, throughput=0, cold_starts=3, threads=1, roof=False)
    )
    assert one.cold is None
    assert fresh_file.measurable() is True


def test_a_fresh_process_names_prepared_pixels_too(tiny, tmp_path):
    import numpy as np

    pixels = tmp_path / "pixels.npy"
    np.save(pixels, tiny.goldens().pixels[:1])
    program = [sys.executable, "-m", "eyespot.measure.once", str(tiny.path), "onnxruntime", "1", str(pixels)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(tiny.goldens().logits[0].argmax())


def test_the_plot_shows_every_sample():
    one = measurement([[1.0, 1.1], [1.2, 50.0]], latency=Samples.of([[2.0], [2.2]]))
    other = measurement([[0.0, 3.0]], bundle="a<b&c")
    page = ET.fromstring(plot([one, other]))
    circles = page.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 4 + 2 + 2
    assert all(0 <= float(c.get("cx")) <= float(page.get("width")) for c in circles)
    assert any("a<b&c" in (text.text or "") for text in page.iter())


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.0, 0.0], [1e-3, 1e4], [3.0, 3.01]])
def test_the_plot_of_any_range(values):
    ET.fromstring(plot([measurement([values])]))


def test_a_loaded_machine_is_said_to_be_one(tiny):
    """A program on every core, and the record says so."""
    from eyespot.core.cores import cores
    from eyespot.measure.machine import look

    if look().busy is None:
        pytest.skip("this system does not count what its cores do")
    busy = "print(flush=True)\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) for _ in range(cores())]
    try:
        for other in others:
            other.stdout.readline()  # it has begun
        [one] = measure([Way(tiny)], effort=SHORT)
    finally:
        for other in others:
            other.kill()
            other.communicate()
    [caution] = [caution for caution in one.cautions if caution.kind == "load"]
    assert one.conditions.others > 0.05
    assert "other programs took" in caution.seen
