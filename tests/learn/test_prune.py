"""Pruning from bundle to bundle: what a channel is worth, the cut, the fine-tune, kills, and what is refused."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from conftest import make_bundle
from eyespot.arch.catalogue import draw
from eyespot.bundle.build import build
from eyespot.bundle.store import read
from eyespot.core.card import Card
from eyespot.core.cost import cost
from eyespot.core.labels import Labels
from eyespot.core.pixels import torchvision_preprocess
from eyespot.errors import TrainingError, UsageError
from eyespot.image.prepare import decode_and_prepare
from eyespot.lower import reference
from eyespot.lower.fold import fold
from eyespot.lower.tensors import random_weights
from eyespot.run.predict import load
from eyespot.run.verify import verify
from eyespot.shrink import timing
from eyespot.shrink.coupling import couple
from eyespot.shrink.narrow import silence
from eyespot.shrink.prune import Wish, epochs_of, halvings, pruned_card, rungs
from labelled import colours
from tolerances import FIRST_ORDER, SAME_WEIGHTS, relative_error

torch = pytest.importorskip("torch")
verb = import_module("eyespot.learn.prune")
importance = import_module("eyespot.learn.importance").importance
open_origin = import_module("eyespot.learn.origin").open_origin
Network = import_module("eyespot.learn.module").Network
Watch = import_module("eyespot.learn.events").Watch

PLAIN = ("speed.precision=float32", "speed.channels_last=off", "speed.compile=off", "batch=8")
QUICK = Wish(epochs=2, settings=PLAIN)
SMALL_STEP = 1e-5  # of a weight, to either side
LABELS = Labels(tuple(f"class {i} ü" for i in range(3)))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(timing, "_SECONDS", 0.02)
    monkeypatch.setattr(timing, "_TURNS", 2)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return colours(tmp_path_factory.mktemp("leaves") / "data", noise=0.5)


@pytest.fixture(scope="module")
def bundle(data, tmp_path_factory):
    """A small network that was trained on the pictures."""
    train = import_module("eyespot.learn").train
    folder = tmp_path_factory.mktemp("trained")
    make_bundle(folder / "start")
    settings = (*PLAIN, "size=32", "norm.frozen=true", "probe.decays=[0.01]", "optimizer.lr=0.003")
    return read(train(data, folder / "run", model=str(folder / "start"), epochs=4, settings=settings, threads=1).best)


def prune(bundle, data, out, wish=QUICK, **others):
    return verb.prune(bundle, data, out, wish=wish, threads=1, device="cpu", **others)


def made(path, graph, weights, *, labels=LABELS):
    card = Card("net.test", "net", {}, graph, torchvision_preprocess(32, 32))
    return build(path, card, weights=weights, labels=labels)


def quiet(graph, weights):
    """The weights with half of every group's channels unread, so that pruning finds them worth nothing."""
    coupling = couple(graph)
    kept = coupling.everything()
    for group in coupling.groups:
        kept[group.classes[: len(group.classes) // 2]] = False
    return silence(coupling, kept, weights)


def test_a_class_is_worth_the_change_of_the_loss_when_it_goes(bundle):
    coupling = couple(bundle.card.graph)
    weights = bundle.weights()
    x = np.random.default_rng(0).normal(size=(6, 3, 32, 32)).astype(np.float32)
    targets = np.arange(6) % 3
    wide = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    network = Network(coupling.graph).double().eval()

    def losses(share):
        """Of each picture, with this share of the weights that read one class; in float64."""
        quiet = silence(coupling, kept, weights)
        mixed = {n: torch.from_numpy(w * share + quiet[n].astype(np.float64) * (1 - share)) for n, w in wide.items()}
        network.load_state_dict(mixed)
        with torch.no_grad():
            logits = network(torch.from_numpy(x).double())[coupling.graph.outputs[0]]
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets), reduction="none").numpy()

    batches = [(torch.from_numpy(x[:4]), torch.from_numpy(targets[:4]))]
    batches += [(torch.from_numpy(x[4:]), torch.from_numpy(targets[4:]))]
    done = []
    scores = importance(coupling, weights, batches, step=done.append)
    assert sum(done) == 6
    for group in (coupling.groups[1], coupling.groups[-1]):
        number = group.classes[np.argmax(scores[group.classes])]
        kept = coupling.everything()
        kept[number] = False
        slope = (losses(1 + SMALL_STEP) - losses(1 - SMALL_STEP)) / (2 * SMALL_STEP)
        assert scores[number] == pytest.approx(np.square(slope).mean(), rel=FIRST_ORDER)
        assert scores[number] > 0


def test_a_bundle_of_half_the_macs_verifies_serves_and_goes_on(bundle, data, tmp_path):
    told = []

    class Listening(Watch):
        def event(self, record):
            told.append(record["event"])

    report = prune(bundle, data, tmp_path / "half", watch=Listening())
    small = report.bundle
    assert not verb.work_place(tmp_path / "half").exists()
    assert told == ["cut", "speed", "epoch", "epoch", "done"]
    before, after = report.costs
    assert after == cost(small.card.graph)
    assert 0.9 * before.macs / 2 < after.macs <= before.macs / 2
    assert report.sizes[1] < report.sizes[0]
    assert (small.card.parent, small.card.architecture) == (bundle.card.name, f"{bundle.card.architecture}-pruned")
    assert small.card.name == f"{small.card.architecture}.data"
    assert small.card.metrics[0].value == round(100 * report.found.after, 3)
    assert [node.name for node in small.card.graph.nodes] == [node.name for node in bundle.card.graph.nodes]
    rows = {row.name: row for row in report.layers}
    assert all(row.after == small.card.graph.shape(name)[0] <= row.before for name, row in rows.items())
    assert any(row.after < row.before for row in rows.values())
    images = small.training_images()
    assert images is not None
    assert len(images.train) == report.learned
    for runtime in ("onnxruntime", "reference"):
        assert [check.name for check in verify(small, runtime=runtime) if not check.passed] == []
    picture = next(data.rglob("*.png"))
    with load(small.path) as model:
        pixels = decode_and_prepare(picture.read_bytes(), small.card.preprocess).pixels
        assert model(str(picture)).logits.shape == (3,)
        assert pixels.shape == (32, 32, 3)
    assert report.to_json()["macs"] == {"before": before.macs, "after": after.macs}

    train = import_module("eyespot.learn").train  # it is a start for training, as any bundle
    settings = (*PLAIN, "size=64", "probe.decays=[0.01]")
    run = train(data, tmp_path / "run", model=str(small.path), recipe="probe", settings=settings, threads=1)
    assert read(run.best).card.graph.shape("stem.conv") == (*small.card.graph.shape("stem.conv")[:1], 32, 32)
    again = prune(small, data, tmp_path / "third", replace(QUICK, macs="0.7x", epochs=1))  # and for pruning
    assert again.bundle.card.architecture == small.card.architecture


def test_two_rounds_cut_and_tune_twice(bundle, data, tmp_path):
    report = prune(bundle, data, tmp_path / "out", replace(QUICK, macs="0.4x"))
    assert [r.epochs for r in report.rounds] == [1, 1]
    assert report.rounds[0].macs > report.rounds[1].macs == report.costs[1].macs
    assert report.rounds[-1].tuned == report.found.after
    assert report.rounds[-1].cut == report.alone.after


def test_the_schedules():
    assert rungs(800, 200, 2) == [400, 200]
    assert rungs(800, 200, 1) == [200]
    assert [halvings(800, after) for after in (799, 600, 401, 400, 399, 200, 100)] == [1, 1, 1, 1, 2, 2, 3]
    assert epochs_of(10, 1) == [10]
    assert epochs_of(12, 3) == [3, 3, 6]
    assert epochs_of(1, 3) == [1, 1, 1]


@pytest.mark.parametrize("background", [False, True])
def test_a_folded_network_and_a_background_class(data, tmp_path, background):
    drawn = draw("mobilenet_v2_0.35", {"classes": 3 + background, "size": 32})
    graph, weights = fold(drawn, random_weights(drawn, 0))
    labels = replace(LABELS, background=background)
    source = made(tmp_path / "folded", graph, quiet(graph, weights), labels=labels)
    report = prune(source, data, tmp_path / "out", replace(QUICK, epochs=1, macs="0.6x"))
    assert report.bundle.labels == replace(labels, background=False)
    assert report.bundle.card.graph.shape(report.bundle.card.graph.outputs[0]) == (3,)
    assert report.alone.agreement == 1
    assert all(check.passed for check in verify(report.bundle))


def test_a_network_that_never_had_norms_is_not_taken_for_a_folded_one(tmp_path):
    for name, folded in (("squeezenet_1.1", False), ("mobilenet_v1_0.25", False), ("mobilenet_v1_0.25", True)):
        graph = draw(name, {"classes": 3, "size": 32})
        weights = random_weights(graph, 0)
        graph, weights = fold(graph, weights) if folded else (graph, weights)
        source = made(tmp_path / f"{name} {folded}", graph, weights)
        assert open_origin(str(source.path)).is_folded is folded


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["squeezenet_1.1", "shufflenet_v2_0.5", "mobilenet_v3_small_0.75", "repvgg_a0", "inception_v1"]
)
def test_networks_without_norms_with_branches_and_with_heads_for_training_only(data, tmp_path, name):
    graph = draw(name, {"classes": 3, "size": 32})
    source = made(tmp_path / "whole", graph, random_weights(graph, 0))
    report = prune(source, data, tmp_path / "out", replace(QUICK, epochs=1, macs="0.6x"))
    small = report.bundle.card.graph
    assert 0.9 * report.costs[0].macs < report.costs[1].macs / 0.6 <= report.costs[0].macs
    assert [node.name for node in small.nodes] == [node.name for node in graph.inference().nodes]
    assert all(check.passed for check in verify(report.bundle))


def test_the_cut_alone_is_the_whole_network_where_nothing_else_reads(bundle, data, tmp_path):
    """Channels that were set to be worth nothing go first, and the answers stay."""
    still = quiet(bundle.card.graph, bundle.weights())
    source = build(tmp_path / "quiet", bundle.card, weights=still, labels=bundle.labels)
    report = prune(source, data, tmp_path / "out", replace(QUICK, macs="0.6x", epochs=1))
    assert report.alone.agreement == 1
    assert report.alone.drop == 0


def test_too_large_a_loss_is_not_written_and_what_was_done_stays(bundle, data, tmp_path):
    out = tmp_path / "out"
    wish = replace(QUICK, macs="0.2x", epochs=1, rounds=1, max_drop=-1.0)
    report = prune(bundle, data, out, wish)
    assert report.bundle is None
    assert "points, -100 were allowed; what there is stays in" in report.why
    assert not out.exists()
    assert read(verb.work_place(out) / "round1" / "best").card.graph
    line = (verb.work_place(out) / "recipe.toml").read_text().splitlines()[0]
    assert f"--out {out} --macs 0.2x --epochs 1 --rounds 1 --score " in line
    assert " --max-drop -100.0" in line
    report = prune(bundle, data, out, replace(wish, max_drop=None))  # nothing is trained again
    assert report.bundle.path == out
    with pytest.raises(UsageError, match="already holds a bundle"):
        prune(bundle, data, out, wish)


def test_minutes_become_epochs(bundle, data, tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "fastest", lambda *_: type("S", (), {"seconds": {"a": 0.8}})())
    report = prune(bundle, data, tmp_path / "out", replace(QUICK, epochs=None, minutes=0.2, settings=PLAIN))
    assert report.rounds[0].epochs == int(12 / (1.25 * 0.1 * report.learned))


def test_what_cannot_be_is_refused_in_one_line(bundle, data, tmp_path):
    int8 = replace(bundle, card=replace(bundle.card, precision="int8", parent="leaves"))
    with pytest.raises(UsageError, match="is int8; prune leaves, then quantize the result"):
        prune(int8, data, tmp_path / "out")
    with pytest.raises(UsageError, match="at the least"):
        prune(bundle, data, tmp_path / "out", replace(QUICK, macs="0.01x"))
    with pytest.raises(UsageError, match="leave out kind and size"):
        prune(bundle, data, tmp_path / "out", replace(QUICK, settings=("size=64",)))
    with pytest.raises(UsageError, match="is none of the model's"):
        prune(bundle, colours(tmp_path / "other", classes=4, each=2), tmp_path / "out")
    assert not verb.work_place(tmp_path / "out").exists()


def test_other_work_in_the_place_is_not_gone_on_with(bundle, data, tmp_path, monkeypatch):
    def fails(*_):
        raise TrainingError(
            "the loss is no longer a number; the last checkpoint stays: go on with `eyespot train --resume x`"
        )

    monkeypatch.setattr(verb, "train_all", fails)
    with pytest.raises(TrainingError, match=r"stays; the same command goes on from .*out\.work; without") as error:
        prune(bundle, data, tmp_path / "out")
    assert "--resume" not in str(error.value)
    with pytest.raises(UsageError, match="holds another pruning that is not done"):
        prune(bundle, data, tmp_path / "out", replace(QUICK, macs="0.3x"))


def test_the_card_of_a_pruned_network_names_no_drawing():
    graph = draw("mobilenet_v1_0.25", {"classes": 3, "size": 32})
    card = Card("mobilenet_v1_0.25.own", "mobilenet_v1_0.25", {"classes": 3}, graph, torchvision_preprocess(32, 32))
    once = pruned_card(card, graph)
    assert (once.name, once.architecture, once.arguments) == (
        "mobilenet_v1_0.25-pruned.own", "mobilenet_v1_0.25-pruned", {},
    )  # fmt: skip
    assert pruned_card(once, graph).name == once.name
    assert pruned_card(replace(card, name="leaves"), graph).name == "leaves-pruned"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.slow
def test_killed_at_any_moment_the_same_call_goes_on_to_the_same_bundle(bundle, data, tmp_path):
    wish = replace(QUICK, rounds=2, epochs=4, settings=(*PLAIN, "speed.checkpoint=0.02"))
    began = time.monotonic()
    whole = prune(bundle, data, tmp_path / "whole", wish)
    seconds = time.monotonic() - began
    rng, kills = np.random.default_rng(0), 0
    out: Path = tmp_path / "killed"
    for _ in range(40):
        child = os.fork()
        if child == 0:
            try:
                torch.set_num_threads(1)
                prune(bundle, data, out, wish)
            finally:
                os._exit(0 if out.exists() else 1)
        end = time.monotonic() + rng.uniform(0.2, 0.9) * seconds
        while time.monotonic() < end and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.01)
        if out.exists():
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    else:
        prune(bundle, data, out, wish)
    assert kills >= 2
    weights = read(out).weights()
    assert weights.keys() == whole.bundle.weights().keys()
    assert all(np.array_equal(weights[name], tensor) for name, tensor in whole.bundle.weights().items())
    x = np.zeros((1, 3, 32, 32), np.float32)
    ours, theirs = (reference.run(b.card.graph, b.weights(), x)["classifier"] for b in (read(out), whole.bundle))
    assert relative_error(ours, theirs) < SAME_WEIGHTS
