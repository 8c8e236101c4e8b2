"""ExecuTorch's file, in float32 and in 8 bits: it answers as the bundle does, and a broken one is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", exc_type=ImportError)
pytest.importorskip("executorch", exc_type=ImportError)

from conftest import make_bundle
from eyespot.bundle.build import normalise
from eyespot.bundle.build_quantized import build_quantized
from eyespot.core.pixels import Preprocess, torchvision_preprocess
from eyespot.core.sketch import Sketch
from eyespot.errors import ExportError, GraphError, RuntimeFailure
from eyespot.export.export import export
from eyespot.learn.executorch import quantized_to_executorch, to_executorch
from eyespot.lower.int8.fit import Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from eyespot.run.executorch import ExecutorchSession
from eyespot.run.predict import load
from quantizing import pictures, quantized
from tolerances import QUANTIZED_LOGITS, SAME_WEIGHTS, relative_error

pytestmark = [
    pytest.mark.slow,  # ExecuTorch's converter takes ten seconds for a network, however small
    pytest.mark.filterwarnings("ignore"),  # torch's and ExecuTorch's, of each other
]
UNEVEN = Preprocess(
    (9, 14), "stretch", channels="bgr", scale=1 / 250, mean=(0.5, 0.25, 0.1), std=(0.2, 0.3, 0.5)
)  # fmt: skip


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "out"
    return export(tiny, "executorch", out, writer=to_executorch, seconds=0.01)


def check_example(out, bundle):
    program = subprocess.run([sys.executable, str(out / "example.py")], capture_output=True, text=True, check=False)
    assert program.returncode == 0, program.stderr
    with load(bundle.path) as model:
        label = model(out / "golden.jpg").label
    assert program.stdout.split("  ")[1].splitlines()[0] == label


def operators(program):
    """The operators that XNNPACK leaves to ExecuTorch's own kernels, by name."""
    return {name.decode() for name in re.findall(rb"(?:aten|quantized_decomposed|dim_order_ops)::\w+", program)}


def test_the_folder(exported, tiny):
    assert exported.precision == "float32"
    assert 0 < exported.proof.error <= SAME_WEIGHTS
    check_example(exported.path, tiny)


@pytest.fixture(scope="module")
def tiny_int8(tiny, tmp_path_factory):
    ready = make_ready(tiny.card.graph, tiny.weights(), tiny.card.preprocess)
    return build_quantized(tmp_path_factory.mktemp("int8") / "tiny", tiny, quantized(ready), ready.preprocess)


def test_the_folder_of_an_int8_bundle(tiny_int8, exported, tmp_path):
    done = export(
        tiny_int8, "executorch", tmp_path / "out", quantized_writer=quantized_to_executorch, seconds=0.01
    )  # fmt: skip
    assert done.precision == "int8"
    assert 0 < done.proof.error <= QUANTIZED_LOGITS
    assert operators((done.path / "model.pte").read_bytes()) == {"dim_order_ops::_to_dim_order_copy"}
    assert done.sizes["model.pte"] < 0.35 * exported.sizes["model.pte"]


def test_a_broken_int8_is_refused(tiny_int8, tmp_path):
    def broken(network, *, preprocess, metadata):
        layer = "block4.pointwise.conv.bias"
        wrong = network.tensors[layer] + np.int32(20_000)
        tensors = {**network.tensors, layer: wrong}
        return quantized_to_executorch(replace(network, tensors=tensors), preprocess=preprocess, metadata=metadata)

    with pytest.raises(ExportError, match="is refused and nothing stays: logits differ by"):
        export(tiny_int8, "executorch", tmp_path / "out", quantized_writer=broken)
    assert list(tmp_path.iterdir()) == []


def mixed():
    """A network of what has an integer kernel, what moves and pads levels, and what stays in float32."""
    s = Sketch((3, 33, 32))
    x = s.act("stem.act", s.conv("stem", s.input, 8, kernel=3, stride=2, padding="same", bias=True), "hard_swish")
    x = s.max_pool("most", x, kernel=3, stride=2, padding="symmetric")
    a = s.act("a.act", s.depthwise("a", x, kernel=3), "silu")
    b = s.act("b.act", s.conv("b", x, 8), "relu6")
    squeezed = s.act("squeezed", s.conv("squeeze", s.global_pool("pooled", b), 4, bias=True), "relu")
    b = s.mul("scaled", b, s.act("gate", s.conv("excite", squeezed, 8, bias=True), "hard_sigmoid"))
    x = s.shuffle("shuffle", s.concat("concat", a, s.sum("sum", b, x), b), 2)
    x = s.conv("up", s.resize("larger", x, 2), 8, kernel=3, stride=2)
    x = s.conv("wide", s.pad_channels("padded", s.slice("low", x, 0, 6), 1, 3), 8)
    x = s.conv("last", s.avg_pool("mean", x, kernel=3, stride=2, padding="symmetric"), 8)
    return s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 5))


@pytest.mark.parametrize("floats", [(), ("b", "classifier")])
def test_what_integers_there_are(floats, tmp_path):
    graph = mixed()
    rule = replace(torchvision_preprocess(32, 40), size=(33, 32))
    ready = make_ready(graph, random_weights(graph, 1), rule)
    batch = pictures(4, 40)[:, :33, :32]
    network = quantized(ready, Recipe(floats=frozenset(floats)), pixels=batch)
    path = tmp_path / "model.pte"
    path.write_bytes(quantized_to_executorch(network, preprocess=ready.preprocess))
    want = run_quantized(network, normalise(batch, ready.preprocess))["classifier"]
    with ExecutorchSession(path, threads=1) as session:
        assert relative_error(session.run(batch), want) <= QUANTIZED_LOGITS
    left = operators(path.read_bytes())  # the copies of a map enlarged, and the count of a mean's padded windows
    assert left <= {"dim_order_ops::_to_dim_order_copy", "aten::index", "aten::full_like", "aten::upsample_nearest2d"}


def test_labels_and_contract_are_methods_of_the_program(exported, tiny):
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(exported.path / "model.pte")
    (labels,), (contract,) = (program.load_method(name).execute([]) for name in ("labels", "preprocess"))
    assert labels.splitlines() == list(tiny.labels.names)
    assert Preprocess.from_json(json.loads(contract)) == tiny.card.preprocess


def test_a_broken_one_is_refused(tmp_path):
    def broken(graph, weights, *, preprocess, metadata):
        layer = "block4.pointwise.conv.weight"
        return to_executorch(
            graph, {**weights, layer: weights[layer][::-1].copy()}, preprocess=preprocess, metadata=metadata
        )

    bundle = make_bundle(tmp_path / "bundle")
    with pytest.raises(ExportError, match="is refused and nothing stays: logits differ by"):
        export(bundle, "executorch", tmp_path / "out", writer=broken)
    assert not (tmp_path / "out").exists()


def test_what_layers_there_are(tmp_path):
    s = Sketch((3, 9, 14))
    a = s.act("a.act", s.conv("a", s.input, 6, kernel=3, stride=2), "hard_swish")
    b = s.act("b.act", s.depthwise("b", a), "silu")
    x = s.shuffle("shuffle", s.concat("concat", b, s.mul("product", a, s.global_pool("gate", b))), 2)
    x = s.max_pool("pool", x, kernel=3, stride=2)
    graph = s.graph(s.linear("classifier", s.flatten("flatten", x), 5))
    weights = random_weights(graph, 1)
    batch = np.random.default_rng(3).integers(0, 256, (2, 9, 14, 3), np.uint8)
    path = tmp_path / "model.pte"
    path.write_bytes(to_executorch(graph, weights, preprocess=UNEVEN))
    with ExecutorchSession(path, threads=1) as session:
        want = run(graph, weights, normalise(batch, UNEVEN))["classifier"]
        assert relative_error(session.run(batch), want) <= SAME_WEIGHTS
        assert session.inputs == (("pixels", "uint8", (1, 9, 14, 3)),)
        assert session.outputs == (("logits", "float32", (1, 5)),)
        with pytest.raises(RuntimeFailure, match=r"got uint8 \(1, 8, 8, 3\)"):
            session.run(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(RuntimeFailure, match="closed"):
        session.run(batch)


def test_what_is_refused(tmp_path):
    s = Sketch((3, 8, 8))
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", s.input)), 5))
    with pytest.raises(GraphError, match=r"draw it with size=\(16, 16\)"):
        to_executorch(graph, random_weights(graph), preprocess=torchvision_preprocess(16, 16))
    (tmp_path / "model.pte").write_bytes(b"no program at all")
    with pytest.raises(RuntimeFailure, match="refuses the model"):
        ExecutorchSession(tmp_path / "model.pte", threads=1)
