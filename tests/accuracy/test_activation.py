"""Class activation maps: each place's share of the logit, whatever the network, and none where there is none."""

import numpy as np
import pytest

from eyespot.accuracy.activation import open_maps, tail
from eyespot.arch.catalogue import draw, variants
from eyespot.bundle.build import build, normalise
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.pixels import torchvision_preprocess
from eyespot.lower import reference
from eyespot.lower.tensors import random_weights
from tolerances import SAME_WEIGHTS, relative_error

WITHOUT = {"mobilenet_v3", "mobilenet_v4", "ghostnet"}  # a hidden layer after pooling


def test_the_end_of_every_family():
    without = set()
    for name, variant in variants().items():
        if (end := tail(draw(name))) is None:
            without.add(variant.family)
            continue
        graph = draw(name).inference()
        assert graph.shape(end.map)[1:] != (1, 1)
        assert end.classifier is None or graph.shape(end.classifier) == graph.shape(graph.outputs[0])
    assert without == WITHOUT


def bundle_of(path, name, *, background=False):
    arguments = {"classes": 5, "size": 64}
    graph = draw(name, arguments)
    labels = Labels(("a", "b", "c", "d") if background else ("a", "b", "c", "d", "e"), background=background)
    card = Card(name, name, arguments, graph, torchvision_preprocess(64, 64), licence="Apache-2.0")
    return build(path, card, weights=random_weights(graph, 0), labels=labels)


@pytest.mark.parametrize(
    ("name", "background"),
    [("mobilenet_v1_0.25", False), ("mobilenet_v1_0.25", True), ("squeezenet_1.1", False), ("repvgg_a0", False)],
)
def test_the_mean_of_a_map_is_the_logit(tmp_path, name, background):
    bundle = bundle_of(tmp_path / "b", name, background=background)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    x = normalise(pixels[None], bundle.card.preprocess)
    (logits,) = reference.run(bundle.card.graph, bundle.weights(), x).values()
    shown = list(range(len(bundle.labels)))[::-1]
    with open_maps(bundle) as maps:
        got = maps(pixels, shown)
        assert relative_error(got.mean(axis=(1, 2)), logits[0, np.array(shown) + background]) <= SAME_WEIGHTS
        assert np.array_equal(maps(pixels, [1, 0]), got[-2:])
    assert got.shape[1] == got.shape[2] > 1
    assert got.std(axis=(1, 2)).min() > 0


def test_a_network_that_ends_otherwise_has_no_maps(tmp_path):
    assert open_maps(bundle_of(tmp_path / "b", "mobilenet_v3_small_0.75")) is None
