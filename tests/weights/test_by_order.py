"""By order: tensors in order of execution, whatever they are called, and the first layer that does not fit."""

import numpy as np
import pytest
from nets import random_tensors

from eyespot.arch.catalogue import draw
from eyespot.errors import WeightsError
from eyespot.lower.fold import fold_graph
from eyespot.weights.by_order import by_order, in_order


@pytest.fixture(scope="module")
def graphs():
    graph = draw("mobilenet_v2_0.35", {"classes": 6})
    return graph, fold_graph(graph)


def numbered(weights) -> dict[str, np.ndarray]:
    """As in a sorted file: 00_conv_bias, 00_conv_weight, 01_conv_bias, …, all kernels with four axes."""
    layers = list(dict.fromkeys(name.rsplit(".", 1)[0] for name in weights))
    named = {f"{layers.index(n.rsplit('.', 1)[0]):02}_conv_{n.rsplit('.', 1)[1]}": t for n, t in weights.items()}
    return {n: t[:, :, None, None] if t.ndim == 2 else t for n, t in sorted(named.items())}


def test_folded_and_numbered(graphs):
    weights = random_tensors(graphs[1])
    for order in (graphs, graphs[::-1]):
        matched = by_order(numbered(weights), order)
        assert matched.graph is graphs[1]
        assert matched.scheme == "by_order"
        assert list(matched.weights) == list(graphs[1].parameters)
        for name, tensor in matched.weights.items():
            np.testing.assert_array_equal(tensor, weights[name], err_msg=name)


def test_with_batch_norms_in_file_order(graphs):
    weights = random_tensors(graphs[0])
    odd = {f"net.{i}.{name.replace('.', '_')}": t for i, (name, t) in enumerate(weights.items())}
    one_per_layer = {}
    for number, (name, tensor) in enumerate(weights.items()):
        layer, short = name.rsplit(".", 1)
        one_per_layer[f"z{1000 - number // 1000}.{layer}.{short}"] = tensor
    shuffled = dict(reversed(one_per_layer.items()))
    matched = by_order(one_per_layer | {"z1000.num_batches_tracked": np.array(3)}, graphs)
    assert matched.graph is graphs[0]
    np.testing.assert_array_equal(matched.weights["classifier.bias"], weights["classifier.bias"])
    with pytest.raises(WeightsError, match="do not fit in order"):
        by_order(shuffled, graphs)
    assert len(odd) == len(weights)


def test_order_within_a_layer_is_ours_not_the_alphabet_s():
    names = ["1.beta", "1.gamma", "1.moving_mean", "1.moving_variance", "0.kernel", "0.bias"]
    got = [item.name for item in in_order({n: np.zeros(1) for n in names})]
    assert got == ["0.kernel", "0.bias", "1.gamma", "1.beta", "1.moving_mean", "1.moving_variance"]


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (["conv1.weight", "conv10.weight", "conv2.weight"], ["conv1", "conv2", "conv10"]),  # sorted: numbers decide
        (
            ["conv2.weight", "conv10.weight", "conv1.weight"],
            ["conv2", "conv10", "conv1"],
        ),  # not sorted: the file decides
        (["9_a_weight", "10_a_weight", "1_a_weight"], ["1_a", "9_a", "10_a"]),  # numbers in front always decide
        (["b:0/weight:0", "a/kernel:0"], ["b:0", "a"]),
    ],
)
def test_the_order_of_layers(names, want):
    got = [item.name for item in in_order({n: np.zeros(1) for n in names})]
    assert [name.removesuffix(":0")[:-7].rstrip("._/") for name in got] == want


def test_the_first_layer_that_does_not_fit(graphs):
    weights = random_tensors(graphs[1])
    wrong = numbered(weights) | {"03_conv_weight": np.zeros((8, 3, 1, 1), "f4")}
    message = r"tensor 7, 03_conv_weight, is 8×3×1×1, but stage2\.block1\.expand\.conv\.weight needs 48×8×1×1"
    with pytest.raises(WeightsError, match=message):
        by_order(wrong, graphs)


def test_too_few_and_too_many(graphs):
    weights = numbered(random_tensors(graphs[1]))
    short = dict(list(weights.items())[:-2])
    with pytest.raises(WeightsError, match=r"they end after 104 of 106, classifier\.weight needs 6×1280"):
        by_order(short, graphs)
    more = weights | {"53_conv_weight": np.zeros(3, "f4")}
    with pytest.raises(WeightsError, match=r"1 are left over after the last layer, the first is 53_conv_weight"):
        by_order(more, graphs)


def test_a_bias_is_no_weight_of_the_same_shape():
    """Shapes alone would take a norm's mean for its scale."""
    graph = draw("mobilenet_v2_0.35", {"classes": 6})
    weights = random_tensors(graph)
    swapped = {n.replace("stem.norm.running_mean", "stem.norm.x_bias"): t for n, t in weights.items()}
    with pytest.raises(WeightsError, match="do not fit"):
        by_order(swapped, [graph])


def test_reshaping_stops_at_1x1(graphs):
    weights = numbered(random_tensors(graphs[1]))
    flat = weights["02_conv_weight"]
    for odd in (flat.reshape(-1), flat.reshape(flat.shape[1], flat.shape[0], 1, 1), flat[None]):
        with pytest.raises(WeightsError, match="02_conv_weight, is"):
            by_order(weights | {"02_conv_weight": odd}, graphs)


def test_words_that_mean_nothing_here():
    with pytest.raises(WeightsError, match=r"lstm\.hidden ends in no word for a weight \(weight, "):
        in_order({"lstm.hidden": np.zeros(1)})
    with pytest.raises(WeightsError, match="no network"):
        by_order({}, [])
