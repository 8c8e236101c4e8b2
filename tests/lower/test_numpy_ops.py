"""The meaning of every op: small examples worked out by hand, the textbook's loops, and two readers of our ONNX."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from eyespot.core import ops
from eyespot.core.ops import ACTIVATIONS, VOCABULARY
from eyespot.core.sketch import Sketch
from eyespot.lower.numpy_ops import compute
from eyespot.lower.onnx import to_onnx
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from lowered import onnx_evaluator, onnx_runtime
from tolerances import SAME_WEIGHTS, relative_error


def f32(values):
    return np.array(values, np.float32)


def one_map(values):
    """Rows of one channel of one picture."""
    return f32(values)[None, None]


def by_hand(op, x, **tensors):
    return compute(op, [x], {name: f32(value) for name, value in tensors.items()})


def test_conv_pads_each_side_by_its_own_number():
    x, ones = one_map([[1, 2], [3, 4]]), np.ones((1, 1, 2, 2))
    for padding, want in (
        ((0, 0, 1, 1), [[10, 6], [7, 4]]),
        ((1, 1, 0, 0), [[1, 3], [4, 10]]),
        ((1, 0, 0, 0), [[3], [10]]),
        ((0, 0, 0, 1), [[10, 6]]),
    ):
        assert by_hand(ops.Conv2d(1, (2, 2), padding=padding), x, weight=ones)[0, 0].tolist() == want


def test_conv_correlates_and_does_not_flip_the_kernel():
    assert by_hand(ops.Conv2d(1, (1, 2)), one_map([[1, 2, 3]]), weight=[[[[10, 1]]]])[0, 0].tolist() == [[12, 23]]


def test_conv_dilation_and_stride():
    x = one_map([[1, 2, 3, 4, 5, 6]])
    assert by_hand(ops.Conv2d(1, (1, 2), dilation=(1, 2)), x, weight=[[[[1, 1]]]]).ravel().tolist() == [4, 6, 8, 10]
    strided = ops.Conv2d(1, (1, 2), stride=(1, 3), dilation=(1, 2))
    assert by_hand(strided, x, weight=[[[[1, 1]]]]).ravel().tolist() == [4, 10]


def test_conv_groups_and_bias():
    x = f32([1, 2, 3, 4]).reshape(1, 4, 1, 1)
    pairs = ops.Conv2d(2, groups=2, bias=True)
    weight = f32([[1, 10], [1, 10]]).reshape(2, 2, 1, 1)
    assert by_hand(pairs, x, weight=weight, bias=[0.5, -0.5]).ravel().tolist() == [21.5, 42.5]
    doubled = ops.Conv2d(8, groups=4)  # depthwise with two filters per channel
    weight = f32([1, 2, 3, 4, 5, 6, 7, 8]).reshape(8, 1, 1, 1)
    assert by_hand(doubled, x, weight=weight).ravel().tolist() == [1, 2, 6, 8, 15, 18, 28, 32]


def conv_by_the_textbook(op, x, weight):
    """Seven loops."""
    (top, left, bottom, right), inside = op.padding, weight.shape[1]
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    _, height, width = op.infer([(x.shape[1], x.shape[2] - top - bottom, x.shape[3] - left - right)])
    out = np.zeros((len(x), op.channels, height, width))
    for n, o, row, column in np.ndindex(out.shape):
        group = o // (op.channels // op.groups)
        for c, i, j in np.ndindex(weight.shape[1:]):
            y, z = row * op.stride[0] + i * op.dilation[0], column * op.stride[1] + j * op.dilation[1]
            out[n, o, row, column] += x[n, group * inside + c, y, z] * weight[o, c, i, j]
    return out


CONVOLUTIONS = [
    ops.Conv2d(4, (3, 3), (1, 1), (1, 1, 1, 1)),
    ops.Conv2d(4, (3, 2), (2, 1), (0, 1, 2, 0)),
    ops.Conv2d(6, (2, 3), (1, 2), (1, 0, 0, 2), (2, 2), groups=2),
    ops.Conv2d(4, (5, 5), (2, 2), (1, 2, 2, 2), groups=4),
    ops.Conv2d(8, (3, 3), (2, 2), (0, 0, 1, 1), groups=4),
    ops.Conv2d(3, (1, 1), (2, 2)),
]


@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_conv_against_the_textbook(op):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 7, 6)).astype(np.float32)
    weight = rng.normal(size=op.parameters([(4, 7, 6)])["weight"]).astype(np.float32)
    want = conv_by_the_textbook(op, x, weight)
    assert relative_error(compute(op, [x], {"weight": weight}), want) <= SAME_WEIGHTS
    weight[-1, -1, -1, -1] += 0.01
    assert relative_error(compute(op, [x], {"weight": weight}), want) > SAME_WEIGHTS


def test_conv_transpose_stamps_the_kernel_and_cuts_the_padding():
    x, kernel = one_map([[1, 2]]), [[[[1, 10, 100]]]]
    wide = ops.ConvTranspose2d(1, (1, 3), (1, 2), bias=False)
    assert by_hand(wide, x, weight=kernel).ravel().tolist() == [1, 10, 102, 20, 200]
    cut = ops.ConvTranspose2d(1, (1, 3), (1, 2), (0, 1, 0, 2), bias=False)
    assert by_hand(cut, x, weight=kernel).ravel().tolist() == [10, 102]


def test_conv_transpose_is_the_adjoint_of_conv():
    """<conv(x), y> = <x, conv_transpose(y)> for the same weight: torch's and ONNX's definition."""
    rng = np.random.default_rng(1)
    conv = ops.Conv2d(5, (3, 2), (2, 3), (1, 0, 0, 1))
    back = ops.ConvTranspose2d(3, (3, 2), (2, 3), (1, 0, 0, 1), bias=False)
    x, weight = rng.normal(size=(1, 3, 8, 7)), rng.normal(size=(5, 3, 3, 2)).astype(np.float32)
    y = rng.normal(size=(1, *conv.infer([(3, 8, 7)])))
    left = np.sum(compute(conv, [f32(x)], {"weight": weight}) * y)
    right = np.sum(compute(back, [f32(y)], {"weight": weight}) * x)
    assert left == pytest.approx(right, rel=SAME_WEIGHTS)


def test_batch_norm():
    x = f32([[1, 2]])
    got = by_hand(ops.BatchNorm(eps=1), x, weight=[3, 1], bias=[10, 0], running_mean=[0, 4], running_var=[8, 3])
    assert got.tolist() == [[11, -1]]


def test_max_pool_padding_never_wins():
    x = one_map([[-1, -2], [-3, -4]])
    assert by_hand(ops.MaxPool((2, 2), (2, 2), (1, 1, 1, 1)), x)[0, 0].tolist() == [[-1, -2], [-3, -4]]


def test_max_pool_ceil_counts_the_last_partial_window():
    s = Sketch((1, 1, 5))
    graph = s.graph(s.max_pool("pool", s.input, kernel=(1, 2), stride=(1, 2), padding="valid", ceil=True))
    assert run(graph, {}, one_map([[1, 2, 3, 4, -5]]))["pool"].ravel().tolist() == [2, 4, -5]


def test_avg_pool_counts_the_padding_when_told_to():
    x = one_map([[2, 4, 6]])
    window = {"kernel": (1, 2), "stride": (1, 2), "padding": (0, 1, 0, 0)}
    assert by_hand(ops.AvgPool(**window, count_padding=True), x).ravel().tolist() == [1, 5]
    assert by_hand(ops.AvgPool(**window), x).ravel().tolist() == [2, 5]


def test_global_avg_pool_flatten_and_linear():
    x = f32([[[[1, 3]], [[5, 9]]]])
    assert by_hand(ops.GlobalAvgPool(), x).tolist() == [[[[2]], [[7]]]]
    assert by_hand(ops.Flatten(), x).tolist() == [[1, 3, 5, 9]]
    assert by_hand(ops.Linear(2), f32([[1, 2]]), weight=[[1, 10], [2, 20]], bias=[0.5, 0]).tolist() == [[21.5, 42]]


def test_add_and_mul_stretch_axes_of_length_one():
    x, gate = np.arange(4, dtype=np.float32).reshape(1, 2, 1, 2), f32([10, 100]).reshape(1, 2, 1, 1)
    assert compute(ops.Mul(), [x, gate], {}).ravel().tolist() == [0, 10, 200, 300]
    assert compute(ops.Add(), [x, gate, x], {}).ravel().tolist() == [10, 12, 104, 106]


def test_scale_multiplies_by_its_factor():
    got = by_hand(ops.Scale(0.1), f32([[1, -20]]))
    assert got.dtype == np.float32
    assert got.tolist() == f32([[0.1, -2]]).tolist()


def test_channels_are_joined_cut_padded_and_shuffled():
    x = f32([[0, 1, 2, 3, 4, 5]])
    assert compute(ops.Concat(), [x[:, :2], x[:, 4:]], {}).tolist() == [[0, 1, 4, 5]]
    assert by_hand(ops.Slice(1, 3), x).tolist() == [[1, 2]]
    assert by_hand(ops.PadChannels(2, 1), x[:, 1:3]).tolist() == [[0, 0, 1, 2, 0]]
    assert by_hand(ops.Shuffle(2), x).tolist() == [[0, 3, 1, 4, 2, 5]]


def test_resize():
    x = one_map([[0, 4]])
    assert by_hand(ops.Resize((2, 2), "nearest"), x)[0, 0].tolist() == [[0, 0, 4, 4], [0, 0, 4, 4]]
    assert by_hand(ops.Resize((1, 2), "bilinear"), x).ravel().tolist() == [0, 1, 3, 4]


def test_softmax_survives_large_logits():
    got = by_hand(ops.Softmax(), f32([[1000, 1001]]))
    assert relative_error(got[0], [1 / (1 + math.e), math.e / (1 + math.e)]) <= SAME_WEIGHTS


FORMULAS = {
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_activations(function):
    points = np.linspace(-9, 9, 73)
    op = ops.Activation(function, slope=0.2)
    got = by_hand(op, f32([points]))
    assert got.dtype == np.float32
    assert relative_error(got[0], [FORMULAS[function](x) for x in points]) <= SAME_WEIGHTS
    extremes = by_hand(op, f32([[-1e4, 1e4]]))
    assert np.isfinite(extremes).all()


def drawings():
    """One small network per way of using an op; every op of the vocabulary is among them."""
    shape = (4, 7, 6)
    for op in CONVOLUTIONS:
        yield [op], shape
    for windows in (ops.MaxPool, ops.AvgPool):
        yield [windows((3, 3), (2, 2), (1, 1, 1, 1))], shape
        yield [windows((3, 2), (2, 2), (0, 1, 2, 0))], shape
    yield [ops.AvgPool((3, 3), (2, 2), (0, 1, 1, 1), count_padding=True)], shape
    yield [ops.ConvTranspose2d(5, (2, 2), (2, 2))], shape
    yield [ops.ConvTranspose2d(5, (3, 3), (2, 1), (1, 0, 1, 2), bias=False)], shape
    yield [ops.BatchNorm(1e-3)], shape
    yield [ops.Activation("relu"), ops.BatchNorm()], (4,)
    yield [ops.GlobalAvgPool(), ops.Flatten(), ops.Linear(6, bias=False), ops.Dropout(), ops.Linear(5)], shape
    yield [ops.Flatten(), ops.Softmax()], shape
    yield [ops.Softmax()], shape
    yield [ops.Slice(1, 3), ops.PadChannels(1, 2), ops.DropPath(0.5)], shape
    yield [ops.Scale(0.17), ops.Activation("relu")], shape
    yield [ops.Conv2d(5), ops.Scale(-2.5)], shape
    yield [ops.Slice(1, 3), ops.PadChannels(0, 1)], (4,)
    yield [ops.Shuffle(2)], shape
    yield [ops.Shuffle(2)], (4,)
    for scale, mode in itertools.product(((2, 2), (1, 3)), ("nearest", "bilinear")):
        yield [ops.Resize(scale, mode)], shape
    for function in ACTIVATIONS:
        yield [ops.Activation(function, slope=0.2)], shape


def draw(chain, shape):
    s = Sketch(shape)
    x = s.input
    for i, op in enumerate(chain):
        x = s.add(f"{op.kind}{i}", op, x)
    return s.graph(x)


def merging():
    s = Sketch((4, 5, 3))
    x = s.conv("conv", s.input, 4, kernel=3)
    gate = s.act("gate", s.global_pool("pool", x), "sigmoid")
    x = s.mul("mul", x, gate)
    x = s.concat("concat", x, s.sum("two", x, s.input), s.sum("three", gate, x, s.input))
    return s.graph(s.sum("one", x))


GRAPHS = [draw(*row) for row in drawings()] + [merging()]


def test_every_op_is_drawn():
    assert {node.op.kind for graph in GRAPHS for node in graph.nodes} == set(VOCABULARY)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.nodes[0].op.kind)
@pytest.mark.parametrize("other", [onnx_runtime, onnx_evaluator])
def test_what_others_make_of_our_onnx(graph, other):
    weights = random_weights(graph, 3)
    x = np.random.default_rng(4).normal(0, 3, (2, *graph.input)).astype(np.float32)
    want = run(graph, weights, x)[graph.outputs[0]]
    assert want.dtype == np.float32
    assert want.shape == (2, *graph.nodes[-1].shape)
    got = other(to_onnx(graph, weights), x)["logits"]
    assert relative_error(got, want) <= SAME_WEIGHTS
    assert relative_error(got, want[::-1]) > SAME_WEIGHTS, "two pictures must not look alike"
