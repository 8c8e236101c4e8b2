"""Removing channels is leaving out work: the narrow network says what the whole one says with those channels unread."""

from __future__ import annotations

import numpy as np
import pytest

from eyespot.arch.catalogue import FAMILIES, draw
from eyespot.core import ops
from eyespot.core.cost import cost
from eyespot.core.graph import Graph
from eyespot.core.ops import Op
from eyespot.core.sketch import Sketch
from eyespot.errors import GraphError, UsageError
from eyespot.lower import reference
from eyespot.lower.tensors import random_weights
from eyespot.shrink.coupling import couple
from eyespot.shrink.narrow import narrow, narrow_weights, silence
from eyespot.shrink.ranking import FLOOR, MULTIPLE, in_words, magnitudes, select, wanted_macs, widths
from tolerances import SAME_WEIGHTS, relative_error

SMALL = {  # the cheapest of each family, and others whose channels hang together in another way
    "mobilenet_v1": [("mobilenet_v1_0.25", 32)],
    "mobilenet_v2": [("mobilenet_v2_0.35", 32)],
    "mobilenet_v3": [("mobilenet_v3_small_0.75", 32)],
    "mobilenet_v4": [("mobilenet_v4_conv_small_0.5", 32)],
    "mnasnet": [("mnasnet_0.5", 32)],
    "squeezenet": [("squeezenet_1.1", 32), ("squeezenet_1.0", 32)],
    "shufflenet_v1": [("shufflenet_v1_0.25_g1", 32), ("shufflenet_v1_1.0_g3", 32), ("shufflenet_v1_1.0_g8", 32)],
    "shufflenet_v2": [("shufflenet_v2_0.5", 32)],
    "ghostnet": [("ghostnet_0.5", 32)],
    "resnet": [("resnet20_cifar", 32), ("resnet18", 32)],
    "resnext": [("resnext50_32x4d", 32)],
    "regnet": [("regnet_y_400mf", 32)],
    "efficientnet": [("efficientnet_lite0", 32), ("efficientnet_b0", 32)],
    "efficientnet_v2": [("efficientnet_v2_b0", 32)],
    "repvgg": [("repvgg_a0", 32)],
    "mobileone": [("mobileone_s0", 32)],
    "inception_v1": [("inception_v1", 32)],
    "inception_v3": [("inception_v3", 75)],
    "inception_v4": [("inception_v4", 75)],
    "inception_resnet_v2": [("inception_resnet_v2", 75)],
    "xception": [("xception", 32)],
    "eyelet": [("eyelet_0.5", 32)],
}
HEAVY = ("repvgg", "mobileone", "inception_v4", "inception_resnet_v2", "resnext", "xception", "inception_v3")
NETWORKS = [
    pytest.param(name, size, marks=[pytest.mark.slow] if family in HEAVY else [])
    for family, rows in SMALL.items()
    for name, size in rows
]
REACHED = {"shufflenet_v1_1.0_g8": 0.6}  # whose shuffles hold most channels together


def prepared(name, size):
    """(the coupling of a network for inference, random weights of it)."""
    coupling = couple(draw(name, {"classes": 7, "size": size}))
    weights = random_weights(coupling.graph, 0)
    return coupling, weights


def answers(graph, weights):
    x = np.random.default_rng(1).normal(size=(2, *graph.input)).astype(np.float32)
    return reference.run(graph, weights, x)[graph.outputs[0]]


def some(coupling, seed=0):
    """A choice that takes some classes of every group, not of equal numbers and not the last ones."""
    rng, kept = np.random.default_rng(seed), coupling.everything()
    for group in coupling.groups:
        count = len(group.classes)
        kept[rng.choice(group.classes, rng.integers(count // 2, count), replace=False)] = False
    return kept


def test_every_family_is_tried():
    assert tuple(SMALL) == FAMILIES


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_what_is_left_says_what_the_network_says_without_what_went(name, size):
    coupling, weights = prepared(name, size)
    kept = some(coupling)
    assert (~kept).sum() > 0.2 * coupling.classes
    silent = silence(coupling, kept, weights)
    small = narrow(coupling, kept)
    wanted = answers(coupling.graph, silent)
    assert relative_error(answers(small, narrow_weights(coupling, kept, weights)), wanted) < SAME_WEIGHTS
    assert relative_error(answers(coupling.graph, weights), wanted) > 100 * SAME_WEIGHTS  # what went did matter
    assert [node.name for node in small.nodes] == [node.name for node in coupling.graph.nodes]
    assert small == Graph.from_json(small.to_json())


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_the_cheap_go_until_the_rest_is_cheap_enough(name, size):
    coupling, weights = prepared(name, size)
    share = REACHED.get(name, 0.5)
    wanted = int(share * cost(coupling.graph).macs)
    kept = select(coupling, magnitudes(coupling, weights), wanted)
    small = narrow(coupling, kept)
    assert 0.9 * wanted < cost(small).macs <= wanted
    for group in coupling.groups:
        left = kept[group.classes].sum()
        assert left >= FLOOR * len(group.classes)
        if left < len(group.classes) and MULTIPLE % group.width == 0:
            assert left * group.width % MULTIPLE == 0
    made = {node.name: node.shape[0] for node in small.nodes}
    assert {name: after for name, (_, after) in widths(coupling, kept).items()}.items() <= made.items()


def test_groups_share_no_class_and_hold_every_free_one_that_a_layer_makes():
    for name in ("mobilenet_v3_small_0.75", "shufflenet_v2_0.5", "ghostnet_0.5"):
        coupling, _ = prepared(name, 32)
        classes = np.concatenate([group.classes for group in coupling.groups])
        assert len(np.unique(classes)) == len(classes) == coupling.free.sum()
        assert coupling.free[classes].all()
        for group in coupling.groups:
            for maker in group.makers:
                assert set(group.classes.tolist()) <= set(coupling.labels[maker].tolist())


def test_the_least_important_go_first():
    coupling, weights = prepared("mobilenet_v1_0.25", 32)
    scores = np.random.default_rng(0).uniform(1, 2, coupling.classes)
    last = coupling.groups[-1].classes
    scores[last[8:]] = 1e-9
    kept = select(coupling, scores, int(0.97 * cost(coupling.graph).macs))
    assert set(np.flatnonzero(~kept)) < set(last[8:])
    weights = {name: np.array(tensor) for name, tensor in weights.items()}
    group = coupling.groups[3]
    for maker in group.makers:
        weights[f"{maker}.weight"][np.isin(coupling.labels[maker], group.classes[5])] *= 1e-3
    assert magnitudes(coupling, weights)[group.classes].argmin() == 5


def test_a_sum_a_gate_and_a_depthwise_convolution_hold_channels_together():
    s = Sketch((3, 8, 8))
    a = s.conv("a", s.input, 16, kernel=1)
    b = s.conv("b", s.conv("deep", a, 16, kernel=3, groups=16), 16, kernel=1)
    gate = s.act("gate", s.conv("gate.conv", s.global_pool("pool", b), 16, kernel=1), "sigmoid")
    both = s.sum("sum", a, s.mul("gated", b, gate))
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("mean", both)), 4))
    coupling = couple(graph)
    (group,) = coupling.groups
    assert group.makers == ("a", "deep", "b", "gate.conv")
    assert coupling.whole == {"deep"}
    assert not coupling.free[coupling.labels["classifier"]].any()
    assert not coupling.free[coupling.labels["input"]].any()


def test_flattened_maps_and_transposed_convolutions_are_cut_where_they_are_read():
    s = Sketch((3, 8, 8))
    x = s.act("act", s.norm("norm", s.conv("conv", s.input, 24, kernel=3)), "relu")
    x = s.add("up", ops.ConvTranspose2d(16), x)
    x = s.pad_channels("pad", s.slice("slice", x, 4, 16), 2, 3)
    graph = s.graph(s.linear("classifier", s.flatten("flatten", x), 4))
    coupling, weights = couple(graph), random_weights(graph, 0)
    kept = some(coupling)
    small = narrow(coupling, kept)
    assert small.by_name["flatten"].shape[0] == small.by_name["pad"].shape[0] * 16 * 16
    got = answers(small, narrow_weights(coupling, kept, weights))
    assert relative_error(got, answers(graph, silence(coupling, kept, weights))) < SAME_WEIGHTS


def test_an_op_that_nobody_knows_here_keeps_its_channels():
    class Unknown(Op):
        kind = "unknown"

    s = Sketch((3, 8, 8))
    x = s.conv("free", s.input, 16, kernel=1)
    x = s.add("strange", Unknown(), s.conv("held", x, 16, kernel=1))
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 4))
    assert [group.name for group in couple(graph).groups] == ["free"]


def test_what_cannot_be_is_refused_in_one_line():
    coupling, weights = prepared("mobilenet_v1_0.25", 32)
    scores = magnitudes(coupling, weights)
    with pytest.raises(UsageError, match=r"at the least, 1\.0k MACs were asked for"):
        select(coupling, scores, 1000)
    kept = coupling.everything()
    kept[coupling.groups[0].classes] = False
    with pytest.raises(GraphError, match="left without channels"):
        narrow(coupling, kept)
    with pytest.raises(GraphError, match="picture or of the answers"):
        narrow(coupling, np.zeros(coupling.classes, np.bool_))
    s = Sketch((3, 8, 8))
    only = couple(s.graph(s.linear("classifier", s.flatten("flatten", s.input), 4)))
    with pytest.raises(UsageError, match="no layer has channels that can be removed"):
        select(only, np.ones(only.classes), 1)


def test_macs_are_a_share_or_a_number():
    graph = draw("mobilenet_v2_1.0")
    now = cost(graph).macs
    assert wanted_macs("0.5x", graph) == now // 2
    assert wanted_macs("150M", graph) == wanted_macs(" 0.15g", graph) == 150_000_000
    assert in_words(150_000_000) == "150.0M MACs"
    for text in ("half", "0.5xx", "-1", "", "50%"):
        with pytest.raises(UsageError, match="neither a share"):
            wanted_macs(text, graph)
    for text in ("1x", "2G", "0x"):
        with pytest.raises(UsageError, match="ask for fewer"):
            wanted_macs(text, graph)
