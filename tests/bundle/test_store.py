"""A bundle is whole or absent, and what was changed is refused."""

import json
import multiprocessing
import shutil
from dataclasses import replace

import numpy as np
import pytest

from conftest import make_bundle
from eyespot.bundle.store import REQUIRED, read
from eyespot.core.card import Card
from eyespot.errors import BundleError, HashMismatch, UsageError


def test_round_trip(tiny):
    again = read(tiny.path)
    assert again.card == tiny.card
    assert again.labels == tiny.labels
    assert set(again.weights()) == set(tiny.card.graph.parameters)
    goldens = again.goldens()
    assert goldens.pixels.shape == (2, 32, 32, 3)
    assert goldens.logits.shape == (2, 10)
    assert not list(tiny.path.parent.glob(".*")), "nothing half written is left behind"


def test_float16_is_used_where_it_loses_nothing(tmp_path):
    import numpy as np
    from safetensors.numpy import load_file

    from eyespot.bundle.build import build
    from eyespot.lower.tensors import random_weights

    old = make_bundle(tmp_path / "whole")
    weights = random_weights(old.card.graph, 0)
    half = {name: tensor.astype(np.float16).astype(np.float32) for name, tensor in weights.items()}
    half["classifier.bias"] = half["classifier.bias"] + np.float32(1e-6)
    bundle = build(tmp_path / "half", old.card, weights=half, labels=old.labels)
    stored = load_file(bundle.path / "weights.safetensors")
    assert {name for name, tensor in stored.items() if tensor.dtype == np.float32} == {"classifier.bias"}
    got = bundle.weights()
    assert all(got[name].dtype == np.float32 and np.array_equal(got[name], half[name]) for name in half)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_changed_file_is_refused(tiny, tmp_path, name):
    copy = shutil.copytree(tiny.path, tmp_path / "copy")
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(HashMismatch, match=name):
        read(copy)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_file_is_named(tiny, tmp_path, name):
    copy = shutil.copytree(tiny.path, tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        read(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card["files"].update({"../secret": "0" * 64}), "beside its card"),
        (lambda card: card["files"].update({"/etc/passwd": "0" * 64}), "beside its card"),
        (lambda card: card["files"].update({"a\\..\\b": "0" * 64}), "beside its card"),
        (lambda card: card["files"].update({"x": "short"}), "no sha256"),
        (lambda card: card["files"].pop("model.onnx"), "model.onnx"),
        (lambda card: card.update(format=99), "upgrade"),
        (lambda card: card.update(surprise=1), "surprise"),
        (lambda card: card.update(temperature=0), "temperature is 0"),
        (lambda card: card.update(temperature="hot"), "temperature is 'hot'"),
        (lambda card: card.update(temperature=float("nan")), "temperature is nan"),
        (lambda card: card.update(threshold=1.5), "threshold is 1.5"),
        (lambda card: card.update(threshold=True), "threshold is True"),
        (lambda card: card["graph"]["nodes"][0].__setitem__(1, "os.system"), "unknown op"),
        (lambda card: card["preprocess"].update(size=[0, 0]), "size"),
        (lambda card: card.pop("name"), "not a card"),
    ],
)
def test_a_hostile_card_is_refused_in_one_line(tiny, tmp_path, change, message):
    copy = shutil.copytree(tiny.path, tmp_path / "copy")
    card = json.loads((copy / "card.json").read_text())
    change(card)
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=message) as caught:
        _ = read(copy).card.graph
    assert "\n" not in str(caught.value)


def test_a_calibrated_card_needs_a_newer_eyespot_and_no_other_does(tiny):
    """An eyespot from before the temperature refuses fields that it does not know; those cards say format 2."""
    plain = json.loads(tiny.card.to_text())
    assert plain["format"] == 1
    assert not {"temperature", "threshold"} & plain.keys()
    assert Card.from_text(tiny.card.to_text()) == tiny.card
    for changes in ({"temperature": 1.7}, {"threshold": 0.9}, {"temperature": 0.5, "threshold": 0.0}):
        card = replace(tiny.card, **changes)
        data = json.loads(card.to_text())
        assert data["format"] == 2
        assert {key: data[key] for key in changes} == changes
        assert Card.from_text(card.to_text()) == card


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"format": 1}', "[" * 100_000, "\udcff"])
def test_what_is_no_card_is_refused(tiny, tmp_path, text):
    copy = shutil.copytree(tiny.path, tmp_path / "copy")
    (copy / "card.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError):
        read(copy)


def test_a_place_that_is_taken(tiny, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text").write_text("mine")
    with pytest.raises(UsageError, match="not a bundle"):
        make_bundle(tmp_path / "notes")
    make_bundle(tmp_path / "b", seed=1)
    with pytest.raises(UsageError, match="already holds"):
        make_bundle(tmp_path / "b", seed=2)
    assert (tmp_path / "notes" / "text").read_text() == "mine"


def test_replace_swaps_the_whole_bundle(tiny, tmp_path):
    from eyespot.bundle.build import build
    from eyespot.lower.tensors import random_weights

    old = make_bundle(tmp_path / "b", seed=1)
    weights = random_weights(old.card.graph, 2)
    build(tmp_path / "b", old.card, weights=weights, labels=old.labels, replace=True)
    new = read(tmp_path / "b").weights()
    assert all(np.array_equal(new[name], weights[name]) for name in weights)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def _build(path):
    try:
        make_bundle(path)
    except UsageError as error:  # the other one was quicker than our first look
        assert "already holds" in str(error)  # noqa: PT017


def test_two_processes_write_the_same_bundle(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build, args=(tmp_path / "b",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert read(tmp_path / "b").card.name == "tiny.test"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_labels_that_do_not_fit(tiny, tmp_path):
    from eyespot.bundle.build import build
    from eyespot.core.labels import Labels

    with pytest.raises(BundleError, match="gives 10 numbers, but there are 3 labels"):
        build(tmp_path / "b", tiny.card, weights=tiny.weights(), labels=Labels.numbered(3))
