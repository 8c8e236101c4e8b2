"""A bundle is whole or absent, and what was changed is refused."""

import json
import multiprocessing
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest

from conftest import make_bundle
from eyespot.bundle.store import REQUIRED, read, sha256
from eyespot.core.card import Card
from eyespot.core.cost import cost
from eyespot.errors import BundleError, EyespotError, HashMismatch, UsageError
from eyespot.run.predict import Model
from eyespot.run.verify import verify


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


def test_a_network_that_is_not_the_weights_is_found_though_all_hashes_fit(tmp_path):
    """Somebody swaps the network, computes its goldens, and writes every sha256 anew."""
    honest, other = make_bundle(tmp_path / "honest"), make_bundle(tmp_path / "other", seed=1)
    swapped = tmp_path / "swapped"
    shutil.copytree(honest.path, swapped)
    for name in ("model.onnx", "goldens.safetensors"):
        shutil.copyfile(other.path / name, swapped / name)
    files = {name: sha256(swapped / name) for name in honest.card.files}
    (swapped / "card.json").write_text(honest.card.with_files(files).to_text())
    checks = {check.name: check for check in verify(read(swapped))}
    assert [name for name, check in checks.items() if not check.passed] == ["network"]
    assert "model.onnx is not what the card's graph and the weights give" in checks["network"].found
    assert all(check.passed for check in verify(honest))
    with pytest.raises(BundleError, match=r"model\.onnx is not what the card's graph and the weights give"):
        Model(read(swapped))
    Model(honest).close()


def test_a_network_that_another_eyespot_wrote_in_other_bytes_is_known_by_its_answers(tmp_path):
    from eyespot.lower.onnx import to_onnx

    bundle = make_bundle(tmp_path / "made")
    other = to_onnx(bundle.card.graph, bundle.weights(), preprocess=bundle.card.preprocess, metadata={"older": "yes"})
    (bundle.path / "model.onnx").write_bytes(other)
    card = bundle.card.with_files({**bundle.card.files, "model.onnx": sha256(bundle.path / "model.onnx")})
    (bundle.path / "card.json").write_text(card.to_text())
    checks = {check.name: check for check in verify(read(bundle.path))}
    assert all(check.passed for check in checks.values())
    assert "another eyespot wrote it" in checks["network"].found
    Model(read(bundle.path)).close()


def _mutations(value, chance):
    """Values that a forger, or a disk, may put in the place of one."""
    odd = [
        None, True, -1, 0, 3, 1 << 70, 1e308, float("nan"), "", "x", "../x", "\x1b[2J", "x" * 10_000, [], [[]], {},
        {"x": {}}, [1, 2, 3], [None] * 3, "NaN",
    ]  # fmt: skip
    yield from chance.sample(odd, 8)
    if isinstance(value, dict):
        yield dict(list(value.items())[1:])
        yield value | {"unknown": 1}
    if isinstance(value, list):
        yield value[:-1]
        yield value * 3
    if isinstance(value, int | float):
        yield -value
        yield value * 1_000_003


def _places(value, path=()):
    """Every place in a JSON value, those in long lists by a few examples."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for at, (key, inner) in enumerate(list(items)):
        if not isinstance(value, list) or at < 4 or at % 9 == 0:
            yield from _places(inner, (*path, key))


def _put(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _put(copy[path[0]], path[1:], new)
    return copy


def test_forged_cards_are_one_line(tiny, tmp_path):
    """Each value of a card, replaced by others: it is refused in one line, or all that a verb asks of it works."""
    place, chance = tmp_path / "b", random.Random(0)
    shutil.copytree(tiny.path, place)
    data, refused, faults = json.loads((place / "card.json").read_text()), 0, []
    for path in _places(data):
        inner = data
        for key in path:
            inner = inner[key]
        for new in _mutations(inner, chance):
            (place / "card.json").write_text(json.dumps(_put(data, path, new)))
            try:
                bundle = read(place)
                cost(bundle.card.graph)
                bundle.card.preprocess.affine()
                f"{bundle.version} {bundle.card.to_text()} {bundle.labels.names} {bundle.card.graph.digest}"
                bundle.weights()
            except EyespotError as error:
                refused += 1
                faults += ["more than a line"] * ("\n" in str(error))
            except Exception as error:
                faults.append(f"{path} as {new!r:.60}: {type(error).__name__}: {error}")
    assert faults == []
    assert refused > 500


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 9, "\x00", "1", "[]", "null", '{"format": "x"}', '{"format": NaN}']
)
def test_cards_that_are_no_cards_are_one_line(tiny, tmp_path, text):
    place = tmp_path / "b"
    shutil.copytree(tiny.path, place)
    (place / "card.json").write_text(text)
    with pytest.raises(BundleError) as error:
        read(place)
    assert "\n" not in str(error.value)
