"""The same levels on every processor: kernels that add products in 16 bits, in numpy, here, and under an emulator."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import saturation
from eyespot.run.ort import saturates, session_options
from quantizing import pictures

TESTS = Path(__file__).resolve().parents[2]


def operands(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (16, 64), np.uint8), rng.integers(-127, 128, (64, 8), np.int8)


def test_pairs_in_16_bits_lose_what_is_beyond_and_unsigned_weights_lose_nothing():
    x, weight = operands()
    true = saturation.exact(x, weight)
    lost = np.abs(saturation.saturated(x, weight) - true)
    assert lost.max() > 0.1 * np.abs(true).max()  # the danger: not the last digits
    assert np.array_equal(saturation.unsigned(x, weight), true)
    small = np.clip(weight, -64, 64)  # pairs of such weights fit: 2 · 255 · 64 = 32,640
    assert np.array_equal(saturation.saturated(x, small), saturation.exact(x, small))


def test_onnx_runtime_s_kernels_mean_one_or_the_other():
    """What they add where nobody asks for more is one of the two meanings, and ``saturates`` says which."""
    from eyespot.lower.onnx_file import OnnxFile

    x, weight = operands(1)
    file = OnnxFile("product")
    # Zero points are named: ONNX Runtime 1.28 aborts where it makes weights unsigned that have none.
    constants = [file.tensor("w", weight), file.level(0), file.tensor("zero", np.zeros((), np.int8))]
    file.input("x", "uint8", ("n", 64))
    file.node("MatMulInteger", ["x", *constants], "sum", name="sum")
    file.output("sum", "int32", ("n", 8))
    model = file.to_bytes(producer="", version="", metadata={})
    meaning = saturation.saturated if saturates() else saturation.exact
    for options, meant in ((onnxruntime.SessionOptions(), meaning), (session_options(1), saturation.exact)):
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        assert np.array_equal(session.run(None, {"x": x})[0], meant(x, weight))


def test_every_kind_of_layer_gives_the_levels_that_are_meant():
    network, preprocess = saturation.quantized_network()
    assert network.float_layers() == []
    ours = saturation.levels_apart(network, preprocess, session_options(1))
    assert len(ours) == 9
    assert set(ours.values()) == {0}
    plain = saturation.levels_apart(network, preprocess, onnxruntime.SessionOptions())
    assert (max(plain.values()) > 10) is saturates()


def test_the_question_costs_nothing_where_kernels_are_exact(monkeypatch):
    """Unsigned weights are slower with VNNI, so the option is set where it is needed alone."""
    key = "session.x64quantprecision"
    for answer in (True, False):
        monkeypatch.setattr("eyespot.run.ort.saturates", lambda answer=answer: answer)
        options = session_options(1)
        if answer:
            assert options.get_session_config_entry(key) == "1"
        else:
            with pytest.raises(RuntimeError):
                options.get_session_config_entry(key)


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["Haswell", "EPYC-Milan"])
def test_on_an_emulated_processor_without_vnni(processor):
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("needs the emulator qemu-x86_64 (Debian: qemu-user)")
    done = subprocess.run(
        [emulator, "-cpu", processor, sys.executable, "-m", "saturation"],
        cwd=TESTS, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["saturates"]
    assert max(found["plain"].values()) > 10
    assert set(found["eyespot"].values()) == {0}


def test_pictures_are_bright_enough_to_saturate():
    """A test's own test: with dark pictures no pair would reach 16 bits."""
    assert np.quantile(pictures(2, 32, seed=5), 0.9) > 170
