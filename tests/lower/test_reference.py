"""Running a graph in numpy: what is returned, what is refused, and what is freed on the way."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from eyespot.core.sketch import Sketch
from eyespot.errors import UsageError, WeightsError
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights


def two_heads():
    s = Sketch((3, 8, 8))
    x = s.act("act", s.norm("norm", s.conv("conv", s.input, 4, kernel=3)), "relu")
    with s.train_only():
        helper = s.linear("helper", s.flatten("helper_flatten", x), 2)
    x = s.flatten("flatten", s.global_pool("pool", x))
    return s.graph(s.linear("left", x, 5), s.linear("right", x, 2), helper)


def pictures(n=2, size=8):
    return np.random.default_rng(0).normal(size=(n, 3, size, size)).astype(np.float32)


def test_returns_the_outputs_of_inference_and_what_is_kept():
    graph = two_heads()
    got = run(graph, random_weights(graph), pictures(), keep=("act", "pool"))
    assert {name: value.shape for name, value in got.items()} == {
        "left": (2, 5), "right": (2, 2), "act": (2, 4, 8, 8), "pool": (2, 4, 1, 1)
    }  # fmt: skip
    assert np.allclose(got["pool"][..., 0, 0], got["act"].mean((2, 3)))


def test_weights_of_train_only_nodes_may_be_absent():
    graph = two_heads()
    weights = random_weights(graph)
    want = run(graph, weights, pictures())["left"]
    few = {name: value for name, value in weights.items() if not name.startswith("helper")}
    assert len(few) == len(weights) - 2
    assert (run(graph, few, pictures())["left"] == want).all()
    with pytest.raises(WeightsError, match=r"1 missing \(conv.weight\)"):
        run(graph, {name: value for name, value in few.items() if name != "conv.weight"}, pictures())


@pytest.mark.parametrize("x", [pictures(size=9), pictures().astype(np.float64), pictures()[0]])
def test_refuses_another_input(x):
    graph = two_heads()
    with pytest.raises(UsageError, match=r"this network reads float32 \(n, 3, 8, 8\)"):
        run(graph, random_weights(graph), x)


def test_refuses_to_keep_what_is_not_there():
    graph = two_heads()
    with pytest.raises(UsageError, match="cannot keep 'helper'"):
        run(graph, random_weights(graph), pictures(), keep=("helper",))


def test_changes_neither_the_input_nor_the_weights():
    graph = two_heads()
    weights, x = random_weights(graph), pictures()
    copies = {name: value.copy() for name, value in weights.items()}, x.copy()
    run(graph, weights, x)
    assert all((copies[0][name] == value).all() for name, value in weights.items())
    assert (copies[1] == x).all()


def test_frees_a_map_after_its_last_reader():
    s = Sketch((8, 64, 64))
    x = s.input
    for i in range(30):
        x = s.act(f"act{i}", x, "relu")
    graph, one_map = s.graph(x), 4 * 8 * 64 * 64
    tracemalloc.start()
    run(graph, {}, np.ones((1, 8, 64, 64), np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * one_map
