"""The networks that `finetune.py` trains: torchvision's, timm's and eyespot's, each from the weights of one bundle."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from finetune import Start
from torch import Tensor, nn

from eyespot.bundle.export import export_weights
from eyespot.bundle.resolve import open_bundle


def _exported(bundle: str, library: str, work: Path) -> dict[str, Tensor]:
    """The bundle's tensors as another library names them."""
    from safetensors.torch import load_file

    path = work / f"{library}.safetensors"
    export_weights(open_bundle(bundle), library, path, replace_file=True)
    return load_file(path)


def torchvision_mobilenet(bundle: str, classes: int, size: int, seed: int, work: Path) -> Start:
    """torchvision's MobileNetV2."""
    del size
    import torchvision

    torch.manual_seed(seed)
    network = torchvision.models.mobilenet_v2()
    network.load_state_dict(_exported(bundle, "torchvision", work))
    network.classifier[1] = nn.Linear(network.last_channel, classes)
    return _start(network, network.classifier, bundle)


def timm_lite(bundle: str, classes: int, size: int, seed: int, work: Path) -> Start:
    """timm's EfficientNet-Lite0."""
    del size
    import timm

    torch.manual_seed(seed)
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(_exported(bundle, "timm", work))
    network.reset_classifier(classes)
    return _start(network, network.get_classifier(), bundle)


class Logits(nn.Module):
    """The first output of eyespot's own module."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 3, h, w) → (n, classes)."""
        return next(iter(self.network(inputs).values()))


def eyespot_network(bundle: str, classes: int, size: int, seed: int, work: Path) -> Start:
    """eyespot's module of the bundle's graph, which no other library has."""
    del work
    from eyespot.learn.module import Network
    from eyespot.learn.origin import open_origin
    from eyespot.learn.start import classifiers, start_weights

    origin = open_origin(bundle).at(size=size, classes=classes)
    network = Network(origin.graph)
    network.load_weights(start_weights(origin.graph, open_bundle(bundle).weights(), seed=seed))
    name = classifiers(origin.graph)[origin.graph.outputs[0]]
    torch.manual_seed(seed)
    return _start(Logits(network), network.get_submodule(name), bundle)


def _start(network: nn.Module, classifier: nn.Module, bundle: str) -> Start:
    """With the bundle's mean and deviation, for pixels from 0 to 1."""
    pixels = open_bundle(bundle).card.preprocess
    mean, std = (tuple(value / (255 * pixels.scale) for value in values) for values in (pixels.mean, pixels.std))
    return Start(network.to(memory_format=torch.channels_last), classifier, mean, std)


START: Mapping[str, Callable[[str, int, int, int, Path], Start]] = {
    "mobilenet_v2_1.0": torchvision_mobilenet,
    "efficientnet_lite0": timm_lite,
    "eyelet_1.0": eyespot_network,
}
