"""Networks with random weights under other people's names, for the tests of names."""

import numpy as np

from eyespot.arch.catalogue import draw
from eyespot.weights.names import SCHEMES
from eyespot.weights.scheme import KERAS, layers


def random_tensors(graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Small random numbers under our names; variances are positive."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(p.shape, "f4") + np.float32(0.5)
        if name.endswith("running_var")
        else rng.standard_normal(p.shape, "f4")
        for name, p in graph.parameters.items()
    }


def empty_tensors(graph) -> dict[str, np.ndarray]:
    """Tensors of the right shapes that take no memory."""
    return {name: np.broadcast_to(np.float32(1), p.shape) for name, p in graph.parameters.items()}


def theirs(scheme_name: str, graph, weights) -> dict[str, np.ndarray]:
    """The weights as the source of a scheme would have written them: its names, its layouts."""
    scheme = SCHEMES[scheme_name]
    modules = scheme.modules(graph)
    out = {}
    for node in graph.nodes:
        for parameter in graph.parameters_of(node):
            short = parameter.name.rsplit(".", 1)[1]
            name = f"{modules[node.name]}{scheme.layout.join}{scheme.layout.names(node.op, short)[0]}"
            tensor = weights[parameter.name]
            if scheme.layout is KERAS and tensor.ndim == 4:
                depthwise = node.op.groups > 1
                tensor = tensor.transpose(2, 3, 0, 1) if depthwise else tensor.transpose(2, 3, 1, 0)
            elif scheme.layout is KERAS and tensor.ndim == 2:
                tensor = tensor.T
            out[name] = tensor
    return out


SMALL = {
    "inception_v1": "inception_v1", "inception_v3": "inception_v3", "inception_v4": "inception_v4",
    "inception_resnet_v2": "inception_resnet_v2", "xception": "xception",
    "mobilenet_v1": "mobilenet_v1_0.25", "mobilenet_v2": "mobilenet_v2_0.35", "mobilenet_v3": "mobilenet_v3_small_0.75",
    "efficientnet": "efficientnet_b0", "squeezenet": "squeezenet_1.1", "resnet": "resnet50", "mnasnet": "mnasnet_0.5",
    "shufflenet_v1": "shufflenet_v1_1.0_g3", "shufflenet_v2": "shufflenet_v2_0.5", "ghostnet": "ghostnet_0.5",
    "regnet": "regnet_y_400mf", "resnext": "resnext50_32x4d", "efficientnet_v2": "efficientnet_v2_s",
    "mobilenet_v4": "mobilenet_v4_conv_small_0.5", "repvgg": "repvgg_a0", "mobileone": "mobileone_s0",
}  # fmt: skip


def smallest(scheme_name: str) -> str:
    """A small variant that the scheme suits."""
    return "resnet20_cifar" if "cifar" in scheme_name else SMALL[SCHEMES[scheme_name].family]


def drawn(scheme_name: str, classes: int = 7):
    """The graph of that variant with the scheme's arguments."""
    variant = smallest(scheme_name)
    graph = draw(variant, {**SCHEMES[scheme_name].arguments(variant), "classes": classes})
    named = SCHEMES[scheme_name].modules(graph)
    return (
        graph if all(layer in named for layer in layers(graph)) else graph.inference()
    )  # Keras has no auxiliary heads
