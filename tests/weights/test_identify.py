"""Identifying a file: architecture, classes, width, padding and epsilon from names and shapes alone."""

import numpy as np
import pytest
from nets import drawn, random_tensors, smallest, theirs

from eyespot.arch.catalogue import draw
from eyespot.core.ops import BatchNorm
from eyespot.errors import WeightsError
from eyespot.lower.fold import fold_graph
from eyespot.weights.identify import Candidate, identify, the_one
from eyespot.weights.names import SCHEMES


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_source_is_recognised(scheme):
    graph = drawn(scheme, classes=7)
    tensors = theirs(scheme, graph, random_tensors(graph))
    found = identify(tensors)
    arguments = {**SCHEMES[scheme].arguments(smallest(scheme)), "classes": 7}
    assert Candidate(scheme, smallest(scheme), arguments) in found
    assert graph in ((whole := draw(smallest(scheme), arguments)), whole.inference())
    assert {c.architecture for c in found} == {smallest(scheme)}
    # timm's ports of TensorFlow's weights are the only files that do not say whose they are
    twins = {scheme, scheme.replace("timm.", "timm_tf."), scheme.replace("timm_tf.", "timm.")} & set(SCHEMES)
    assert {c.scheme for c in found} == twins


@pytest.mark.parametrize(
    "name", ["mobilenet_v2_0.5", "mobilenet_v2_1.4", "resnet34", "resnet56_cifar", "squeezenet_1.0"]
)
def test_width_and_depth_come_from_shapes(name):
    scheme = {"m": "torchvision.mobilenet_v2", "r": "torchvision.resnet", "s": "torchvision.squeezenet"}[name[0]]
    scheme = "akamaster.resnet_cifar" if name.endswith("cifar") else scheme
    graph = draw(name, {"classes": 3})
    found = the_one(identify(theirs(scheme, graph, random_tensors(graph))), {})
    assert (found.architecture, found.arguments["classes"]) == (name, 3)


def test_none_and_many_say_what_to_pass():
    graph = drawn("timm.efficientnet")
    tensors = theirs("timm.efficientnet", graph, random_tensors(graph))
    found = identify(tensors)
    message = r"fits efficientnet_b0 in the names of timm\.efficientnet \(.*\); and .*; say which with a scheme \(timm"
    with pytest.raises(WeightsError, match=message):
        the_one(found, tensors)
    chosen = the_one(identify(tensors, scheme="timm_tf.efficientnet"), tensors)
    assert chosen.arguments == {"padding": "same", "eps": 1e-3, "classes": 7}
    assert identify(tensors, architecture="efficientnet_b1") == ()
    del tensors["conv_head.weight"]
    with pytest.raises(
        WeightsError,
        match=r"nearly efficientnet_b0 in the names of timm\.efficientnet, but conv_head\.weight is missing",
    ):
        the_one(identify(tensors), tensors)
    assert identify({}) == ()


def test_a_classifier_of_no_classes_is_no_network():
    graph = drawn("torchvision.mobilenet_v2")
    tensors = theirs("torchvision.mobilenet_v2", graph, random_tensors(graph))
    assert identify(tensors | {"classifier.1.bias": np.zeros(0, "f4")}) == ()


@pytest.mark.parametrize("folded", [True, False])
def test_in_order_of_execution(folded):
    graph = draw("mobilenet_v3_small_0.75", {"classes": 9})
    graph = fold_graph(graph) if folded else graph
    tensors = dict(random_tensors(graph))
    assert identify(tensors) == ()
    want = Candidate("by_order", "mobilenet_v3_small_0.75", {"classes": 9})
    assert identify(tensors, scheme="by_order") == (want,)
    assert identify(tensors, scheme="by_order", architecture="resnet18") == ()


def test_numbered_tensors_are_tensorflow_s():
    graph = fold_graph(draw("mobilenet_v1_0.25", {"classes": 11}))
    layers = dict.fromkeys(name.rsplit(".", 1)[0] for name in graph.parameters)
    number = {layer: f"{i:02}_{'dw' if 'depthwise' in layer else 'conv'}" for i, layer in enumerate(layers)}
    tensors = {
        f"{number[layer]}_{short}": t
        for (layer, short), t in ((n.rsplit(".", 1), t) for n, t in random_tensors(graph).items())
    }
    found = the_one(identify(tensors), tensors)
    assert found == Candidate("by_order", "mobilenet_v1_0.25", {"padding": "same", "classes": 11})
    assert not any(isinstance(node.op, BatchNorm) for node in graph.nodes)


def test_nothing_is_read_into_scalars():
    assert identify({"0_conv_weight": np.zeros(())}) == ()
    assert identify({"0_conv_weight": np.zeros((1 << 3, 2))}) == ()
