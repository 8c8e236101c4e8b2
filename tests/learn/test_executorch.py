"""ExecuTorch's file: it answers as the bundle does, the labels travel in it, and a broken one is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", exc_type=ImportError)
pytest.importorskip("executorch", exc_type=ImportError)

from conftest import make_bundle
from eyespot.bundle.build import normalise
from eyespot.core.pixels import Preprocess, torchvision_preprocess
from eyespot.core.sketch import Sketch
from eyespot.errors import ExportError, GraphError, RuntimeFailure
from eyespot.export.export import export
from eyespot.learn.executorch import to_executorch
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from eyespot.run.executorch import ExecutorchSession
from eyespot.run.predict import load
from tolerances import SAME_WEIGHTS, relative_error

pytestmark = [
    pytest.mark.slow,  # torch.export takes half a minute for a network, however small
    pytest.mark.filterwarnings("ignore"),  # torch's and ExecuTorch's, of each other
]
UNEVEN = Preprocess(
    (9, 14), "stretch", channels="bgr", scale=1 / 250, mean=(0.5, 0.25, 0.1), std=(0.2, 0.3, 0.5)
)  # fmt: skip


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "out"
    return export(tiny, "executorch", out, writer=to_executorch, seconds=0.01)


def test_the_folder(exported, tiny):
    assert exported.precision == "float32"
    assert 0 < exported.proof.error <= SAME_WEIGHTS
    program = subprocess.run(
        [sys.executable, str(exported.path / "example.py")], capture_output=True, text=True, check=False
    )
    assert program.returncode == 0, program.stderr
    with load(tiny.path) as model:
        label = model(exported.path / "golden.jpg").label
    assert program.stdout.split("  ")[1].splitlines()[0] == label


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
