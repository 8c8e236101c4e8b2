"""A quantized network as a value: stored, run in numpy, run by ONNX Runtime, which must agree level by level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from eyespot.bundle.build import normalise
from eyespot.core.graph import INPUT
from eyespot.core.sketch import Sketch
from eyespot.errors import UsageError, WeightsError
from eyespot.lower.int8.fit import Recipe, store
from eyespot.lower.int8.plan import Ready, make_ready
from eyespot.lower.int8.quantized import Grid, Quantized, as_bfloat16, as_float32
from eyespot.lower.int8.run import _Values, run_quantized
from eyespot.lower.int8.to_onnx import is_all_integer, quantized_to_onnx
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from lowered import onnx_runtime
from quantizing import pictures, quantized, ready
from tolerances import INTEGER_LOGITS, QUANTIZED_LEVELS, QUANTIZED_LOGITS, SAME_WEIGHTS, relative_error

# Between them: every activation, gates, residuals, concatenation, shuffles, pools, grouped and depthwise layers.
NETWORKS = [
    ("mobilenet_v2_0.35", {}), ("mobilenet_v3_small_0.75", {}), ("efficientnet_b0", {"width": 0.3, "depth": 0.5}),
    ("shufflenet_v2_0.5", {}), ("squeezenet_1.1", {}), ("resnet20_cifar", {}), ("shufflenet_v1_0.5_g3", {}),
    ("ghostnet_0.5", {}),
]  # fmt: skip


def in_onnx_runtime(network, preprocess, pixels, names=()):
    values = onnx_runtime(quantized_to_onnx(network, preprocess=preprocess, outputs=tuple(names)), pixels)
    return dict(zip(names or values, values.values(), strict=True))


def disagreements(network, preprocess, pixels):
    """The tensors that differ by more than allowed though everything they are made of is the same."""
    names = [name for name in network.grids if name != INPUT]
    ours = run_quantized(network, normalise(pixels, preprocess), keep=names)
    theirs = in_onnx_runtime(network, preprocess, pixels, names)
    same = {INPUT} | {name for name in names if np.array_equal(ours[name], theirs[name])}
    found = []
    for name in names:
        node = network.graph.by_name[name]
        sources = list(node.inputs)
        while any(source not in network.grids for source in sources):  # what lies between two grids
            sources = [i for s in sources for i in ([s] if s in network.grids else network.graph.by_name[s].inputs)]
        levels = np.abs(ours[name] - theirs[name]).max() / network.grids[name].scale
        if same.issuperset(sources) and round(float(levels)) > QUANTIZED_LEVELS:
            found.append(name)
    return found


@pytest.mark.parametrize(("architecture", "arguments"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_onnx_runtime_computes_the_same_levels(architecture, arguments):
    network = ready(architecture, **arguments)
    small, pixels = quantized(network, Recipe("mse", corrected=True)), pictures(2, 32, seed=5)
    assert disagreements(small, network.preprocess, pixels) == []
    ours = run_quantized(small, normalise(pixels, network.preprocess))[small.graph.outputs[0]]
    theirs = in_onnx_runtime(small, network.preprocess, pixels)["logits"]
    assert relative_error(theirs, ours) < INTEGER_LOGITS


@pytest.mark.parametrize(
    ("architecture", "whole"),
    [("mobilenet_v2_0.35", True), ("shufflenet_v2_0.5", True), ("resnet18", True), ("efficientnet_b0", False)],
)
def test_which_networks_are_whole_numbers_alone(architecture, whole):
    """Residual sums, shuffles and pools are; a table of sigmoids is not, for it is made in floating point."""
    network = ready(architecture)
    small = quantized(network)
    assert small.float_layers() == []
    assert is_all_integer(small, network.preprocess) is whole
    mixed = quantized(network, Recipe(floats=frozenset(small.int8_layers()[3:4])))
    assert not is_all_integer(mixed, network.preprocess)
    assert not is_all_integer(small, replace(network.preprocess, mean=(0.1, 0.2, 0.3)))


def test_sums_are_onnx_runtime_s_for_every_pair_of_levels():
    """QLinearAdd at odd choices of scales and zero points: a sum between two levels goes the same way."""
    s = Sketch((1, 256, 256))
    graph = s.graph(s.sum("sum", s.act("a", s.input, "relu"), s.act("b", s.input, "relu")))
    rng = np.random.default_rng(0)
    levels = np.stack(np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2, indexing="ij"))
    for _ in range(20):
        scales = np.exp(rng.normal(-3, 1, 3)).astype(np.float32)
        scales[2] = max(scales[2], scales[:2].sum() / 3)
        grids = [Grid(float(scale), int(zero)) for scale, zero in zip(scales, rng.integers(0, 256, 3), strict=True)]
        values = _Values(Quantized(graph, dict(zip(("a", "b", "sum"), grids, strict=True)), {}))
        values._levels = {"a": levels[0], "b": levels[1]}
        values.make(graph.by_name["sum"], {})
        assert np.array_equal(values._levels["sum"], _qlinear_add(levels, grids))


def _qlinear_add(levels, grids):
    import onnxruntime
    from onnx import TensorProto, helper

    constants = [
        helper.make_tensor(f"{name}{what}", dtype, [], [value])
        for name, grid in zip("aby", grids, strict=True)
        for what, dtype, value in (("s", TensorProto.FLOAT, grid.scale), ("z", TensorProto.UINT8, grid.zero))
    ]
    a, b, y = (helper.make_tensor_value_info(name, TensorProto.UINT8, [256, 256]) for name in "aby")
    inputs = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    node = helper.make_node("QLinearAdd", inputs, ["y"], domain="com.microsoft")
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph([node], "add", [a, b], [y], constants), opset_imports=versions, ir_version=8
    ).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"a": levels[0], "b": levels[1]})[0]


def test_the_comparison_sees_a_wrong_weight():
    network = ready("mobilenet_v2_0.35")
    small, pixels = quantized(network), pictures(2, 32, seed=5)
    layer = small.int8_layers()[3]
    tensors = {**small.tensors, f"{layer}.bias": small.tensors[f"{layer}.bias"] + 500}
    ours = run_quantized(small, normalise(pixels, network.preprocess))[small.graph.outputs[0]]
    theirs = in_onnx_runtime(replace(small, tensors=tensors), network.preprocess, pixels)["logits"]
    assert relative_error(theirs, ours) > QUANTIZED_LOGITS


def test_everything_is_in_integers(tmp_path):
    """Each layer becomes an integer kernel of ONNX Runtime, and nothing goes through float between them."""
    import onnxruntime

    network = ready("mobilenet_v3_small_0.75")
    small = quantized(network)
    assert small.float_layers() == []
    assert small.int8_layers() == [n.name for n in small.graph.nodes if n.op.kind in ("conv2d", "linear")]
    model = quantized_to_onnx(small, preprocess=network.preprocess)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it says that such a file is for one kind of machine only
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kernels = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert {"QLinearConv", "QLinearMul", "QLinearAdd", "QGemm", "Clip"} <= kernels
    assert not {"Conv", "FusedConv", "Gemm", "Mul", "HardSwish"} & kernels
    assert "HardSigmoid" in kernels  # of squeeze-excite: one value per channel, too few to matter


def test_layers_left_in_float_compute_as_before():
    network = ready("mobilenet_v2_0.35")
    all_layers = frozenset(n.name for n in network.graph.nodes if n.op.kind in ("conv2d", "linear"))
    small, pixels = quantized(network, Recipe(floats=all_layers)), pictures(2, 32)
    assert small.int8_layers() == []
    x = normalise(pixels, network.preprocess)
    name = network.graph.outputs[0]
    exact = run(network.graph, network.weights, x)[name]
    assert relative_error(run_quantized(small, x)[name], exact) < SAME_WEIGHTS
    assert relative_error(in_onnx_runtime(small, network.preprocess, pixels)["logits"], exact) < SAME_WEIGHTS


@pytest.mark.parametrize("dtype", ["int8", "float16", "bfloat16"])
def test_weights_stored_in_fewer_bits(dtype):
    network = ready("mobilenet_v2_0.35")
    stored, pixels = store(network, dtype), pictures(2, 32)
    ours = run_quantized(stored, normalise(pixels, network.preprocess))[stored.graph.outputs[0]]
    model = quantized_to_onnx(stored, preprocess=network.preprocess)
    assert relative_error(onnx_runtime(model, pixels)["logits"], ours) < SAME_WEIGHTS
    whole = quantized_to_onnx(Quantized(network.graph, {}, network.weights), preprocess=network.preprocess)
    assert len(model) < 0.6 * len(whole)


def test_bfloat16_keeps_the_upper_half_rounded_halves_to_even():
    numbers = np.array([1.0, -1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 0.1, -3e38, 1e-40, 0.0], np.float32)
    nearest = [1.0, -1.0, 1.0, 1 + 2**-6, 1 + 2**-7, 0.10009765625, -226 * 2.0**120, 2.0**-133, 0.0]
    assert as_float32(as_bfloat16(numbers)).tolist() == nearest


def test_a_network_that_cannot_read_grey_levels_is_fed_in_float():
    s = Sketch((3, 16, 16))
    x = s.act("act", s.depthwise("deep", s.input, kernel=3), "gelu")
    x = s.conv("wide", x, 8, kernel=3)
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 5))
    preprocess = ready("mobilenet_v2_0.35", 16).preprocess
    network = make_ready(graph, random_weights(graph), replace(preprocess, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)))
    assert network.preprocess.mean == (0.1, 0.2, 0.3)
    small, pixels = quantized(network), pictures(2, 16)
    assert disagreements(small, network.preprocess, pixels) == []


def test_grey_levels_mean_the_same_inside_the_border():
    bgr = replace(ready("mobilenet_v2_0.35").preprocess, channels="bgr", scale=1 / 255, mean=(0.5, 0.4, 0.3))
    s = Sketch((3, 32, 32))
    graph = s.graph(s.conv("conv", s.input, 4, kernel=3))
    weights = random_weights(graph)
    network = make_ready(graph, weights, bgr)
    pixels = pictures(1, 32)
    was = run(graph, weights, normalise(pixels, bgr))["conv"]
    now = run(network.graph, network.weights, normalise(pixels, network.preprocess))["conv"]
    assert relative_error(now[..., 1:-1, 1:-1], was[..., 1:-1, 1:-1]) < SAME_WEIGHTS


def test_tensors_carry_all_of_it():
    network = ready("mobilenet_v3_small_0.75")
    small = quantized(network)
    again = Quantized.from_tensors(small.graph, small.to_tensors())
    assert again.grids == small.grids
    assert again.tensors.keys() == small.tensors.keys()
    near = {name: relative_error(w, network.weights[name]) for name, w in small.float_weights().items()}
    assert max(near[name] for name in near if name.endswith("weight")) < 1 / 127


def test_damaged_tensors_are_refused():
    network = ready("mobilenet_v2_0.35")
    good = quantized(network).to_tensors()
    layer = next(name for name in good if name.endswith(".weight_scale")).removesuffix(".weight_scale")
    for name, wrong, said in (
        (f"{layer}.weight", None, "absent"),
        (f"{layer}.bias", good[f"{layer}.bias"].astype(np.float32), "int32"),
        (f"{layer}.weight_scale", np.ones(1, np.float32), "misshapen"),
        (f"{layer}.grid", np.array([0, 3], np.float32), "no grid"),
        ("nobody.grid", np.array([1, 3], np.float32), "no node"),
    ):
        tensors = {k: v for k, v in {**good, name: wrong}.items() if v is not None}
        with pytest.raises(WeightsError, match=said):
            Quantized.from_tensors(network.graph, tensors)


def test_wrong_inputs_are_refused():
    network: Ready = ready("mobilenet_v2_0.35")
    small = quantized(network)
    with pytest.raises(UsageError, match="reads float32"):
        run_quantized(small, np.zeros((1, 3, 16, 16), np.float32))
    with pytest.raises(UsageError, match="no such node"):
        run_quantized(small, np.zeros((1, 3, 32, 32), np.float32), keep=["nothing"])


def test_a_grid_holds_zero_and_rounds_halves_to_even():
    grid = Grid.spanning(-1, 4.1)
    assert grid.dequantize(np.array([grid.zero], np.uint8)) == 0
    assert grid.low <= -1 + grid.scale
    assert grid.high >= 4.1 - grid.scale
    assert Grid(1.0, 10).quantize(np.array([-99, 0.5, 1.5, 2.4, 999], np.float32)).tolist() == [0, 10, 12, 12, 255]
    assert Grid.spanning(0.5, 2).zero == 0
    assert Grid.spanning(-2, -0.5).zero == 255
