"""ONNX files as graphs: proven against the file itself, or refused in one line; hostile bytes are bounded."""

import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from eyespot.arch.catalogue import FAMILIES, draw, variants
from eyespot.core.cost import cost
from eyespot.core.pixels import Preprocess
from eyespot.core.sketch import Sketch
from eyespot.errors import UnsafeFile, WeightsError
from eyespot.lower.onnx import to_onnx
from eyespot.lower.tensors import random_weights
from eyespot.run.onnx_proof import prove_same
from eyespot.weights.onnx.graph import to_graph
from eyespot.weights.onnx.layout import Joined, Leaf
from eyespot.weights.onnx.model import read_onnx
from libraries import imported

ASSETS = Path(__file__).parents[4] / "shared/assets/weights"
SMALL = ("inception_v1", "inception_v3", "inception_v4", "inception_resnet_v2", "xception")  # as small as they can be


def read(data):
    network = to_graph(read_onnx(data))
    prove_same(data, network)
    return network


def file_of(nodes, tensors=(), *, shape=(1, 3, 8, 8), outputs=("y",), opset=17):
    graph = helper.make_graph(
        nodes, "made", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(tensors).items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return made.SerializeToString()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_we_write_is_read(family):
    name = next(name for name, variant in variants().items() if variant.family == family)
    graph = draw(name, {"size": 96 if family in SMALL else 64})
    weights = random_weights(graph)
    plain = read(to_onnx(graph, weights))
    assert cost(plain.graph).macs == cost(graph.inference()).macs or family in ("repvgg", "mobileone")
    pixels = Preprocess(
        graph.input[1:], scale=1.0, mean=(127.0, 120.0, 110.0), std=(127.0, 128.0, 125.0), channels="bgr"
    )
    assert read(to_onnx(graph, weights, preprocess=pixels)).channels_last


@pytest.mark.parametrize(
    ("file", "maps"),
    [
        ("detect/yolox_nano.onnx", [(85, 52, 52), (85, 26, 26), (85, 13, 13)]),
        ("face/yunet_n_640_640.onnx", [(channels, n, n) for channels in (1, 1, 4, 10) for n in (80, 40, 20)]),
    ],
)
def test_published_detectors_are_read(file, maps):
    if not ASSETS.is_dir():
        pytest.skip("needs ../shared/assets/weights")
    network = read((ASSETS / file).read_bytes())
    assert [network.graph.shape(name) for name in network.graph.outputs] == maps
    assert len(network.outputs) == (1 if "yolox" in file else 12)


def test_the_proof_sees_one_changed_weight():
    graph = draw("mobilenet_v3_small_1.0", {"size": 64})
    data = to_onnx(graph, random_weights(graph))
    network = to_graph(read_onnx(data))
    name = next(name for name in network.weights if name.endswith("weight"))
    changed = network.weights[name].copy()
    changed.flat[5] += 0.1
    with pytest.raises(WeightsError, match="expected a graph that computes what the ONNX file does"):
        prove_same(data, replace(network, weights={**network.weights, name: changed}))


def test_the_corners_of_blocks_become_a_larger_convolution():
    starts = [(0, 0), (1, 0), (0, 1), (1, 1)]
    nodes, tensors = [], {"w": noise(5, 12, 3, 3), "b": noise(5), "two": np.array([2]), "end": np.array([1 << 60])}
    for i, (row, column) in enumerate(starts):
        tensors |= {f"r{i}": np.array([row]), f"c{i}": np.array([column]), "2": np.array([2]), "3": np.array([3])}
        nodes.append(helper.make_node("Slice", ["x", f"r{i}", "end", "2", "two"], [f"rows{i}"]))
        nodes.append(helper.make_node("Slice", [f"rows{i}", f"c{i}", "end", "3", "two"], [f"part{i}"]))
    nodes.append(helper.make_node("Concat", [f"part{i}" for i in range(4)], ["cells"], axis=1))
    nodes.append(helper.make_node("Conv", ["cells", "w", "b"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    network = read(file_of(nodes, tensors, shape=(1, 3, 16, 12)))
    (node,) = network.graph.nodes
    assert (node.op.kernel, node.op.stride, node.op.padding) == ((6, 6), (2, 2), (2, 2, 2, 2))


def test_gates_are_recognised_and_their_parts_are_not_left_over():
    constants = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)}
    swish = [
        helper.make_node("Add", ["x", "three"], ["a"]),
        helper.make_node("Clip", ["a", "zero", "six"], ["b"]),
        helper.make_node("Div", ["b", "six"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    assert [node.op.function for node in read(file_of(swish, constants)).graph.nodes] == ["hard_swish"]
    mish = [
        helper.make_node("Softplus", ["x"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "x"], ["y"]),
    ]
    assert [node.op.function for node in read(file_of(mish)).graph.nodes] == ["mish"]
    with pytest.raises(WeightsError, match="Softplus or Erf is not known"):
        read(file_of([*mish[:2], helper.make_node("Relu", ["b"], ["y"])]))


def test_layouts_of_keras_are_undone():
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["a", "w"], ["b"], kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]),
        helper.make_node("Add", ["c", "bias"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["f"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["f", "m"], ["g"]),
        helper.make_node("Add", ["g", "mb"], ["y"]),
    ]
    tensors = {"w": noise(6, 3, 3, 3), "bias": noise(6), "m": noise(6, 4), "mb": noise(4)}
    network = read(file_of(nodes, tensors, shape=(1, 9, 12, 3)))
    assert network.channels_last
    assert network.graph.input == (3, 9, 12)
    assert isinstance(network.outputs["y"], Leaf)
    assert [node.op.kind for node in network.graph.nodes][-1] == "linear"


def test_arithmetic_on_shapes_is_folded():
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["a"]),
        helper.make_node("Shape", ["a"], ["s"]),
        helper.make_node("Gather", ["s", "i0"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["shape"], axis=0),
        helper.make_node("Reshape", ["a", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
    ]
    tensors = {"i0": np.array(0), "axis": np.array([0]), "minus": np.array([-1]), "w": noise(5, 3), "b": noise(5)}
    assert [n.op.kind for n in read(file_of(nodes, tensors)).graph.nodes] == ["global_avg_pool", "flatten", "linear"]


def test_cells_in_rows_belong_to_the_output():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["a", "s"], ["c"]),
        helper.make_node("Reshape", ["b", "s"], ["d"]),
        helper.make_node("Concat", ["c", "d"], ["e"], axis=2),
        helper.make_node("Sigmoid", ["e"], ["f"]),
        helper.make_node("Transpose", ["f"], ["y"], perm=[0, 2, 1]),
    ]
    network = read(file_of(nodes, {"w": noise(4, 3, 1, 1), "s": np.array([1, 4, -1])}))
    assert isinstance(network.outputs["y"].inside, Joined)
    assert [network.graph.shape(name) for name in network.graph.outputs] == [(4, 8, 8), (4, 4, 4)]


@pytest.mark.parametrize(
    ("node", "tensors", "said"),
    [
        (helper.make_node("LSTM", ["x", "w"], ["y"]), {"w": noise(1)}, "LSTM"),
        (
            helper.make_node("Clip", ["x", "a", "b"], ["y"]),
            {"a": np.float32(-1), "b": np.float32(1)},
            "clips to -1 and 1",
        ),
        (helper.make_node("HardSigmoid", ["x"], ["y"]), {}, "slope is not 1/6"),
        (helper.make_node("PRelu", ["x", "s"], ["y"]), {"s": noise(3, 1, 1)}, "slope differs"),
        (helper.make_node("Conv", ["x", "x"], ["y"]), {}, "no constant"),
        (helper.make_node("Conv", ["x", "w"], ["y"]), {"w": noise(4, 3, 3)}, "two numbers"),
        (helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[9, 9]), {"w": noise(4, 3, 9, 9)}, "does not fit"),
        (helper.make_node("Resize", ["x", "", "s"], ["y"]), {"s": np.float32([1, 1, 1.5, 1.5])}, "whole factor"),
        (helper.make_node("Relu", ["nowhere"], ["y"]), {}, "too soon"),
        (helper.make_node("Identity", ["x"], ["y"]), {}, "something computes"),
    ],
)
def test_other_operators_are_named_in_one_line(node, tensors, said):
    with pytest.raises(WeightsError, match=said) as error:
        to_graph(read_onnx(file_of([node], tensors)))
    assert "\n" not in str(error.value)


def test_files_that_need_more_than_themselves_are_refused():
    outside = onnx.load_from_string(file_of([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": noise(4, 3, 1, 1)}))
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    custom = file_of([helper.make_node("Anything", ["x"], ["y"], domain="com.example")])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=helper.make_graph([], "a", [], []))
    for data in (outside.SerializeToString(), custom, file_of([branch])):
        with pytest.raises(UnsafeFile, match="expected"):
            read_onnx(data)


def small():
    s = Sketch((3, 16, 16))
    x = s.act("act", s.norm("norm", s.conv("conv", s.input, 8, kernel=3, stride=2)), "relu")
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 4))
    return to_onnx(graph, random_weights(graph))


SEED = small()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_files_give_one_line(data):
    damaged = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged
    message = ""
    try:
        to_graph(read_onnx(bytes(damaged)))
    except WeightsError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"\x3a\xff\xff\xff\xff\x7f", b"\xff" * 100, b"PK\x03\x04" + bytes(200),
        b"\x3a\x08\x2a\x06\x08\xff\xff\xff\xff\x7f" + bytes(40), bytes(1000),
    ],
)  # fmt: skip
def test_other_files_are_refused(data):
    with pytest.raises(WeightsError, match="expected an ONNX file"):
        read_onnx(data)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "densenet121", "regnet_y_400mf"])
def test_files_of_torchs_exporter_are_read(name):
    torch, models = imported("torch"), imported("torchvision").models
    torch.manual_seed(0)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of this exporter
        torch.onnx.export(getattr(models, name)(weights=None).eval(), (torch.rand(1, 3, 96, 96),), file, dynamo=False)
    network = read(file.getvalue())
    assert [network.graph.shape(output) for output in network.graph.outputs] == [(1000,)]
