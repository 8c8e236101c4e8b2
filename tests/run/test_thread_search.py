"""The number of threads is found while a session works; the clock is ours, so nothing here depends on speed."""

import numpy as np
import pytest

import eyespot
from eyespot.errors import RuntimeFailure
from eyespot.run import open as opening
from eyespot.run import thread_search
from eyespot.run.ort import OrtSession
from eyespot.run.thread_search import EVERY, FIRST, FIRST_PAIRS, KEPT, PAIRS, SearchingSession

IMAGE, BATCH = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((2, 2, 2, 3), np.uint8)
SOON = FIRST + 2 * (FIRST_PAIRS + 1)  # calls after which the first trial is over


class Clock:
    """Sessions that take as long as they are told to, by a clock that only they move."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.opened, self.closed, self.calls = 0.0, dict(seconds), [], [], []
        monkeypatch.setattr(thread_search.time, "perf_counter", lambda: self.now)

    def open(self, threads):
        if threads not in self.seconds:
            raise RuntimeFailure("no memory")
        self.opened.append(threads)
        clock = self

        class Fake:
            inputs = outputs = ()

            def run(self, batch):
                clock.now += clock.seconds[threads]
                clock.calls.append(threads)
                return np.array([[threads]], np.float32)

            def close(self):
                clock.closed.append(threads)

        return Fake()


def work(session, calls):
    for _ in range(calls):
        session.run(IMAGE)
    return session.threads


@pytest.mark.parametrize(("one", "two", "better"), [(0.018, 0.037, 1), (0.030, 0.018, 2), (0.0175, 0.018, 2)])
def test_the_faster_one_is_used_and_a_tie_changes_nothing(monkeypatch, one, two, better):
    clock = Clock(monkeypatch, {1: one, 2: two})
    session = SearchingSession(clock.open, 2)
    assert work(session, SOON) == better
    clock.calls.clear()
    work(session, 20)
    assert clock.calls == [better] * 20


def test_a_few_images_open_one_session_only(monkeypatch):
    clock = Clock(monkeypatch, {1: 1.0, 8: 9.0})
    assert work(SearchingSession(clock.open, 8), FIRST - 1) == 8
    assert clock.opened == [8]


def test_it_is_looked_at_again_when_the_load_changes(monkeypatch):
    clock = Clock(monkeypatch, {1: 1.0, 2: 2.0})
    session = SearchingSession(clock.open, 2)
    assert work(session, SOON) == 1
    clock.seconds[2] = 0.5
    assert work(session, (KEPT // PAIRS + 1) * EVERY) == 2
    assert clock.opened == [2, 1], "the second session is opened once"


def test_trials_are_few(monkeypatch):
    clock = Clock(monkeypatch, {1: 2.0, 2: 1.0})
    work(SearchingSession(clock.open, 2), 10 * EVERY)
    assert clock.calls.count(1) <= FIRST_PAIRS + 1 + PAIRS * 10


def test_one_slow_moment_decides_nothing(monkeypatch):
    clock = Clock(monkeypatch, {1: 1.0, 2: 0.9})
    session = SearchingSession(clock.open, 2)
    work(session, SOON - 2)
    clock.seconds[2] = 2.0
    assert work(session, 2) == 2


def test_batches_are_neither_timed_nor_counted(monkeypatch):
    clock = Clock(monkeypatch, {1: 1.0, 2: 2.0})
    session = SearchingSession(clock.open, 2)
    for _ in range(2 * FIRST):
        session.run(BATCH)
    assert clock.opened == [2]


def test_where_no_second_session_opens_the_first_goes_on(monkeypatch):
    clock = Clock(monkeypatch, {2: 2.0})
    assert work(SearchingSession(clock.open, 2), 3 * EVERY) == 2


def test_both_are_closed(monkeypatch):
    clock = Clock(monkeypatch, {1: 1.0, 2: 2.0})
    session = SearchingSession(clock.open, 2)
    work(session, SOON)
    session.close()
    assert sorted(clock.closed) == [1, 2]


def test_only_where_nobody_said_how_many(tiny, monkeypatch):
    monkeypatch.setattr(opening, "cores", lambda: 4)
    for threads, kind in ((None, SearchingSession), (1, OrtSession), (4, OrtSession)):
        with eyespot.load(tiny.path, threads=threads) as model:
            assert isinstance(model.session, kind)
    monkeypatch.setattr(opening, "cores", lambda: 1)
    with eyespot.load(tiny.path) as model:
        assert isinstance(model.session, OrtSession)
    monkeypatch.setattr(opening, "cores", lambda: 4)
    monkeypatch.setattr(opening, "_SEARCHED", 10)
    with eyespot.load(tiny.path) as model:
        assert isinstance(model.session, OrtSession)


@pytest.mark.parametrize("name", ["eyelet_1.0.tiny200", "efficientnet_lite0.in1k", "efficientnet_lite0.in1k-int8"])
def test_answers_do_not_depend_on_the_number(name):
    from eyespot.bundle.resolve import open_bundle

    try:
        bundle = open_bundle(name)
    except eyespot.EyespotError as error:
        pytest.skip(str(error))
    images = np.random.default_rng(0).integers(0, 256, (4, 1, *bundle.card.preprocess.size, 3), np.uint8)
    sessions = [OrtSession(bundle.model, threads=threads) for threads in (1, 2, 3, 8)]
    for image in images:
        first, *others = [session.run(image).tobytes() for session in sessions]
        assert others == [first] * 3
