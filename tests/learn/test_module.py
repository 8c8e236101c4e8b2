"""The torch reading of a graph: the reference's numbers, the graph's names, and gradients for every parameter."""

from importlib import import_module

import numpy as np
import pytest

from eyespot.arch import catalogue
from eyespot.core import ops
from eyespot.core.sketch import Sketch
from eyespot.errors import GraphError, WeightsError
from eyespot.lower import reference
from eyespot.lower.tensors import random_weights
from tolerances import SAME_WEIGHTS, relative_error

torch = pytest.importorskip("torch")
module = import_module("eyespot.learn.module")  # after the skip

FAMILIES = {  # a small network of each; SqueezeNet whole, as few logits of few pixels hardly differ: rounding shows
    "mobilenet_v1": ("mobilenet_v1_0.25", {"size": 64, "classes": 7, "padding": "same"}),
    "mobilenet_v2": ("mobilenet_v2_0.35", {"size": 65, "classes": 7, "padding": "same"}),
    "mobilenet_v3": ("mobilenet_v3_small_1.0", {"size": 64, "classes": 7}),
    "squeezenet": ("squeezenet_1.1", {}),
    "inception_v1": ("inception_v1", {"size": 64, "classes": 7}),
    "resnet": ("resnet18", {"size": 32, "classes": 7}),
    "resnet_cifar": ("resnet20_cifar", {}),
    "efficientnet": ("efficientnet_lite0", {"size": 64, "classes": 7}),
}


def every_op():
    """Every op of the vocabulary once or more, with the padding, grouping and train-only nodes that networks use."""
    s = Sketch((3, 13, 10))
    x = s.norm("stem.norm", s.conv("stem.conv", s.input, 8, kernel=3, stride=2, padding="same", bias=True))
    x = s.conv("dilated", x, 8, kernel=(3, 2), padding=(2, 0, 1, 1), dilation=(2, 1), groups=2)
    x = s.concat("concat", *[s.act(f, x, f, slope=0.2) for f in ops.ACTIVATIONS])
    x = s.shuffle("shuffle", x, 4)
    x = s.concat(
        "pools",
        s.max_pool("max", x, kernel=3, stride=2, padding=(0, 1, 2, 2)),
        s.avg_pool("mean", x, kernel=3, stride=2, padding=(0, 1, 2, 2)),
        s.avg_pool("mean_all", x, kernel=3, stride=2, padding=(0, 1, 2, 2), count_padding=True),
    )
    x = s.concat("up", s.resize("nearest", x, 2), s.resize("bilinear", x, 2, "bilinear"))
    x = s.add("transposed", ops.ConvTranspose2d(12, (3, 3), (2, 2), (0, 1, 1, 0)), x)
    y = s.conv("gate", s.global_pool("squeeze", x), 12, bias=True)
    x = s.mul("mul", s.drop_path("drop_path", x, 0.5), s.act("gate.act", y, "sigmoid"))
    x = s.scale("scale", x, 0.7)
    x = s.pad_channels("pad", s.slice("slice", x, 2, 9), 1, 4)
    x = s.sum("sum", x, s.mul("square", x, x), s.softmax("softmax", x))
    with s.train_only():
        aux = s.linear("aux", s.flatten("aux.flatten", s.global_pool("aux.pool", x)), 5)
    x = s.flatten("flatten", s.global_pool("pool", x))
    x = s.dropout("dropout", s.norm("head.norm", s.linear("head", x, 6, bias=False)), 0.5)
    return s.graph(s.linear("classifier", x, 5), aux)


def network_of(graph):
    """The module, its weights and a batch of two."""
    weights = random_weights(graph, 1)
    network = module.Network(graph)
    network.load_weights(weights)
    return network, weights, np.random.default_rng(2).normal(size=(2, *graph.input)).astype(np.float32)


def difference(network, weights, x):
    """Torch in evaluation against the reference, as a share of the range, over all outputs."""
    with torch.no_grad():
        got = network.eval()(torch.from_numpy(x))
    want = reference.run(network.graph, weights, x)
    assert list(got) == list(want)
    return max(relative_error(got[name].numpy(), want[name]) for name in want)


def test_the_test_network_holds_every_op():
    assert {node.op.kind for node in every_op().nodes} == set(ops.VOCABULARY)
    assert set(module.COMPUTE) == set(ops.VOCABULARY.values())


@pytest.mark.parametrize("family", ["every op", *FAMILIES])
def test_torch_computes_what_the_reference_computes(family):
    graph = every_op() if family == "every op" else catalogue.draw(*FAMILIES[family])
    network, weights, x = network_of(graph)
    assert difference(network, weights, x) < SAME_WEIGHTS
    name = next(n for n in weights if n.endswith(".weight"))
    assert difference(network, weights | {name: weights[name] * np.float32(1.01)}, x) > SAME_WEIGHTS


@pytest.mark.parametrize("family", ["every op", *FAMILIES])
def test_every_parameter_gets_a_gradient_from_a_fresh_network(family):
    """Branches start at zero, so weights inside them get theirs from the second step on."""
    graph = every_op() if family == "every op" else catalogue.draw(*FAMILIES[family])
    network = module.Network(graph)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    torch.manual_seed(0)
    seen = set()
    for _ in range(4):
        optimizer.zero_grad()
        outputs = network(torch.randn(4, *graph.input))
        sum(torch.nn.functional.cross_entropy(o, torch.tensor([0, 1, 2, 3])) for o in outputs.values()).backward()
        seen |= {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        optimizer.step()
    assert seen == {name for name, p in graph.parameters.items() if p.trained}


def test_names_are_the_graphs():
    graph = every_op()
    network = module.Network(graph)
    names = {name for name, _ in network.named_parameters()}
    assert names == {name for name, p in graph.parameters.items() if p.trained}
    assert {name for name, _ in network.named_buffers()} == graph.parameters.keys() - names
    assert network.state_dict().keys() == graph.parameters.keys()
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == {
        name: p.shape for name, p in graph.parameters.items()
    }


def test_train_only_nodes_run_only_while_training():
    network = module.Network(every_op())
    x = torch.randn(3, *network.graph.input)
    assert list(network.train()(x)) == ["classifier", "aux"]
    assert list(network.eval()(x)) == ["classifier"]


def test_dropout_and_drop_path_act_only_while_training():
    s = Sketch((1, 1, 400))
    graph = s.graph(s.dropout("dropout", s.drop_path("drop_path", s.input, 0.25), 0.5))
    network = module.Network(graph)
    x = torch.ones(1000, 1, 1, 400)
    torch.manual_seed(0)
    dropped = network.train()(x)["dropout"]
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75 / 0.5])
    gone = (dropped == 0).flatten(1).all(1)
    assert 200 < int(gone.sum()) < 300  # a quarter of the pictures, whole
    assert 0.47 < float((dropped[~gone] == 0).float().mean()) < 0.53  # half of the features of the others
    assert torch.equal(network.eval()(x)["dropout"], x)


def test_training_moves_the_statistics_and_evaluation_does_not():
    network = module.Network(every_op())
    before = network.export_weights()
    x = torch.randn(8, *network.graph.input)
    network.eval()(x)
    assert all(np.array_equal(before[n], t) for n, t in network.export_weights().items())
    network.train()(x)
    moved = {n for n, t in network.export_weights().items() if not np.array_equal(before[n], t)}
    assert moved == {n for n, p in network.graph.parameters.items() if not p.trained}


def test_weights_go_in_and_come_out_unchanged():
    network, weights, _ = network_of(every_op())
    exported = network.export_weights()
    assert list(exported) == list(network.graph.parameters)
    assert all(np.array_equal(exported[n], weights[n]) and exported[n].dtype == np.float32 for n in weights)
    exported["classifier.bias"][:] = 9  # a copy, not a view of the module
    assert not np.array_equal(network.export_weights()["classifier.bias"], exported["classifier.bias"])


def test_weights_that_do_not_fit_are_refused_and_change_nothing():
    network, weights, _ = network_of(every_op())
    short = {n: t for n, t in weights.items() if n != "classifier.bias"}
    with pytest.raises(WeightsError, match=r"missing \(classifier\.bias\)"):
        network.load_weights({n: t * 2 for n, t in short.items()})
    assert np.array_equal(network.export_weights()["classifier.bias"], weights["classifier.bias"])


def test_every_residual_block_starts_as_the_identity():
    graph = catalogue.draw("mobilenet_v2_0.35", {"size": 64})
    adds = [node for node in graph.nodes if isinstance(node.op, ops.Add)]
    assert module.residual_ends(graph) == {f"{node.name.removesuffix('.add')}.project.norm" for node in adds}
    projected = module.residual_ends(catalogue.draw("resnet18", {"size": 64}))
    assert len(projected) == 8
    assert all(name.endswith(".second.norm") for name in projected)
    assert not module.Network(graph).export_weights()["stage2.block2.project.norm.weight"].any()


def test_the_same_seed_gives_the_same_weights():
    graph = every_op()
    one, same, other = (module.Network(graph, seed=seed).export_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(one[n], same[n]) for n in one)
    assert not np.array_equal(one["classifier.weight"], other["classifier.weight"])


def test_a_name_that_torch_keeps_is_refused_in_one_line():
    s = Sketch((3, 4, 4))
    with pytest.raises(GraphError, match="'half'"):
        module.Network(s.graph(s.act("stage1.half", s.input, "relu")))
