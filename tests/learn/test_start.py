"""Where training starts: fresh heads are what the catalogue would draw, and restored norms change no answer."""

from importlib import import_module

import numpy as np
import pytest

from eyespot.arch import catalogue
from eyespot.bundle.build import normalise
from eyespot.core import ops
from eyespot.core.pixels import Preprocess
from eyespot.core.sketch import Sketch
from eyespot.errors import GraphError, WeightsError
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower import reference
from eyespot.lower.fold import fold, fold_graph
from eyespot.lower.reparam import reparam_graph
from eyespot.lower.tensors import random_weights
from eyespot.weights.by_order import by_order
from eyespot.weights.checkpoint import read_checkpoint
from tolerances import RESTORED_NORMS, SAME_WEIGHTS, relative_error

torch = pytest.importorskip("torch")
start = import_module("eyespot.learn.start")  # after the skip
module = import_module("eyespot.learn.module")

FAMILIES = {v.family: name for name, v in reversed(catalogue.variants().items())}  # the first of each
FOLDED = ("mobilenet_v2_0.35", "mobilenet_v3_small_1.0", "mobilenet_v4_conv_small_0.5")


def drawn(name, **arguments):
    for size in (32, 64, 96, 139, 224, 299):
        try:
            return catalogue.draw(name, {**arguments, "size": size})
        except GraphError:
            continue
    raise AssertionError(name)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", FAMILIES.values())
def test_a_fresh_head_is_what_the_catalogue_draws_for_so_many_classes(name):
    graph = drawn(name)
    assert start.fresh_head(graph, 7) == drawn(name, classes=7)
    heads = start.classifiers(graph)
    assert list(heads) == list(graph.outputs)
    folded = fold_graph(graph)
    assert start.fresh_head(folded, 7).shape(folded.outputs[0]) == (7,)


def test_a_convolution_after_the_mean_is_a_classifier_too():
    """As TensorFlow's MobileNets have it: 1×1 on the pooled map, with or without a softmax."""
    s = Sketch((3, 8, 8))
    x = s.conv("classifier", s.global_pool("pool", s.conv("stem", s.input, 6, kernel=3)), 10, bias=True)
    graph = start.fresh_head(s.graph(s.softmax("softmax", s.flatten("flatten", x))), 3)
    assert graph.shape("softmax") == (3,)
    assert graph.by_name["classifier"].op.channels == 3
    assert start.backbone_features(graph) == "pool"


def test_one_class_and_no_classifier_are_refused_in_one_line():
    graph = drawn("mobilenet_v1_0.25")
    with pytest.raises(GraphError, match="1 classes came, a classifier needs two"):
        start.fresh_head(graph, 1)
    s = Sketch((3, 8, 8))
    x = s.conv("stem", s.input, 6)
    with pytest.raises(GraphError, match="'flatten' comes from no classifier"):
        start.fresh_head(s.graph(s.flatten("flatten", s.sum("sum", x, x))), 3)


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35", "squeezenet_1.1", "inception_v1"])
def test_start_weights_keep_the_backbone_and_draw_the_heads_afresh(name):
    graph = drawn(name)
    weights = random_weights(graph, 3)
    fresh = start.fresh_head(graph, 5)
    got = start.start_weights(fresh, weights, seed=1)
    heads = set(start.classifiers(graph).values())
    for key, tensor in got.items():
        node, short = key.rsplit(".", 1)
        if node not in heads:
            assert np.array_equal(tensor, weights[key])
            assert not np.shares_memory(tensor, weights[key])
        elif short == "bias":
            assert not tensor.any()
        else:
            assert 0.005 < tensor.std() < 0.02
    again, other = (start.start_weights(fresh, weights, seed=seed) for seed in (1, 2))
    assert all(np.array_equal(got[key], again[key]) for key in got)
    assert not all(np.array_equal(got[key], other[key]) for key in got)


def test_auxiliary_heads_may_be_absent_but_nothing_else():
    graph = drawn("inception_v1")
    weights = {n: t for n, t in random_weights(graph).items() if not n.startswith("aux")}
    got = start.start_weights(start.fresh_head(graph, 5), weights)
    assert got["aux1.classifier.weight"].shape[0] == 5
    del weights["stem.layer1.conv.weight" if "stem.layer1.conv.weight" in weights else next(iter(weights))]
    with pytest.raises(WeightsError, match="lack 1 of"):
        start.start_weights(start.fresh_head(graph, 5), weights)


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35", "mobilenet_v3_small_1.0", "inception_v1", "resnet18"])
def test_a_linear_layer_on_the_backbone_is_the_network(name):
    graph = drawn(name)
    weights = random_weights(graph, 1)
    cut = start.backbone(graph)
    assert not any(node.train_only or isinstance(node.op, ops.Dropout) for node in cut.nodes)
    x = np.random.default_rng(0).normal(size=(2, *graph.input)).astype(np.float32)
    (features,) = reference.run(cut, {n: weights[n] for n in cut.parameters}, x).values()
    logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    assert relative_error(logits, reference.run(graph, weights, x)["classifier"]) < SAME_WEIGHTS


def test_a_map_before_the_classifier_is_averaged():
    cut = start.backbone(drawn("squeezenet_1.1"))
    assert cut.shape(cut.outputs[0]) == (512,)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("mobilenet_v2_0.35", 10), ("resnet18", 5), ("efficientnet_b0", 9), ("repvgg_a0", 0), ("mobileone_s0", 0)],
)
def test_stochastic_depth_grows_over_the_blocks_with_an_identity(name, blocks):
    """Half of ResNet-18's eight; RepVGG's and MobileOne's parallel branches are no residual blocks."""
    graph = drawn(name)
    got = start.with_rates(graph, drop_path=0.5)
    rates = [node.op.rate for node in got.nodes if isinstance(node.op, ops.DropPath)]
    assert rates == pytest.approx([0.5 * i / blocks for i in range(1, blocks + 1)])
    assert got.parameters == graph.parameters
    assert reparam_graph(got) == reparam_graph(graph)


def test_dropout_stands_before_the_classifier_and_rates_are_checked():
    for name in ("mobilenet_v2_0.35", "resnet18", "squeezenet_1.1"):
        graph = drawn(name)
        got = start.with_rates(graph, dropout=0.3)
        head = got.by_name[start.classifiers(got)[got.outputs[0]]]
        assert got.by_name[head.inputs[0]].op == ops.Dropout(0.3)
        assert sum(isinstance(node.op, ops.Dropout) for node in got.nodes) == 1
        assert fold_graph(got) == fold_graph(graph)
        assert start.with_rates(got, dropout=0.1) == start.with_rates(graph, dropout=0.1)
        assert start.with_rates(graph) == graph
    with pytest.raises(GraphError, match="dropout is 1"):
        start.with_rates(graph, dropout=1.0)


def outputs(graph, weights, x, *, training=False):
    network = module.Network(graph).train(training)
    network.load_weights(weights)
    with torch.no_grad():
        return network(x)[graph.outputs[0]].numpy()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", FOLDED)
def test_restored_norms_change_no_answer(name, known):
    """Evaluated, and, dropout left out, in training on the batch that they were measured on."""
    graph = start.with_rates(drawn(name), dropout=0.0)
    folded, weights = fold(graph, random_weights(graph, 2))
    x = torch.randn(8, *graph.input, generator=torch.Generator().manual_seed(0))
    got, tensors = start.restore_norms(folded, weights, [x[:4], x[4:]], drawn=graph if known else None)
    assert (got == graph.inference()) == known
    assert sum(isinstance(node.op, ops.BatchNorm) for node in got.nodes) > 20
    want = outputs(folded, weights, x)
    assert relative_error(outputs(got, tensors, x), want) < SAME_WEIGHTS
    assert relative_error(outputs(got, tensors, x, training=True), want) < RESTORED_NORMS
    gain = next(n for n in tensors if n.endswith("norm.weight"))
    off = tensors | {gain: tensors[gain] * np.float32(1.01)}
    assert relative_error(outputs(got, off, x), want) > SAME_WEIGHTS


def test_a_scale_that_was_folded_in_comes_out_again():
    """Inception-ResNet's: a convolution with a bias of its own, then the factor; and one behind a norm, refused."""
    s = Sketch((3, 16, 16))
    x = s.act("stem.act", s.norm("stem.norm", s.conv("stem.conv", s.input, 8, kernel=3)), "relu")
    y = s.norm("branch.norm", s.conv("branch.conv", x, 8, kernel=3, bias=True))
    y = s.conv("project.conv", s.act("branch.act", y, "relu"), 8, bias=True)
    x = s.sum("add", x, s.scale("project.scale", y, 0.2))
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 5))
    folded, weights = fold(graph, random_weights(graph, 2))
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    got, tensors = start.restore_norms(folded, weights, [x], drawn=graph)
    assert relative_error(outputs(got, tensors, x, training=True), outputs(folded, weights, x)) < RESTORED_NORMS
    assert np.abs(tensors["project.conv.weight"]).max() > 4 * np.abs(weights["project.conv.weight"]).max()
    s = Sketch((3, 16, 16))
    x = s.scale("scale", s.norm("stem.norm", s.conv("stem.conv", s.input, 8)), 0.2)
    graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 5))
    with pytest.raises(GraphError, match="both a norm and a scale"):
        start.restore_norms(*fold(graph, random_weights(graph)), [], drawn=graph)


def test_a_network_that_never_had_norms_comes_back_as_it_is():
    graph = drawn("squeezenet_1.1")
    folded = fold_graph(graph)
    weights = random_weights(graph)
    got, tensors = start.restore_norms(folded, weights, [], drawn=graph)
    assert got == graph
    assert all(np.array_equal(tensors[n], weights[n]) for n in weights)


def test_another_network_and_no_pictures_are_refused_in_one_line():
    graph = drawn("mobilenet_v2_0.35")
    folded, weights = fold(graph, random_weights(graph))
    with pytest.raises(GraphError, match="does not fold to"):
        start.restore_norms(folded, weights, [], drawn=drawn("mobilenet_v2_0.35", classes=5))
    with pytest.raises(GraphError, match="no batches came"):
        start.restore_norms(folded, weights, [], drawn=graph)


REAL = {
    "mobilenet_v2_1.0": "mobilenet_v2_1.0_224.tf.safetensors",
    "mobilenet_v3_small_1.0": "mobilenet_v3_small_1.0_224.tf.float16.safetensors",
}


@pytest.mark.parametrize("name", REAL)
def test_real_folded_weights_answer_the_same_and_can_be_trained(name, assets):
    """Google's MobileNets: same logits on photographs; then some steps bring the loss down."""
    graph = catalogue.draw(name, {"classes": 1001, "size": 96, "padding": "same"})
    matched = by_order(read_checkpoint(assets / "weights" / REAL[name]).tensors, [fold_graph(graph)])
    folded, weights = matched.graph, matched.weights
    preprocess = Preprocess((96, 96), scale=1.0, mean=(127.5,) * 3, std=(127.5,) * 3)
    files = sorted((assets / "datasets/imagenet_samples").glob("**/*.[jJ]*"))[:16]
    pixels = np.stack([decode_and_prepare(file.read_bytes(), preprocess).pixels for file in files])
    x = torch.from_numpy(normalise(pixels, preprocess))
    got, tensors = start.restore_norms(folded, weights, [x[:8], x[8:]], drawn=graph)
    assert got == graph
    assert relative_error(outputs(got, tensors, x), outputs(folded, weights, x)) < RESTORED_NORMS
    fresh = start.fresh_head(got, 2)
    network = module.Network(fresh)
    network.load_weights(start.start_weights(fresh, tensors))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    torch.manual_seed(0)
    classes, losses = torch.arange(16) % 2, []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(x)["classifier"], classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert 0.5 < losses[0] < 0.9  # two classes, equally likely
    assert losses[-1] < 0.5 * losses[0]
