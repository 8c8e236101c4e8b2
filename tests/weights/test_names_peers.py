"""Peers: every network of names.json, built and saved by its library, read by us, and held to the same answer.

CI makes the same comparison, and the way back, on one network of each family and source (bundle/test_export_peers.py).
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.lower import reference
from eyespot.weights.checkpoint import read_tensors
from eyespot.weights.identify import identify
from eyespot.weights.names import match
from libraries import imported
from tolerances import ORIGINAL_SAME_TENSOR, relative_error

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent / "fixtures")]
from make_names import CLASSES, MODELS, build
from peers import keras_logits, liven, liven_keras, torch_logits

pytestmark = [pytest.mark.peers, pytest.mark.slow]
SIZE = 64
LARGER = 107  # of which the Inceptions leave a map of 2×2


def side(architecture: str) -> int:
    return LARGER if architecture.startswith(("inception", "xception")) else SIZE


def from_torch(model, x, path: Path) -> np.ndarray:
    import torch

    torch.save(liven(model, x.shape[-1]).state_dict(), path)
    return torch_logits(model, x)


def from_keras(model, x, path: Path) -> np.ndarray:
    liven_keras(model).save(path)
    rescaled = any(layer.name == "rescaling" for layer in model.layers)  # what EfficientNet does to its pixels first
    return keras_logits(model, x.transpose(0, 2, 3, 1) * (255 if rescaled else 1))


@pytest.mark.parametrize(
    ("library", "name", "scheme", "architecture"), [row for row in MODELS if row[0] != "transformers"]
)
@pytest.mark.filterwarnings("ignore")
def test_same_weights_same_answer(tmp_path, library, name, scheme, architecture):
    imported(library)
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
