"""Logits equal torchvision's and timm's for the same random weights, filled in by order of execution.

pip install -e '.[dev,peers]' && pytest -m peers tests/arch/test_peers.py; CI leaves out those that are slow too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eyespot.arch.catalogue import draw, variants
from eyespot.core.graph import Graph
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from libraries import imported, one_of_each
from tolerances import ORIGINAL_SAME_TENSOR, relative_error

pytestmark = pytest.mark.peers

TORCHVISION = {
    "mobilenet_v2": "mobilenet_v2_1.0",
    "mobilenet_v3_small": "mobilenet_v3_small_1.0",
    "mobilenet_v3_large": "mobilenet_v3_large_1.0",
    "squeezenet1_0": "squeezenet_1.0",
    "squeezenet1_1": "squeezenet_1.1",
    "mnasnet0_5": "mnasnet_0.5",
    "mnasnet0_75": "mnasnet_0.75",
    "mnasnet1_0": "mnasnet_1.0",
    "mnasnet1_3": "mnasnet_1.3",
    **{f"shufflenet_v2_x{w.replace('.', '_')}": f"shufflenet_v2_{w}" for w in ("0.5", "1.0", "1.5", "2.0")},
    "resnext50_32x4d": "resnext50_32x4d",
    **{f"efficientnet_v2_{size}": f"efficientnet_v2_{size}" for size in "sml"},
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"efficientnet_b{i}": f"efficientnet_b{i}" for i in range(8)},
}
TIMM = {
    "mobilenetv1_100": "mobilenet_v1_1.0",
    "mobilenetv2_035": "mobilenet_v2_0.35",
    "mobilenetv2_050": "mobilenet_v2_0.5",
    "mobilenetv2_075": "mobilenet_v2_0.75",
    "mobilenetv2_140": "mobilenet_v2_1.4",
    "mobilenetv3_small_075": "mobilenet_v3_small_0.75",
    "mobilenetv3_large_075": "mobilenet_v3_large_0.75",
    "tf_mobilenetv3_small_100": "mobilenet_v3_small_1.0",
    "tf_mobilenetv3_large_100": "mobilenet_v3_large_1.0",
    "tf_mobilenetv3_small_minimal_100": "mobilenet_v3_small_minimalistic_1.0",
    "tf_mobilenetv3_large_minimal_100": "mobilenet_v3_large_minimalistic_1.0",
    "mobilenetv4_conv_small_050": "mobilenet_v4_conv_small_0.5",
    **{f"mobilenetv4_conv_{size}": f"mobilenet_v4_conv_{size}" for size in ("small", "medium", "large")},
    **{f"repvgg_{size}": f"repvgg_{size}" for size in ("a0", "b0")},
    **{f"mobileone_s{i}": f"mobileone_s{i}" for i in range(5)},
    "mnasnet_075": "mnasnet_0.75",
    "ghostnet_050": "ghostnet_0.5",
    "ghostnet_100": "ghostnet_1.0",
    "ghostnet_130": "ghostnet_1.3",
    "regnety_004": "regnet_y_400mf",
    "regnety_008": "regnet_y_800mf",
    "regnety_008_tv": "regnet_y_800mf_tv",
    **{f"tf_efficientnetv2_{size}": f"efficientnet_v2_{size}" for size in ("b0", "b1", "b2", "b3", "s", "m")},
    **{f"tf_efficientnet_b{i}": f"efficientnet_b{i}" for i in range(8)},
    **{f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}" for i in range(5)},
}


def layers(peer: Any, torch: Any) -> list[Any]:
    """The layers that hold parameters, in order of execution."""
    kinds = (torch.nn.Conv2d, torch.nn.Linear, torch.nn.modules.batchnorm._BatchNorm)
    seen: list[Any] = []
    hooks = [m.register_forward_hook(lambda m, *_: seen.append(m)) for m in peer.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        peer(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    return seen


def fill(peer: Any, graph: Graph, weights: dict[str, np.ndarray], torch: Any) -> None:
    nodes = [n for n in graph.nodes if n.name + ".weight" in graph.parameters]
    with torch.no_grad():
        for node, layer in zip(nodes, layers(peer, torch), strict=True):
            for p in graph.parameters_of(node):
                tensor = getattr(layer, p.name.removeprefix(node.name + "."))
                tensor.copy_(torch.from_numpy(weights[p.name]).reshape(tensor.shape))


def compare(peer: Any, name: str, padding: str) -> None:
    torch = imported("torch")
    peer.eval()
    eps = {m.eps for m in peer.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}
    arguments: dict[str, object] = {"padding": padding, **({"eps": eps.pop()} if eps else {})}
    weights = None
    for size in ((96, 96), (65, 97)):  # odd sizes are where paddings differ
        graph = draw(name, {**arguments, "size": size})
        if weights is None:
            weights = random_weights(graph, 0)
            fill(peer, graph, weights, torch)
        x = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
        with torch.no_grad():
            theirs = peer(torch.from_numpy(x)).numpy()
        assert relative_error(run(graph, weights, x)[graph.outputs[0]], theirs) <= ORIGINAL_SAME_TENSOR
        wrong = {k: v * 1.01 if k == "classifier.weight" else v for k, v in weights.items()}
        assert relative_error(run(graph, wrong, x)[graph.outputs[0]], theirs) > ORIGINAL_SAME_TENSOR


def family(theirs: str, ours: str) -> tuple[str, bool]:
    """With timm's two paddings apart."""
    return variants()[ours].family, theirs.startswith("tf_")


@pytest.mark.parametrize(("theirs", "ours"), one_of_each(TORCHVISION.items(), family))
def test_torchvision(theirs, ours):
    models = imported("torchvision").models
    compare(getattr(models, theirs)(weights=None), ours, "symmetric")


@pytest.mark.parametrize(("theirs", "ours"), one_of_each(TIMM.items(), family))
@pytest.mark.filterwarnings("ignore::UserWarning:timm")  # about names that timm renamed
def test_timm(theirs, ours):
    timm = imported("timm")
    compare(timm.create_model(theirs), ours, "same" if theirs.startswith("tf_") else "symmetric")
