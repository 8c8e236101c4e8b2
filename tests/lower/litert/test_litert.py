"""LiteRT's file: every operator and family answers as the reference does, int8 to the level, and the labels travel."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", exc_type=ImportError)

from eyespot.arch.catalogue import draw
from eyespot.bundle.build import normalise
from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import Preprocess, torchvision_preprocess
from eyespot.core.sketch import Sketch
from eyespot.errors import GraphError, MissingExtra, RuntimeFailure
from eyespot.lower.int8.fit import Recipe, store
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.quantized import Grid, Quantized
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.litert.file import schema
from eyespot.lower.litert.to_litert import quantized_to_litert, to_litert
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from eyespot.run.litert import LitertSession, values_of
from quantizing import pictures, quantized, ready
from tolerances import SAME_WEIGHTS, relative_error

UNEVEN = Preprocess((9, 14), "stretch", scale=1 / 250, mean=(0.5, 0.25, 0.1), std=(0.2, 0.3, 0.5))


def answers(model, batch):
    with LitertSession(model, threads=1) as session:
        return session.run(batch)


def noise(n, size, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3), np.uint8)


def after_a_convolution(op, size=(9, 14), channels=6):
    """A network that computes ``op`` on a map with negative values."""
    first = ops.Conv2d(channels, (1, 1), bias=True)
    shape = first.infer([(3, *size)])
    nodes = (Node("first", first, (INPUT,), shape), Node("op", op, ("first",), op.infer([shape])))
    return Graph((3, *size), nodes, ("op",))


WINDOWS = {
    "none": ((3, 3), (1, 1), (0, 0, 0, 0)),
    "same": ((3, 3), (1, 1), (1, 1, 1, 1)),
    "same, strided": ((3, 3), (2, 2), (1, 0, 1, 1)),
    "symmetric, strided": ((3, 3), (2, 2), (1, 1, 1, 1)),
    "lopsided": ((2, 3), (1, 2), (1, 0, 0, 2)),
    "unread border": ((2, 2), (2, 2), (0, 0, 1, 1)),
    "wide": ((5, 5), (3, 3), (2, 2, 2, 2)),
}
CASES = {
    **{f"conv, {name}": ops.Conv2d(4, *window, bias=True) for name, window in WINDOWS.items()},
    **{f"depthwise, {name}": ops.Conv2d(12, *window, groups=6) for name, window in WINDOWS.items()},
    **{f"max, {name}": ops.MaxPool(*window) for name, window in WINDOWS.items()},
    **{f"mean, {name}": ops.AvgPool(*window) for name, window in WINDOWS.items()},
    **{f"mean with border, {name}": ops.AvgPool(*window, count_padding=True) for name, window in WINDOWS.items()},
    **{name: ops.Activation(name, slope=0.2) for name in ops.ACTIVATIONS},
    "dilated": ops.Conv2d(4, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "dilated depthwise": ops.Conv2d(6, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), groups=6),
    "grouped": ops.Conv2d(9, (3, 3), (1, 1), (1, 1, 1, 1), groups=3),
    "transposed": ops.ConvTranspose2d(5, (3, 2), (2, 2)),
    "transposed, cut": ops.ConvTranspose2d(5, (4, 4), (2, 2), (1, 2, 0, 1)),
    "norm": ops.BatchNorm(),
    "scale": ops.Scale(0.3),
    "global": ops.GlobalAvgPool(),
    "flatten": ops.Flatten(),
    "slice": ops.Slice(1, 4),
    "channels": ops.PadChannels(2, 3),
    "shuffle": ops.Shuffle(2),
    "nearest": ops.Resize((2, 3)),
    "bilinear": ops.Resize((3, 2), "bilinear"),
    "softmax": ops.Softmax(),
}


@pytest.mark.parametrize("case", CASES)
def test_every_operator(case):
    graph = after_a_convolution(CASES[case])
    weights, batch = random_weights(graph, 1), noise(2, (9, 14))
    want = run(graph, weights, normalise(batch, UNEVEN))["op"]
    got = answers(to_litert(graph, weights, preprocess=UNEVEN), batch)
    assert relative_error(got.transpose(0, 3, 1, 2) if got.ndim == 4 else got, want) <= SAME_WEIGHTS


def test_sums_products_joins_and_what_is_fused():
    s = Sketch((3, 9, 14))
    a, b, c = (s.act(f"{name}.act", s.conv(name, s.input, 4, kernel=3), "relu6") for name in "abc")
    x = s.act("act", s.sum("sum", a, b, c), "relu")
    x = s.concat("concat", s.act("fused", s.mul("product", x, s.global_pool("gate", c)), "relu"), b)
    x = s.norm("norm", s.max_pool("pool", x, kernel=3, stride=2))
    graph = s.graph(s.linear("classifier", s.flatten("flatten", x), 5))
    weights, batch = random_weights(graph, 1), noise(2, (9, 14))
    want = run(graph, weights, normalise(batch, UNEVEN))["classifier"]
    assert relative_error(answers(to_litert(graph, weights, preprocess=UNEVEN), batch), want) <= SAME_WEIGHTS


@pytest.mark.parametrize("first", ["conv", "depthwise"])
@pytest.mark.parametrize(
    "preprocess",
    [
        replace(UNEVEN, channels="bgr"),
        replace(UNEVEN, scale=1 / 127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0)),
        replace(UNEVEN, scale=1.0, mean=(128.0,) * 3, std=(64.0,) * 3),
    ],
)
def test_pixels_are_normalised_inside(first, preprocess):
    """Whether the first layer can take the factor and the order in or not."""
    s = Sketch((3, 9, 14))
    x = s.conv("first", s.input, 6, kernel=3) if first == "conv" else s.depthwise("first", s.input)
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 5))
    weights, batch = random_weights(graph, 1), noise(2, (9, 14))
    want = run(graph, weights, normalise(batch, preprocess))["classifier"]
    model = to_litert(graph, weights, preprocess=preprocess)
    assert relative_error(answers(model, batch), want) <= SAME_WEIGHTS
    assert relative_error(answers(model, np.ascontiguousarray(batch[..., ::-1])), want) > SAME_WEIGHTS


FAMILIES = [
    "mobilenet_v1_0.25", "mobilenet_v2_0.35", "mobilenet_v3_small_0.75", "squeezenet_1.1", "shufflenet_v1_0.25_g3",
    "shufflenet_v2_0.5", "ghostnet_0.5", "eyelet_0.5",
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_families_in_float32(name):
    graph = draw(name, {"size": 32, "classes": 10}).inference()
    weights, preprocess, batch = random_weights(graph, 1), torchvision_preprocess(32, 32), pictures(1, 32)
    want = run(graph, weights, normalise(batch, preprocess))[graph.outputs[0]]
    assert relative_error(answers(to_litert(graph, weights, preprocess=preprocess), batch), want) <= SAME_WEIGHTS


@pytest.mark.parametrize("name", FAMILIES)
def test_families_in_int8_answer_to_the_level(name):
    made = ready(name)
    network, batch = quantized(made), pictures(2, 32, seed=7)
    want = run_quantized(network, normalise(batch, made.preprocess))[network.graph.outputs[0]]
    got = answers(quantized_to_litert(network, preprocess=made.preprocess), batch)
    assert relative_error(got, want) <= SAME_WEIGHTS
    assert len(network.int8_layers()) >= 15


def test_a_sigmoid_on_litert_s_own_grid_is_in_integers_and_on_another_in_float():
    s = Sketch((3, 16, 16))
    x = s.act("act", s.conv("first", s.input, 8, kernel=3, bias=True), "silu")
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 5))
    made = make_ready(graph, random_weights(graph, 1), torchvision_preprocess(16, 16))
    network, batch = quantized(made), pictures(2, 16, seed=7)
    for grid, kind in ((Grid(1 / 256, 0), "int8"), (Grid(1 / 255, 0), "float32")):
        changed = Quantized(network.graph, {**network.grids, "act.gate": grid}, network.tensors)
        want = run_quantized(changed, normalise(batch, made.preprocess))["classifier"]
        model = quantized_to_litert(changed, preprocess=made.preprocess)
        assert relative_error(answers(model, batch), want) <= SAME_WEIGHTS
        read = schema().ModelT.InitFromObj(schema().Model.GetRootAs(model, 0))
        logistic = next(
            op for op in read.subgraphs[0].operators
            if read.operatorCodes[op.opcodeIndex].builtinCode == schema().BuiltinOperator.LOGISTIC
        )  # fmt: skip
        tensor = read.subgraphs[0].tensors[logistic.inputs[0]]
        assert tensor.type == getattr(schema().TensorType, kind.upper())


def test_layers_that_stay_in_float_do():
    made = ready("mobilenet_v1_0.25")
    kept = [node.name for node in made.graph.nodes if isinstance(node.op, ops.Conv2d)][3:5]
    mixed, batch = quantized(made, Recipe(floats=frozenset(kept))), pictures(2, 32, seed=7)
    assert mixed.float_layers() == kept
    want = run_quantized(mixed, normalise(batch, made.preprocess))["classifier"]
    got = answers(quantized_to_litert(mixed, preprocess=made.preprocess), batch)
    assert relative_error(got, want) <= SAME_WEIGHTS


@pytest.mark.parametrize(("dtype", "share"), [("int8", 0.35), ("float16", 0.55), ("bfloat16", 1.05)])
def test_weights_that_are_only_stored_smaller(dtype, share):
    made = ready("mobilenet_v1_0.25", 32)
    network, batch = store(made, dtype), pictures(2, 32, seed=7)
    want = run_quantized(network, normalise(batch, made.preprocess))["classifier"]
    model = quantized_to_litert(network, preprocess=made.preprocess)
    assert relative_error(answers(model, batch), want) <= SAME_WEIGHTS
    assert len(model) < share * len(to_litert(made.graph, made.weights, preprocess=made.preprocess))


@pytest.fixture(scope="module")
def small():
    graph = draw("mobilenet_v1_0.25", {"size": 32, "classes": 2})
    preprocess = torchvision_preprocess(32, 32)
    metadata = {
        "name": "small", "licence": "MIT", "graph": graph.digest, "labels": "cat\ndög",
        "preprocess": json.dumps(preprocess.to_json()),
    }  # fmt: skip
    return graph, random_weights(graph, 1), preprocess, metadata


def test_labels_and_contract_are_files_inside(small):
    graph, weights, preprocess, metadata = small
    model = to_litert(graph, weights, preprocess=preprocess, metadata=metadata)
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        assert archive.read("labels.txt").decode() == "cat\ndög"
        assert Preprocess.from_json(json.loads(archive.read("preprocess.json"))) == preprocess
    read = schema().ModelT.InitFromObj(schema().Model.GetRootAs(model, 0))
    buffers = {entry.name.decode(): read.buffers[entry.buffer].data.tobytes() for entry in read.metadata}
    assert buffers["graph"].decode() == graph.digest
    described = buffers["TFLITE_METADATA"]
    assert described[4:8] == b"M001"
    assert all(text in described for text in (b"small", b"MIT", b"pixels", b"logits", b"labels.txt"))
    assert model == to_litert(graph, weights, preprocess=preprocess, metadata=metadata)


def test_tensors_lie_aligned(small):
    graph, weights, preprocess, _ = small
    model = to_litert(graph, weights, preprocess=preprocess)
    read = schema().Model.GetRootAs(model, 0)
    start = np.frombuffer(model, np.uint8).__array_interface__["data"][0]
    places = [
        read.Buffers(i).DataAsNumpy().__array_interface__["data"][0] - start
        for i in range(read.BuffersLength())
        if not read.Buffers(i).DataIsNone()
    ]
    assert len(places) > 50
    assert all(place % 16 == 0 for place in places)


def test_a_session_says_what_it_takes_and_refuses_the_rest(small, tmp_path):
    graph, weights, preprocess, _ = small
    path = tmp_path / "model.tflite"
    path.write_bytes(to_litert(graph, weights, preprocess=preprocess))
    with LitertSession(path, threads=2) as session:
        assert session.inputs == (("pixels", "uint8", (1, 32, 32, 3)),)
        assert session.outputs == (("logits", "float32", (1, 2)),)
        assert session.run(noise(3, (32, 32))).shape == (3, 2)
        with pytest.raises(RuntimeFailure, match=r"got uint8 \(1, 8, 8, 3\); it needs uint8"):
            session.run(noise(1, (8, 8)))
    with pytest.raises(RuntimeFailure, match="closed"):
        session.run(noise(1, (32, 32)))
    with pytest.raises(RuntimeFailure, match="refuses the model"):
        LitertSession(b"no model", threads=1)
    with pytest.raises(GraphError, match=r"draw it with size=\(8, 8\)"):
        to_litert(graph, weights, preprocess=torchvision_preprocess(8, 8))


def test_looking_inside(small):
    graph, weights, preprocess, _ = small
    batch = noise(2, (32, 32))
    names = ["block3.pointwise.act", "classifier"]
    want = run(graph, weights, normalise(batch, preprocess), keep=names[:1])
    found = values_of(to_litert(graph, weights, preprocess=preprocess), names, batch)
    assert list(found) == names[:1]
    assert relative_error(found[names[0]], want[names[0]]) <= SAME_WEIGHTS


def test_without_its_package(small, monkeypatch):
    graph, weights, preprocess, _ = small
    model = to_litert(graph, weights, preprocess=preprocess)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtra, match=r"eyespot\[litert\]"):
        to_litert(graph, weights, preprocess=preprocess)
    with pytest.raises(MissingExtra, match=r"eyespot\[litert\]"):
        LitertSession(model, threads=1)
