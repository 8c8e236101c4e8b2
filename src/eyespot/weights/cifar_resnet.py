"""The names of the CIFAR ResNets of akamaster/pytorch_resnet_cifar10: torchvision's, but for the classifier."""

from __future__ import annotations

from eyespot.core.graph import Graph
from eyespot.weights.scheme import Modules, Scheme, always, blocks, conv_norm, numbered


def resnet_cifar(graph: Graph) -> Modules:
    """layerS.N.conv1, bn1, conv2, bn2; the shortcuts ("option A") store nothing."""
    out = conv_norm("stem", "conv1", "bn1")
    for block in blocks(graph):
        stage, number = numbered(block)
        at = f"layer{stage}.{number - 1}"
        out |= conv_norm(f"{block}.first", f"{at}.conv1", f"{at}.bn1")
        out |= conv_norm(f"{block}.second", f"{at}.conv2", f"{at}.bn2")
    return out | {"classifier": "linear"}


SCHEMES = (
    Scheme(
        "akamaster.resnet_cifar", "resnet", "conv1", "linear", resnet_cifar,
        arguments=always(padding="symmetric", eps=1e-5), suits=lambda variant: variant.endswith("_cifar"),
    ),
)  # fmt: skip
