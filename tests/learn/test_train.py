"""``train``: what a run leaves, that validation is serving, and pictures and machines that misbehave."""

from __future__ import annotations

import errno
import io
import json
import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import make_bundle
from eyespot.accuracy.dataset import Example
from eyespot.accuracy.evaluation import evaluate
from eyespot.bundle.store import read
from eyespot.core.recipe import Recipe
from eyespot.data.source import open_source
from eyespot.errors import TrainingError, UnknownName, UsageError
from eyespot.image.prepare import decode_and_prepare
from eyespot.run.predict import load
from labelled import QUICK, checkpoint, colours, same

torch = pytest.importorskip("torch")
learn = import_module("eyespot.learn")  # after the skip
loop_module, run_module = import_module("eyespot.learn.loop"), import_module("eyespot.learn.run")
logits = import_module("eyespot.learn.serving").logits
Watch, resume, train, open_run = learn.Watch, learn.resume, learn.train, run_module.open_run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return colours(tmp_path_factory.mktemp("data") / "my leaves")


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("parent") / "tiny").path


@pytest.fixture(scope="module")
def done(pictures, parent, tmp_path_factory):
    """A finetune that was left alone; do not change its files."""
    out = tmp_path_factory.mktemp("runs") / "done"
    return train(pictures, out, model=str(parent), epochs=3, settings=QUICK, threads=1)


def events(run, kind: str) -> list[dict]:
    return [event for event in run.events() if event["event"] == kind]


def test_a_run_holds_all_that_is_said_of_it(done, pictures):
    files = {entry.name for entry in done.path.iterdir()}
    assert {"recipe.toml", "run.json", "split.json", "events.jsonl", "last.pt", "best", "curves.svg"} <= files
    assert [event["event"] for event in done.events()] == [
        *("start", "probe", "speed", "warm_start"),
        *["epoch"] * 3,
        *["blend"] * 3,
        "done",
    ]
    assert open_run(done.path).recipe == done.recipe
    assert (done.recipe.size, done.recipe.epochs, done.recipe.batch) == (32, 3, 8)
    parts = json.loads((done.path / "split.json").read_text())["parts"]
    assert sorted(parts["train"] + parts["val"]) == [s.name for s in open_source(pictures).samples]
    assert "<svg" in (done.path / "curves.svg").read_text()


def test_the_figure_is_that_of_the_bundle_picture_by_picture(done, pictures):
    """The trainer's own top-1, ``eyespot evaluate`` of the best bundle, and each answer of both."""
    source = open_source(pictures)
    names = json.loads((done.path / "split.json").read_text())["parts"]["val"]
    held = [sample for sample in source.samples if sample.name in names]
    bundle = read(done.best)
    prepared = [decode_and_prepare(source.read(sample), bundle.card.preprocess).pixels for sample in held]
    ours = logits(bundle.card.graph, bundle.weights(), bundle.card.preprocess, prepared, workers=2)
    with load(done.best, threads=1) as model:
        served = np.stack([model(source.where(sample)).logits for sample in held])
        result = evaluate(model, [Example(source.where(sample), sample.label) for sample in held], workers=2)
    assert np.array_equal(ours, served)
    assert result.top1 == done.result["top1"]
    *_, best = [e for e in done.events() if e.get("best") or e["event"] == "probe"]
    assert best["top1"] == result.top1


def test_the_card_says_where_it_comes_from_and_how_good_it_is(done, parent):
    card = read(done.best).card
    (metric,) = card.metrics
    assert metric.name == "top1"
    assert metric.value == pytest.approx(100 * done.result["top1"], abs=0.001)
    low, high = metric.interval
    assert low < metric.value <= high
    assert "validation part" in metric.data
    assert card.parent == read(parent).card.name
    assert card.licence == read(parent).card.licence
    assert done.recipe.digest[:12] in card.source
    assert card.temperature == done.result["temperature"] != 1.0
    assert card.name == "mobilenet_v1_0.25.my_leaves"
    assert read(done.best).labels.names == ("class 0 ü", "class 1 ü", "class 2 ü")


def test_training_learns_what_can_be_learned(pictures, parent, tmp_path):
    run = train(pictures, tmp_path / "run", model=str(parent), recipe="probe", settings=QUICK[:1], threads=1)
    assert run.result["top1"] >= 0.8
    assert events(run, "epoch") == []
    new, old = read(run.best).weights(), read(parent).weights()
    moved = [name for name in new if new[name].shape != old[name].shape or not np.array_equal(new[name], old[name])]
    assert sorted(moved) == ["classifier.bias", "classifier.weight"]


def test_the_recipe_is_written_before_anything_is_computed(pictures, parent, tmp_path):
    class Stop(Watch):
        def stage(self, title, total, done=0):
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train(pictures, tmp_path / "run", model=str(parent), epochs=1, settings=QUICK, threads=1, watch=Stop())
    assert open_run(tmp_path / "run").recipe.size == 32
    assert resume(tmp_path / "run", settings=[]).result["top1"] is not None


def test_a_run_that_is_done_stays_as_it_is(done):
    before = (done.path / "last.pt").stat().st_mtime_ns
    assert resume(done.path).result == done.result
    assert (done.path / "last.pt").stat().st_mtime_ns == before


def test_a_stopped_run_goes_on_to_the_same_bits(done, pictures, parent, tmp_path):
    class Stop(Watch):
        """Falls over at the seventh step of training, in the third epoch of three steps each."""

        steps = 0

        def step(self, count=1):
            self.steps += count == 8
            if self.steps == 7:
                raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    out = tmp_path / "stopped"
    settings = [*QUICK, "speed.checkpoint=0.0"]
    with pytest.raises(TrainingError, match=r"No space left.*what was saved stays.*--resume"):
        train(pictures, out, model=str(parent), epochs=3, settings=settings, threads=1, watch=Stop())
    assert checkpoint(out)["state"]["taken"] == 6
    assert resume(out).result["top1"] == done.result["top1"]
    assert same(checkpoint(out), checkpoint(done.path))
    kept = [{k: v for k, v in e.items() if k not in ("seconds", "best")} for e in open_run(out).events()]
    assert kept == [{k: v for k, v in e.items() if k not in ("seconds", "best")} for e in done.events()]


@pytest.mark.parametrize(
    ("settings", "said"), [(["size=64"], "another run"), (["seed=1"], "another run"), (["kind=probe"], "another run")]
)
def test_a_resumed_run_stays_the_run_that_it_is(done, settings, said, monkeypatch):
    monkeypatch.setattr(run_module.Run, "result", None)
    with pytest.raises(UsageError, match=said):
        resume(done.path, settings=settings)


def test_a_place_that_is_taken_is_refused(done, pictures, parent, tmp_path):
    with pytest.raises(UsageError, match="holds a run already; go on with `eyespot train --resume"):
        train(pictures, done.path, model=str(parent))
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="is not a run"):
        train(pictures, tmp_path, model=str(parent))
    with pytest.raises(UsageError, match="is not a run"):
        resume(tmp_path)


def test_pictures_that_changed_are_noticed(parent, tmp_path):
    data = colours(tmp_path / "data", each=4)

    class Stop(Watch):
        def stage(self, title, total, done=0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", model=str(parent), settings=QUICK, threads=1, watch=Stop())
    next(data.rglob("*.png")).unlink()
    with pytest.raises(UsageError, match="has changed since"):
        resume(tmp_path / "run")


def test_a_loss_that_is_no_number_is_one_line_and_nothing_is_lost(pictures, parent, tmp_path):
    settings = [*QUICK, "optimizer.lr=1e30", "optimizer.clip=0", "schedule.warmup=0", "speed.checkpoint=0"]
    with pytest.raises(TrainingError, match=r"no longer a number in epoch \d+, step \d+.*--set optimizer.lr=") as error:
        train(pictures, tmp_path / "run", model=str(parent), epochs=4, settings=settings, threads=1)
    assert "\n" not in str(error.value)
    saved = checkpoint(tmp_path / "run")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in saved["network"].values())
    assert read(tmp_path / "run" / "best").card.metrics


def test_memory_that_does_not_suffice_is_one_line(pictures, parent, tmp_path, monkeypatch):
    def too_much(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(loop_module, "_loss", too_much)
    with pytest.raises(TrainingError, match=r"memory does not suffice for batches of 8 .* --set batch=4"):
        train(pictures, tmp_path / "run", model=str(parent), settings=QUICK, threads=1)
    assert checkpoint(tmp_path / "run")["state"]["taken"] == 0


def test_awkward_pictures_are_reported_and_left_out_or_used(parent, tmp_path):
    data = colours(tmp_path / "data", each=6)
    (data / "class 0 ü" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    whole = next((data / "class 1 ü").glob("*.png")).read_bytes()
    (data / "class 1 ü" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "class 2 ü" / "empty.png").write_bytes(b"")
    (data / "an empty class").mkdir()
    (data / "one").mkdir()
    deep = (np.arange(40 * 40, dtype=np.uint16) * 40).reshape(40, 40)
    Image.fromarray(deep).save(data / "one" / "16 bit.png")
    run = train(data, tmp_path / "run", model=str(parent), epochs=1, settings=QUICK, threads=1)
    left_out = {Path(event["picture"]).name: event["error"] for event in events(run, "skipped")}
    assert {"broken.jpg", "cut.png", "empty.png"} <= set(left_out)
    assert all("\n" not in error for error in left_out.values())
    (start,) = events(run, "start")
    assert start["classes"] == 4
    names = json.loads((run.path / "split.json").read_text())["parts"]
    assert "one/16 bit.png" in names["train"]
    assert run.result["top1"] is not None


def test_one_class_only_is_refused_in_one_line(parent, tmp_path):
    data = colours(tmp_path / "data", classes=1)
    with pytest.raises(UsageError, match="a classifier needs two or more"):
        train(data, tmp_path / "run", model=str(parent))
    assert not (tmp_path / "run").exists()


def test_nothing_that_can_be_read_is_one_line(parent, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="none of 2 training pictures can be read"):
        train(tmp_path / "data", tmp_path / "run", model=str(parent), settings=QUICK, threads=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_reported(parent, tmp_path):
    data = colours(tmp_path / "data", classes=4, each=4)
    (data / "class 3 ü").chmod(0)
    try:
        run = train(data, tmp_path / "run", model=str(parent), recipe="probe", settings=QUICK, threads=1)
    finally:
        (data / "class 3 ü").chmod(0o755)
    assert any("class 3" in event["picture"] for event in events(run, "skipped"))


def test_what_cannot_be_is_said_before_anything_is_written(pictures, parent, tmp_path):
    out = tmp_path / "run"
    cases = [
        ({"model": "mobilenet_v1_0.25", "recipe": "finetune"}, UsageError, "an architecture without weights"),
        ({"model": "mobilnet_v9"}, UnknownName, "mobilnet_v9"),
        ({"model": str(parent), "recipe": "distill"}, UsageError, "needs a teacher"),
        ({"model": str(parent), "teacher": str(parent)}, UsageError, "add --recipe distill"),
        ({"model": str(parent), "recipe": "tune"}, UsageError, "none of probe, finetune, scratch, distill"),
        ({"model": str(parent), "recipe": "my.toml"}, UsageError, "cannot be read"),
        ({"model": str(parent), "settings": ["optimizer.rate=1"]}, UsageError, "there is no optimizer.rate"),
        ({"model": str(parent), "validation": 1.5}, UsageError, "validation is 1.5"),
    ]
    for arguments, kind, said in cases:
        with pytest.raises(kind, match=said):
            train(pictures, out, **arguments)
    assert not out.exists()


def test_from_scratch_by_a_persons_own_function(pictures, tmp_path):
    (tmp_path / "nets.py").write_text(
        "from eyespot import Sketch\n"
        "def small(*, classes=10, size=32):\n"
        "    s = Sketch((3, size, size))\n"
        "    x = s.act('stem.act', s.norm('stem.norm', s.conv('stem.conv', s.input, 16, kernel=3, stride=2)), 'relu')\n"
        "    x = s.act('b.act', s.norm('b.norm', s.conv('b.conv', x, 32, kernel=3, stride=2)), 'relu')\n"
        "    return s.graph(s.linear('classifier', s.flatten('flatten', s.global_pool('pool', x)), classes))\n"
    )
    settings = [*QUICK, "augment.area=[0.5, 1.0]", "optimizer.lr=0.1"]
    run = train(pictures, tmp_path / "run", model=f"{tmp_path}/nets.py:small", epochs=15, settings=settings, threads=1)
    assert run.recipe.kind == "scratch"
    losses = [event["loss"] for event in events(run, "epoch")]
    assert losses[-1] < 0.7 * losses[0]
    assert run.result["top1"] >= 0.6
    assert read(run.best).card.parent is None


def test_a_student_learns_from_its_teacher(pictures, done, tmp_path):
    run = train(
        pictures,
        tmp_path / "run",
        model="mobilenet_v1_0.25",
        recipe="distill",
        teacher=str(done.best),
        epochs=12,
        settings=[*QUICK, "optimizer.lr=0.02"],
        threads=1,
    )
    assert run.recipe.teacher == str(done.best.resolve())
    first, *_, last = events(run, "epoch")
    assert last["loss"] < first["loss"]
    assert list((run.path / "cache").glob("soft.*.npy"))


def test_a_network_that_came_folded_gets_its_norms_back(pictures, parent, tmp_path):
    from dataclasses import replace

    from eyespot.bundle.build import build
    from eyespot.lower.fold import fold

    bundle = read(parent)
    graph, weights = fold(bundle.card.graph, bundle.weights())
    folded = build(tmp_path / "folded", replace(bundle.card, graph=graph), weights=weights, labels=bundle.labels)
    run = train(pictures, tmp_path / "run", model=str(folded.path), epochs=1, settings=QUICK, threads=1)
    kinds = [name for name in checkpoint(run.path)["network"] if name.endswith("running_mean")]
    assert len(kinds) == sum(name.endswith("running_mean") for name in bundle.weights())


@pytest.mark.parametrize(
    "settings",
    [
        ("loss.balance=loss", "optimizer.name=sgd", "augment.mixup=0.2", "augment.cutmix=1.0"),
        ("loss.balance=sampling", "augment.policy=rand", "augment.erase=0.5", "regularisation.drop_path=0.2"),
        ("regularisation.ema_span=0", "norm.frozen=true", "norm.momentum=0.05", "speed.precision=bfloat16"),
    ],
)
def test_every_switch_of_a_recipe_trains(pictures, parent, tmp_path, settings):
    given = [*(s for s in QUICK if s.partition("=")[0] not in {t.partition("=")[0] for t in settings}), *settings]
    run = train(pictures, tmp_path / "run", model=str(parent), epochs=1, settings=given, threads=1)
    assert run.result["val_loss"] is not None
    if "norm.frozen=true" in settings:
        network = checkpoint(run.path)["network"]
        old = read(parent).weights()
        assert all(np.array_equal(network[n].numpy(), old[n]) for n in old if n.endswith(("_mean", "_var")))


def test_a_recipe_file_and_early_stopping(pictures, parent, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("eyespot.learn.recorder"), "ENOUGH", 1)  # few images do not end a run
    (tmp_path / "my.toml").write_text(Recipe(kind="finetune", patience=1).to_toml())
    settings = [s for s in QUICK if not s.startswith("patience")] + ["optimizer.lr=0"]
    run = train(
        pictures,
        tmp_path / "run",
        model=str(parent),
        recipe=tmp_path / "my.toml",
        epochs=20,
        settings=[*settings, "norm.frozen=true"],
        threads=1,
    )
    assert len(events(run, "epoch")) == 2  # the first one sets the mark, the second one is no better


def test_a_part_for_testing_is_judged_once_at_the_end(parent, tmp_path):
    for part, seed in (("train", 0), ("val", 1), ("test", 2)):
        colours(tmp_path / "data" / part, each=5, seed=seed)
    run = train(tmp_path / "data", tmp_path / "run", model=str(parent), recipe="probe", settings=QUICK, threads=1)
    assert run.result["test_top1"] is not None
    assert [metric.data.split(", ")[1] for metric in read(run.best).card.metrics] == ["validation part", "test part"]
    assert events(run, "start")[0]["test"] == 15


def test_tensorboard_can_read_the_epochs(done):
    pytest.importorskip("tensorboardX")
    (file,) = (done.path / "tensorboard").iterdir()
    data = file.read_bytes()
    for name in (b"train/loss", b"validation/loss", b"validation/top1", b"train/rate"):
        assert data.count(name) == 3
    assert io.BytesIO(data).read(8) != b""
