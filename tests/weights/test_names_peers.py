"""Peers: networks built by torchvision, timm and Keras, saved by them, read by us, and held to the same answer."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.lower import reference
from eyespot.weights.checkpoint import read_tensors
from eyespot.weights.identify import identify
from eyespot.weights.names import match
from tolerances import ORIGINAL_SAME_TENSOR, relative_error

sys.path.append(str(Path(__file__).parent / "fixtures"))
from make_names import CLASSES, MODELS, build

pytestmark = pytest.mark.peers
SIZE = 64
LARGER = 107  # of which the Inceptions leave a map of 2×2


def side(architecture: str) -> int:
    return LARGER if architecture.startswith(("inception", "xception")) else SIZE


def from_torch(model, x, path: Path) -> np.ndarray:
    """Its own initial weights, and norms that have seen noise: random ones would drown a deep network in rounding."""
    import torch

    torch.manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 0.5
            norm.weight.uniform_(0.6, 1.4)
            norm.bias.uniform_(-0.2, 0.2)
            norm.train()  # alone: auxiliary heads take no small pictures
        for _ in range(4):
            model(torch.randn(2, *x.shape[1:]))
        model.eval()
        torch.save(model.state_dict(), path)
        return model(torch.from_numpy(x)).numpy()


def from_keras(model, x, path: Path) -> np.ndarray:
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if layer.weights and layer.name != "normalization":
            layer.set_weights([lively(tuple(weight.shape), weight.name, layer.name, rng) for weight in layer.weights])
    model.save(path)
    rescaled = any(layer.name == "rescaling" for layer in model.layers)  # what EfficientNet does to its pixels first
    return np.asarray(model.predict(x.transpose(0, 2, 3, 1) * (255 if rescaled else 1), verbose=0))


def lively(shape, name: str, layer: str, rng) -> np.ndarray:
    """Random values that keep signals alive: norms near one, He-like kernels."""
    if len(shape) < 2:
        low, high = (0.5, 1.5) if "variance" in name else (0.8, 1.4) if "gamma" in name else (-0.3, 0.3)
        return rng.uniform(low, high, shape).astype("f4")
    reach = shape[:2] if "dw" in layer or "depthwise" in layer + name else shape[:-1]
    gain = 0.1 if "project" in layer else 2  # the ends of residual branches, whose sums would grow with depth
    return rng.normal(0, np.sqrt(gain / np.prod(reach)), shape).astype("f4")


@pytest.mark.parametrize(
    ("library", "name", "scheme", "architecture"), [row for row in MODELS if row[0] != "transformers"]
)
@pytest.mark.filterwarnings("ignore")
def test_same_weights_same_answer(tmp_path, monkeypatch, library, name, scheme, architecture):
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(library)
    path = tmp_path / ("model.h5" if library == "keras" else "model.pth")
    size = side(architecture)
    x = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype("f4")
    want = (from_keras if library == "keras" else from_torch)(build(library, name, size), x, path)
    tensors = read_tensors(path)
    (found,) = (c for c in identify(tensors) if c.scheme == scheme)
    assert (found.architecture, found.arguments["classes"]) == (architecture, CLASSES)
    graph = draw(architecture, {**found.arguments, "size": size})
    (got,) = reference.run(graph, match(tensors, graph, scheme).weights, x).values()
    assert relative_error(got, want) < ORIGINAL_SAME_TENSOR
