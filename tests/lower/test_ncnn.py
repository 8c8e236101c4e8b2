"""The ncnn files: counted as ncnn counts them, and, where ncnn is installed, answered as the reference answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.bundle.build import normalise
from eyespot.core.pixels import torchvision_preprocess
from eyespot.errors import GraphError, RuntimeFailure
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.ncnn import quantized_to_ncnn, to_ncnn
from eyespot.lower.reference import run
from eyespot.lower.tensors import of_inference, random_weights
from lowered import every_op
from quantizing import pictures, quantized, ready
from tolerances import HALVED_LEVELS, SAME_WEIGHTS, relative_error

# Between them every layer that the catalogue draws, split values, gates, asymmetric padding and norms that stay.
NETWORKS = [
    "mobilenet_v2_0.35", "mobilenet_v3_small_0.75", "shufflenet_v2_0.5", "shufflenet_v1_0.5_g3", "resnet20_cifar",
    "squeezenet_1.1",
]  # fmt: skip
SIZE = 32


def written(graph, preprocess, place, seed=1):
    weights = random_weights(graph, seed)
    for name, data in to_ncnn(graph, weights, preprocess=preprocess).items():
        (place / name).write_bytes(data)
    return weights


@pytest.mark.parametrize("name", NETWORKS)
def test_the_counts_are_those_of_the_lines(name):
    graph = draw(name, {"classes": 10, "size": SIZE})
    files = to_ncnn(graph, random_weights(graph, 0), preprocess=torchvision_preprocess(SIZE, SIZE))
    magic, counts, *lines = files["model.param"].decode().splitlines()
    assert magic == "7767517"
    rows = [line.split() for line in lines]
    made = [blob for row in rows for blob in row[4 + int(row[2]) : 4 + int(row[2]) + int(row[3])]]
    read = [blob for row in rows for blob in row[4 : 4 + int(row[2])]]
    assert counts == f"{len(lines)} {len(made)}"
    assert len(made) == len(set(made))
    assert sorted([*read, "logits"]) == sorted(made)  # each has one reader
    assert len({row[1] for row in rows}) == len(rows)
    assert len(files["model.bin"]) % 4 == 0


def agrees(graph, preprocess, place):
    """How far ncnn's answers lie from the reference's."""
    pytest.importorskip("ncnn")
    from eyespot.run.ncnn import NcnnSession

    weights = written(graph, preprocess, place)
    pixels = pictures(2, preprocess.size[0], seed=3)
    graph, weights = of_inference(graph, weights)
    with NcnnSession(place / "model.param", threads=1) as session:
        got = session.run(pixels)
    want = run(graph, weights, normalise(pixels, preprocess))[graph.outputs[0]]
    assert relative_error(got[::-1], want) > SAME_WEIGHTS
    return relative_error(got, want)


@pytest.mark.parametrize("name", NETWORKS)
def test_ncnn_answers_as_the_reference(name, tmp_path):
    graph = draw(name, {"classes": 10, "size": SIZE})
    assert agrees(graph, torchvision_preprocess(SIZE, SIZE), tmp_path) < SAME_WEIGHTS


def test_every_op_and_blue_first(tmp_path):
    preprocess = replace(torchvision_preprocess(32, 32), channels="bgr")
    assert agrees(every_op(), preprocess, tmp_path) < SAME_WEIGHTS


def test_what_does_not_fit():
    graph = draw("resnet20_cifar", {"size": 32})
    with pytest.raises(GraphError, match=r"pictures of \(48, 48\) and one output were needed"):
        to_ncnn(graph, random_weights(graph, 0), preprocess=torchvision_preprocess(48, 48))


def test_the_session_says_what_it_needs(tmp_path):
    pytest.importorskip("ncnn")
    from eyespot.run.ncnn import NcnnSession

    written(draw("resnet20_cifar", {"size": 32}), torchvision_preprocess(32, 32), tmp_path)
    session = NcnnSession(tmp_path / "model.param", threads=1)
    assert session.inputs[0].shape == (None, 32, 32, 3)
    with pytest.raises(RuntimeFailure, match=r"it needs uint8 \(n, 32, 32, 3\)"):
        session.run(np.zeros((1, 16, 16, 3), np.uint8))
    session.close()
    with pytest.raises(RuntimeFailure, match="closed"):
        session.run(np.zeros((1, 32, 32, 3), np.uint8))
    (tmp_path / "model.param").write_text("no network")
    with pytest.raises(RuntimeFailure, match=r"refuses model.param"):
        NcnnSession(tmp_path / "model.param", threads=1)


def test_integers_stand_in_the_file_as_they_are(tmp_path):
    ready_network = ready("mobilenet_v2_0.35")
    network = quantized(ready_network)
    files = quantized_to_ncnn(network, preprocess=ready_network.preprocess)
    layer = network.int8_layers()[4]
    assert network.tensors[f"{layer}.weight"].tobytes() in files["model.bin"]
    first = network.int8_layers()[0]  # reads pixels, stays in float32
    assert network.tensors[f"{first}.weight"].tobytes() not in files["model.bin"]
    lines = files["model.param"].decode().splitlines()
    assert sum(" 8=1" in line for line in lines) == len(network.int8_layers()) - 1


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35", "mobilenet_v3_small_0.75", "squeezenet_1.1"])
def test_ncnn_answers_as_the_integers_mean(name, tmp_path):
    pytest.importorskip("ncnn")
    from eyespot.run.ncnn import NcnnSession

    ready_network = ready(name)
    network = quantized(ready_network)
    for file, data in quantized_to_ncnn(network, preprocess=ready_network.preprocess).items():
        (tmp_path / file).write_bytes(data)
    pixels = pictures(2, SIZE, seed=3)
    with NcnnSession(tmp_path / "model.param", threads=1) as session:
        got = session.run(pixels)
    want = run_quantized(network, normalise(pixels, ready_network.preprocess))[network.graph.outputs[0]]
    assert relative_error(got, want) < HALVED_LEVELS
    assert relative_error(got[::-1], want) > HALVED_LEVELS
