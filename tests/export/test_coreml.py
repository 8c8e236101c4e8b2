"""Core ML packages, as far as they can be checked without a Mac: every layer, its shape and its weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.bundle.build import build
from eyespot.core.card import Card
from eyespot.core.labels import Labels
from eyespot.core.pixels import torchvision_preprocess
from eyespot.errors import ExportError
from eyespot.export.export import export
from eyespot.export.formats import find_format
from eyespot.lower.tensors import random_weights
from lowered import every_op

coremltools = pytest.importorskip("coremltools")


def bundle_of(graph, place, **preprocess):
    rule = replace(torchvision_preprocess(32, 32), **preprocess)
    card = Card("some.test", "some", {}, graph, rule, licence="MIT")
    return build(place, card, weights=random_weights(graph, 1), labels=Labels.numbered(10))


@pytest.mark.parametrize("name", ["mobilenet_v3_small_0.75", "shufflenet_v2_0.5", "resnet20_cifar", "every op"])
def test_every_layer_is_there(name, tmp_path):
    graph = every_op() if name == "every op" else draw(name, {"classes": 10, "size": 32})
    done = export(bundle_of(graph, tmp_path / "bundle", channels="bgr"), "coreml", tmp_path / "out")
    assert done.proof is None
    assert "runs on a Mac only" in done.notes[-1]
    model = coremltools.models.MLModel(str(tmp_path / "out" / "model.mlpackage"), skip_model_load=True)
    spec = model.get_spec()
    image = spec.description.input[0].type.imageType
    assert (image.width, image.height) == (32, 32)
    assert image.ColorSpace.Name(image.colorSpace) == "BGR"
    assert [output.name for output in spec.description.output] == ["logits"]
    assert len(model.user_defined_metadata["labels"].splitlines()) == 10
    assert json.loads(model.user_defined_metadata["preprocess"])["channels"] == "bgr"


def test_a_broken_package_is_refused(tiny, tmp_path):
    def broken(graph, weights, *, preprocess, metadata):
        layer = "block4.pointwise.conv.weight"
        wrong = weights[layer].copy()
        wrong.flat[7] += np.float32(0.1)
        return find_format("coreml").float32(graph, {**weights, layer: wrong}, preprocess=preprocess, metadata=metadata)

    with pytest.raises(ExportError, match=r"the weights of block4.pointwise.conv are not the network's"):
        export(tiny, "coreml", tmp_path / "out", writer=broken)
    assert list(tmp_path.iterdir()) == []


def test_another_network_is_refused(tiny, tmp_path):
    other = draw("mobilenet_v1_0.25", {"classes": 10, "size": 48})

    def written(graph, weights, *, preprocess, metadata):
        return find_format("coreml").float32(other, weights, preprocess=preprocess, metadata=metadata)

    with pytest.raises(ExportError, match=r"stem.conv gives \(1, 8, 24, 24\), the network's \(1, 8, 16, 16\)"):
        export(tiny, "coreml", tmp_path / "out", writer=written)
