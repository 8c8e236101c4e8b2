"""Progress on standard error: lines of a log where there is no terminal, one line where there is one."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from importlib import import_module
from typing import ClassVar

import pytest
from click.testing import CliRunner

from conftest import make_pictures
from eyespot.cli import terminal

PATIENCE = 20.0  # seconds, after which a line that never comes fails the test


class Log(io.StringIO):
    """A stream that says when a line of some pattern came."""

    def wait_for(self, pattern):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = re.search(pattern, self.getvalue())
            if found:
                return found[0]
            time.sleep(0.005)
        raise AssertionError(f"no {pattern!r} in {self.getvalue()!r}")


class Terminal(Log):
    def isatty(self):
        return True


def listen(monkeypatch):
    """Standard error as a log; set inside a test, since pytest puts its own in place before each."""
    stream = Log()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(terminal, "LOG_SECONDS", 0.02)
    return stream


def test_a_log_gets_plain_lines_with_rate_and_time_left(monkeypatch):
    log = listen(monkeypatch)
    with terminal.Progress() as progress:
        progress.stage("validating", 40)
        progress.step(10)
        line = log.wait_for(r"eyespot: validating: 10 of 40 images, [\d.e+]+ a second, [^\n]* left\n")
    assert "\r" not in line
    assert "\033" not in log.getvalue()


def test_a_log_shows_that_a_stage_without_steps_still_runs(monkeypatch):
    log = listen(monkeypatch)
    with terminal.Progress() as progress:
        progress.stage("rounding")
        assert len(log.wait_for(r"(eyespot: rounding: [\d.]+ s\n){2}").splitlines()) == 2


def test_a_log_names_the_stage_of_the_moment(monkeypatch):
    log = listen(monkeypatch)
    with terminal.Progress() as progress:
        progress.stage("one")
        log.wait_for("eyespot: one: ")
        progress.stage("two")
        log.wait_for("eyespot: two: ")


def test_no_lines_after_the_block_even_when_it_failed(monkeypatch):
    log = listen(monkeypatch)
    progress = terminal.Progress()
    progress.stage("dividing")
    with pytest.raises(ZeroDivisionError), progress:
        progress.step(log.wait_for("eyespot: dividing: ") and 1 / 0)
    for thread in threading.enumerate():
        if thread.name == "eyespot-progress":
            thread.join(PATIENCE)
    before = log.getvalue()
    progress.step()
    assert not [thread for thread in threading.enumerate() if thread.name == "eyespot-progress"]
    assert log.getvalue() == before


def test_a_short_command_says_nothing_in_a_log(monkeypatch):
    stream = Log()
    monkeypatch.setattr(sys, "stderr", stream)
    with terminal.Progress(3) as progress:
        progress.stage("quick", 3)
        progress.step(3)
    assert stream.getvalue() == ""


def test_nothing_is_said_before_anything_is_begun(monkeypatch):
    log = listen(monkeypatch)
    with terminal.Progress() as progress:
        time.sleep(0.1)  # a few lines' time; that none come is right however slow the machine is
        assert log.getvalue() == ""
        progress.stage("at last")
        log.wait_for("eyespot: at last: ")


def test_the_total_is_counted_only_when_it_is_shown(monkeypatch):
    log = listen(monkeypatch)
    asked = []
    with terminal.Progress(lambda: asked.append(1) or 7) as progress:
        progress.step(2)
        log.wait_for("eyespot: 2 of 7 images")
        log.wait_for(r"(eyespot: 2 of 7 images[^\n]*\n){2}")
    assert len(asked) == 1


def test_a_reader_that_went_away_ends_the_lines_not_the_job(monkeypatch):
    listen(monkeypatch)

    def gone(*_args, **_kwargs):
        raise BrokenPipeError

    with terminal.Progress() as progress:
        monkeypatch.setattr(terminal.click, "echo", gone)
        progress.stage("working")
        for thread in threading.enumerate():
            if thread.name == "eyespot-progress":
                thread.join(PATIENCE)
                assert not thread.is_alive()


def test_a_terminal_gets_one_line_that_is_drawn_anew_and_taken_away(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with terminal.Progress() as progress:
        progress.stage("validating", 40)
        progress.stage("rounding")
    drawn = stream.getvalue().split("\r\033[K")
    assert "validating: " in drawn[1]
    assert "0 of 40 images" in drawn[1]
    assert drawn[2:] == ["rounding", ""]
    assert "\n" not in stream.getvalue()


class Recording(terminal.Progress):
    """What a verb tells of itself."""

    made: ClassVar[list[Recording]] = []

    def __enter__(self):
        self.told = []
        self.made.append(self)
        return super().__enter__()

    def stage(self, title, total=None, done=0):
        self.told.append(title)
        super().stage(title, total, done)

    def step(self, count=1):
        self.told.append(count)
        super().step(count)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("classify", ["DATA", "-r", "-m", "BUNDLE"]),
        ("classify", ["DATA", "-r", "-m", "BUNDLE", "--out", "OUT.jsonl"]),
        ("evaluate", ["BUNDLE", "DATA"]),
        ("data", ["check", "DATA", "--quick"]),
        ("data", ["split", "DATA", "--out", "OUT.csv"]),
        ("quantize", ["BUNDLE", "--data", "DATA", "--precision", "float16", "--out", "OUT"]),
        ("export", ["BUNDLE", "--to", "onnx", "--data", "DATA", "--seconds", "0", "--out", "OUT"]),
        ("measure", ["BUNDLE", "--quick", "--seconds", "0.02"]),
        ("train", ["DATA", "--model", "BUNDLE", "--recipe", "probe", "--threads", "1", "--out", "OUT"]),
    ],
)
def test_every_long_verb_says_how_far_it_is(verb, words, tiny, tmp_path, monkeypatch):
    """In a ``with`` block, so that a log gets its lines and a terminal is left clean."""
    if verb == "train":
        pytest.importorskip("torch")
    for label in ("class 0", "class 1"):
        make_pictures(tmp_path / "data" / label, 40)
    places = {"DATA": str(tmp_path / "data"), "BUNDLE": str(tiny.path)}
    words = [places.get(word, word.replace("OUT", str(tmp_path / "out"))) for word in words]
    monkeypatch.setattr(terminal, "Progress", Recording)
    monkeypatch.setattr(Recording, "made", [])
    command = import_module(f"eyespot.cli.{verb}").command
    done = CliRunner().invoke(command, words, standalone_mode=False)
    assert done.exception is None, done.output
    (progress,) = Recording.made
    assert progress.told
    assert progress._stop.is_set()
