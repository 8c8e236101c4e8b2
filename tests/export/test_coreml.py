"""Core ML packages without a Mac: every layer, rounding, shape and weight is read again, and the program is computed in
numpy, operation by operation, which must answer as the bundle does.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.bundle.build import build, normalise
from eyespot.bundle.build_quantized import build_quantized
from eyespot.core import ops
from eyespot.core.card import Card
from eyespot.core.graph import INPUT
from eyespot.core.labels import Labels
from eyespot.core.pixels import torchvision_preprocess
from eyespot.errors import ExportError
from eyespot.export import coreml
from eyespot.export.export import export
from eyespot.export.formats import find_format
from eyespot.lower.int8.fit import Recipe, store
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.quantized import Grid
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.reference import run
from eyespot.lower.tensors import random_weights
from lowered import every_op
from mil_programs import run_package
from quantizing import pictures, quantized
from tolerances import QUANTIZED_LOGITS, SAME_WEIGHTS, SUMMED_LEVELS, relative_error

coremltools = pytest.importorskip("coremltools")

NETWORKS = ["mobilenet_v3_small_0.75", "shufflenet_v2_0.5", "resnet20_cifar", "every op"]
PACKAGE = "model.mlpackage"


def bundle_of(name, place, **preprocess):
    graph = every_op() if name == "every op" else draw(name, {"classes": 10, "size": 32})
    rule = replace(torchvision_preprocess(32, 32), **preprocess)
    card = Card("some.test", "some", {}, graph, rule, licence="MIT")
    return build(place, card, weights=random_weights(graph, 1), labels=Labels.numbered(10))


def in_8_bits(bundle, place):
    ready = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
    return build_quantized(place, bundle, quantized(ready, Recipe("mse", corrected=True)), ready.preprocess)


def stored_as(precision, bundle, place):
    network = store(
        make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess), precision.removesuffix("-weights")
    )
    return build_quantized(place, bundle, network, bundle.card.preprocess, precision=precision)


def answers(bundle, pixels):
    network = bundle.quantized()
    return run_quantized(network, normalise(pixels, bundle.card.preprocess))[network.graph.outputs[0]]


def levels_of(network, x):
    """The levels of each value on a grid, by the names that their roundings have in a package."""
    names = [name for name in network.grids if name != INPUT]
    real = {INPUT: x} | run_quantized(network, x, keep=names)
    return {coreml.plain_name(f"{name}.q"): grid.quantize(real[name]) for name, grid in network.grids.items()}


def operations_of(folder):
    main = (
        coremltools.models.MLModel(str(folder / PACKAGE), skip_model_load=True).get_spec().mlProgram.functions["main"]
    )
    return [operation.type for operation in main.block_specializations[main.opset].operations]


@pytest.fixture(scope="module")
def residual_int8(tmp_path_factory):
    """A network with sums in 8 bits."""
    place = tmp_path_factory.mktemp("residual")
    return in_8_bits(bundle_of("resnet20_cifar", place / "float"), place / "int8")


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_answers_as_the_reference(name, tmp_path):
    bundle = bundle_of(name, tmp_path / "bundle", channels="bgr")
    done = export(bundle, "coreml", tmp_path / "out")
    assert done.proof is None
    assert "runs on a Mac only" in done.notes[-1]
    assert "nothing was run" in done.notes[-1]
    model = coremltools.models.MLModel(str(tmp_path / "out" / PACKAGE), skip_model_load=True)
    spec = model.get_spec()
    assert spec.specificationVersion == coremltools.target.iOS16
    image = spec.description.input[0].type.imageType
    assert (image.width, image.height) == (32, 32)
    assert image.ColorSpace.Name(image.colorSpace) == "BGR"
    assert [output.name for output in spec.description.output] == ["logits"]
    assert len(model.user_defined_metadata["labels"].splitlines()) == 10
    assert json.loads(model.user_defined_metadata["preprocess"])["channels"] == "bgr"
    pixels, graph = pictures(2, 32, seed=5), bundle.card.graph
    want = run(graph, bundle.weights(), normalise(pixels, bundle.card.preprocess))[graph.outputs[0]]
    assert relative_error(run_package(tmp_path / "out" / PACKAGE, pixels), want) < SAME_WEIGHTS


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_answers_as_its_integers_mean(name, tmp_path):
    bundle = in_8_bits(bundle_of(name, tmp_path / "float"), tmp_path / "int8")
    done = export(bundle, "coreml", tmp_path / "out")
    assert done.precision == "int8"
    assert done.proof is None
    assert "nothing was run" in done.notes[-1]
    spec = coremltools.models.MLModel(str(tmp_path / "out" / PACKAGE), skip_model_load=True).get_spec()
    assert spec.specificationVersion == coremltools.target.iOS17
    made, network = operations_of(tmp_path / "out"), bundle.quantized()
    assert made.count("quantize") == made.count("dequantize") == len(network.grids)
    assert made.count("constexpr_affine_dequantize") == len(network.int8_layers())
    pixels = pictures(2, 32, seed=5)
    assert relative_error(run_package(tmp_path / "out" / PACKAGE, pixels), answers(bundle, pixels)) < QUANTIZED_LOGITS
    wanted = levels_of(network, normalise(pixels, bundle.card.preprocess))
    found = {name: levels.copy() for name, levels in wanted.items()}
    run_package(tmp_path / "out" / PACKAGE, pixels, found)
    apart = [np.abs(found[name].astype(int) - wanted[name]).max() for name in wanted]
    assert max(apart) <= SUMMED_LEVELS


@pytest.mark.parametrize(
    ("precision", "operation"), [("int8-weights", "constexpr_affine_dequantize"), ("float16", "constexpr_cast")]
)
def test_stored_weights_stay_so(precision, operation, tiny, tmp_path):
    bundle = stored_as(precision, tiny, tmp_path / "stored")
    done = export(bundle, "coreml", tmp_path / "out")
    assert done.precision == precision
    assert len(done.notes) == 1
    assert operation in operations_of(tmp_path / "out")
    whole = export(tiny, "coreml", tmp_path / "whole")
    assert sum(done.sizes.values()) < sum(whole.sizes.values())
    pixels = pictures(2, 32, seed=5)
    assert relative_error(run_package(tmp_path / "out" / PACKAGE, pixels), answers(bundle, pixels)) < SAME_WEIGHTS


def test_bfloat16_becomes_float32(tiny, tmp_path):
    bundle = stored_as("bfloat16", tiny, tmp_path / "stored")
    done = export(bundle, "coreml", tmp_path / "out")
    assert done.precision == "float32"
    assert done.notes[-2] == "the bundle stores its weights as bfloat16; here they are float32"
    pixels = pictures(2, 32, seed=5)
    assert relative_error(run_package(tmp_path / "out" / PACKAGE, pixels), answers(bundle, pixels)) < SAME_WEIGHTS


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


def test_other_pixels_are_refused(tiny, tmp_path):
    def written(graph, weights, *, preprocess, metadata):
        other = replace(preprocess, mean=(0.5, 0.5, 0.5))
        return find_format("coreml").float32(graph, weights, preprocess=other, metadata=metadata)

    with pytest.raises(ExportError, match="the pixels are not normalised as the network's"):
        export(tiny, "coreml", tmp_path / "out", writer=written)


def test_another_activation_is_refused(tiny, tmp_path):
    def written(graph, weights, *, preprocess, metadata):
        nodes = (replace(n, op=ops.Activation("tanh")) if n.name == "stem.act" else n for n in graph.nodes)
        other = replace(graph, nodes=tuple(nodes))
        return find_format("coreml").float32(other, weights, preprocess=preprocess, metadata=metadata)

    with pytest.raises(ExportError, match=r"stem.act is made by tanh, not by relu"):
        export(tiny, "coreml", tmp_path / "out", writer=written)


def another_grid(network, name, **changes):
    return replace(network, grids={**network.grids, name: network.grids[name]._replace(**changes)})


def another_tensor(network, name, change):
    wrong = network.tensors[name].copy()
    wrong.flat[3] += np.array(change, wrong.dtype)
    return replace(network, tensors={**network.tensors, name: wrong})


def some_sum(network):
    """A sum of two values that both lie on grids."""
    return next(n for n in network.graph.nodes if n.op.kind == "add" and network.grids.keys() >= {*n.inputs})


def rounded(network):
    """A name whose value is rounded, and summed with another."""
    return some_sum(network).inputs[0]


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        (lambda n: another_grid(n, rounded(n), scale=n.grids[rounded(n)].scale * 1.01), "is rounded with scale"),
        (
            lambda n: another_grid(n, rounded(n), zero=n.grids[rounded(n)].zero ^ 1),
            "is rounded with scale .* and zero",
        ),
        (lambda n: another_tensor(n, f"{n.int8_layers()[5]}.weight", 1), "the weights of .* are not the network's"),
        (lambda n: another_tensor(n, f"{n.int8_layers()[5]}.weight_scale", 1e-4), "the weights of .* are not"),
        (lambda n: another_tensor(n, f"{n.int8_layers()[5]}.bias", 9), "the biases of .* are not the network's"),
    ],
    ids=["scale", "zero", "weight", "scale of a weight", "bias"],
)
def test_a_broken_int8_package_is_refused(breaks, why, residual_int8, tmp_path):
    def broken(network, *, preprocess, metadata):
        return coreml.quantized_to_coreml(breaks(network), preprocess=preprocess, metadata=metadata)

    with pytest.raises(ExportError, match=f"as coreml is refused and nothing stays: .*{why}"):
        export(residual_int8, "coreml", tmp_path / "out", quantized_writer=broken)
    assert list(tmp_path.iterdir()) == []


def written_with(monkeypatch, by):
    """Lets the writer round each value by ``by(writer, the usual function, name, value)``."""
    usual = coreml._Writer._rounded
    monkeypatch.setattr(coreml._Writer, "_rounded", lambda self, name, value: by(self, usual, name, value))


def test_a_missing_rounding_is_refused(residual_int8, tmp_path, monkeypatch):
    left_out = rounded(residual_int8.quantized())
    written_with(monkeypatch, lambda self, usual, name, value: value if name == left_out else usual(self, name, value))
    with pytest.raises(ExportError, match=f"{left_out} is not rounded to levels of uint8"):
        export(residual_int8, "coreml", tmp_path / "out")


def test_a_rounding_too_many_is_refused(tiny, tmp_path, monkeypatch):
    quantized_tiny = in_8_bits(tiny, tmp_path / "int8")
    network = quantized_tiny.quantized()
    plain = next(node.name for node in network.graph.nodes if node.name not in network.grids)

    def once_more(writer, usual, name, value):
        if name != plain:
            return usual(writer, name, value)
        wider = replace(network, grids={**network.grids, plain: Grid(0.5, 128)})
        monkeypatch.setattr(writer, "_network", wider)
        value = usual(writer, name, value)
        monkeypatch.setattr(writer, "_network", network)
        return value

    written_with(monkeypatch, once_more)
    with pytest.raises(ExportError, match="what is rounded as"):
        export(quantized_tiny, "coreml", tmp_path / "out")


def test_a_rounding_in_another_place_is_refused(residual_int8, tmp_path, monkeypatch):
    """What one layer reads is the rounding of another's value, on a grid that is right."""
    network = residual_int8.quantized()
    add = some_sum(network)
    first, second = add.inputs

    def crossed(self, node):
        if node.name != add.name:
            return usual(self, node)
        kept = dict(self.values)
        self.values[first], self.values[second] = kept[second], kept[first]
        usual(self, node)
        self.values[first], self.values[second] = kept[first], kept[second]
        return None

    usual = coreml._Writer.node
    monkeypatch.setattr(coreml._Writer, "node", crossed)
    with pytest.raises(ExportError, match=r"is rounded with|what is rounded as"):
        export(residual_int8, "coreml", tmp_path / "out")
