"""Networks compete on pictures: probes, halving, the winner; within a time, resumed, and from a budget to a bundle."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from choosing import Counting, candidate
from conftest import make_bundle
from labelled import QUICK, colours

torch = pytest.importorskip("torch")

from eyespot.bundle.store import read  # noqa: E402
from eyespot.choose.budget import Budget  # noqa: E402
from eyespot.choose.choose import Wants, choose  # noqa: E402
from eyespot.choose.training import Entry, Trained  # noqa: E402
from eyespot.errors import UsageError  # noqa: E402
from eyespot.learn.choices import Row  # noqa: E402
from eyespot.learn.run import open_run  # noqa: E402
from eyespot.learn.tournament import Tournament  # noqa: E402
from eyespot.learn.trial import Trial  # noqa: E402
from eyespot.run.verify import verify  # noqa: E402

SETTINGS = [setting for setting in QUICK if not setting.startswith("size")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures of three colours, and two bundles to start from."""
    folder = tmp_path_factory.mktemp("tournament")
    colours(folder / "leaves")
    for name, seed in (("one", 0), ("two", 5)):
        make_bundle(folder / name, name=f"{name}.test", size=32, seed=seed)
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Two epochs are a long training here, so that no test runs until its time is up."""
    for name in ("FINETUNE", "SCRATCH"):
        monkeypatch.setattr(f"eyespot.learn.tournament.{name}", (Row(math.inf, 2, 8),))


def entry(folder, name, side=32, network_ms=1.0):
    """One that starts from a bundle's folder; without a name, from nothing."""
    one = candidate(side, start=str(folder / name) if name else "")
    if not name:
        one = replace(one, arguments={**one.arguments, "width": 0.1})
    return Entry(one, network_ms)


def tournament(place, tmp_path, **more):
    said = []
    return Tournament(place / "leaves", tmp_path / "work", threads=1, settings=SETTINGS, say=said.append, **more), said


def test_entries_are_probed_halved_and_the_leader_is_trained_on(place, tmp_path):
    judge, said = tournament(place, tmp_path)
    entries = [entry(place, "one"), entry(place, "two")]
    found = judge.compete(entries, time.monotonic() + 200)
    assert {one.entry.candidate.start for one in found} == {entries[0].candidate.start, entries[1].candidate.start}
    assert [one.top1 for one in found] == sorted((one.top1 for one in found), reverse=True)
    assert found[0].top1 > 0.5
    runs = sorted(path.name.rpartition("-")[2] for path in (tmp_path / "work" / "runs").iterdir())
    assert runs.count("probe") == 2
    assert runs.count("finetune2") == 1  # the better half of two
    assert any(line.startswith("probe of") for line in said)
    parts = {(path / "split.json").read_text() for path in (tmp_path / "work" / "runs").iterdir()}
    assert len(parts) == 1  # all were judged on the same pictures
    held = judge.held_out()
    assert len(held) == 7
    assert {example.path for example in held} == {
        str(place / "leaves" / name) for name in json.loads(parts.pop())["parts"]["val"]
    }
    assert all(check.passed for check in verify(read(found[0].bundle)))


def test_rivals_pause_and_go_on_from_where_they_were(place, tmp_path, monkeypatch):
    asked = []
    train = Tournament._train

    def noted(self, entry, kind, epochs, until, *, pause=0, sampled=False):
        trial = train(self, entry, kind, epochs, until, pause=pause, sampled=sampled)
        if kind == "finetune":
            asked.append((entry.name, epochs, pause, trial.epochs))
        return trial

    monkeypatch.setattr(Tournament, "_train", noted)
    judge, _ = tournament(place, tmp_path)
    entries = [entry(place, name, side) for name in ("one", "two") for side in (32, 40)]
    found = judge.compete(entries, time.monotonic() + 300)
    assert [done for *_, done in asked] == [1, 1, 2, 2]  # both pause, the leader goes on, then the other
    assert [row[1:3] for row in asked] == [(2, 1), (2, 1), (2, 2), (2, 2)]
    assert {row[0] for row in asked[:2]} == {row[0] for row in asked[2:]}
    for run in (tmp_path / "work" / "runs").glob("*-finetune2"):
        epochs = [event["epoch"] for event in open_run(run).events() if event["event"] == "epoch"]
        assert epochs == [1, 2]  # none was trained twice
    assert len(found) == 4


def test_one_more_rival_needs_time_for_all_that_was_begun(place, tmp_path):
    judge, _ = tournament(place, tmp_path)
    judge._paces = [10.0]  # an epoch of 36 pictures, 1 ms each in the network: 0.36 s
    one = Trial(Trained(entry(place, "one"), 0.9, None, place, ""), "finetune", 9.0, 2, 4.0, sampled=False)
    trials = {"one": [one]}  # it has 3 of 5 epochs ahead: 12 s
    new, now = entry(place, "two"), time.monotonic()
    assert judge._leaves_enough(new, 2, trials, now + 16)
    assert not judge._leaves_enough(new, 2, trials, now + 13)
    assert not judge._leaves_enough(entry(place, "two", network_ms=100.0), 2, trials, now + 60)
    assert judge._schedule(entry(place, "two", network_ms=100.0), trials, now + 100) == (2, 0)
    assert judge._schedule(entry(place, "two", network_ms=1e4), {}, now + 100) == (1, 0)  # none is known of it
    assert judge._schedule(entry(place, "two", network_ms=1e4), {new.name: [one]}, now + 100) == (0, 0)


def test_where_all_pictures_take_too_long_a_sample_is_probed(place, tmp_path, monkeypatch):
    monkeypatch.setattr("eyespot.learn.tournament._LEAST_SAMPLE", 15)
    slow = [entry(place, name, network_ms=1e7) for name in ("one", "two")]
    judge, said = tournament(place, tmp_path)
    found = judge.compete(slow, time.monotonic() + 200)
    assert "taking a sample of 15 pictures" in said
    runs = [path.name for path in (tmp_path / "work" / "runs").iterdir()]
    assert sum(name.endswith("-sample-probe") for name in runs) == 2
    assert sum(name.endswith("-finetune2") for name in runs) == 1
    assert len(found) == 1  # the leader alone was trained on all pictures
    assert found[0].how in ("finetune of 1 epoch", "finetune of 2 epochs", "probe")
    assert len(judge.held_out()) == 7

    short, _ = tournament(place, tmp_path / "short")
    monkeypatch.setattr(short, "_go_on", lambda *_: False)  # as if the time were up
    found = short.compete(slow, time.monotonic() + 200)
    assert [one.how for one in found] == ["probe on a sample"] * 2
    held = short.held_out()
    assert len(held) == 36 - 15
    assert all(Path(example.path).is_file() for example in held)
    slow = Trial(found[0], "probe", 5.0, 0, 0.0, sampled=True)  # twelve seconds on all 36
    assert short._is_hopeless(slow, time.monotonic() + 11)
    assert not short._is_hopeless(slow, time.monotonic() + 13)
    assert not short._is_hopeless(replace(slow, sampled=False), time.monotonic())
    assert read(found[0].bundle).labels.names == ("class 0 ü", "class 1 ü", "class 2 ü")


def test_what_is_done_is_not_done_again(place, tmp_path):
    entries = [entry(place, "one"), entry(place, "two")]
    first, _ = tournament(place, tmp_path)
    one = first.compete(entries, time.monotonic())  # no time at all
    assert len(one) <= 1
    second, _ = tournament(place, tmp_path)
    found = second.compete(entries, time.monotonic() + 200)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "runs").glob("*-probe/best/card.json")}
    third, _ = tournament(place, tmp_path)
    again = third.compete(entries, time.monotonic() + 200)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again[0].top1 >= found[0].top1


def test_a_network_without_weights_is_trained_from_nothing(place, tmp_path):
    judge, _ = tournament(place, tmp_path)
    found = judge.compete([entry(place, "")], time.monotonic() + 200)
    assert len(found) == 1
    assert found[0].how.startswith("scratch of")
    card = read(found[0].bundle).card
    assert card.graph.shape("stem.conv")[0] < 32
    assert card.preprocess.size == (32, 32)
    assert open_run(found[0].bundle.parent).recipe.kind == "scratch"


def test_an_entry_that_cannot_be_trained_ends_no_other(place, tmp_path):
    judge, _ = tournament(place, tmp_path)
    found = judge.compete([entry(place, "nobody"), entry(place, "one")], time.monotonic() + 200)
    assert [one.entry.candidate.start for one in found] == [str(place / "one")]
    assert any("was not trained" in note for note in judge.notes)


def test_one_class_is_nothing_to_choose_by(tmp_path):
    colours(tmp_path / "one", classes=1, each=3)
    with pytest.raises(UsageError, match="has 1 class; two or more were needed"):
        Tournament(tmp_path / "one", tmp_path / "work")


def test_from_a_budget_to_a_bundle(place, tmp_path):
    """The winner, verified, measured, and in its place."""
    judge = Tournament(place / "leaves", tmp_path / "out" / "work", threads=1, settings=SETTINGS)
    one = candidate(32, start=str(place / "one"), top1=50.0)
    wants = Wants(Budget(latency_p95_ms=20.0), minutes=5.0, threads=1)
    chosen = choose(wants, tmp_path / "out", trainer=judge, device=Counting(), candidates=[one])
    assert chosen.choice == one.title, chosen.notes
    bundle = read(tmp_path / "out" / "bundle")
    assert len(bundle.labels) == 3
    assert all(check.passed for check in verify(bundle))
    assert chosen.top1 > 30
    assert judge.digest == json.loads((tmp_path / "out" / "question.json").read_text())["pictures"]
