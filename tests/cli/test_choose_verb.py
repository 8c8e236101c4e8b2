"""``eyespot choose`` as people type it."""

import json
import sys
from importlib import import_module

import pytest
from click.testing import CliRunner

from choosing import Counting, candidate
from conftest import make_bundle
from eyespot.bundle.cache import bundle_directory
from eyespot.errors import MissingExtra, UsageError
from terminal import on_a_terminal

home = import_module("eyespot.cli.choose")
work = import_module("eyespot.choose.choose")


@pytest.fixture(autouse=True)
def _few(monkeypatch, tmp_path):
    """Two networks, one of them at hand, on a device that runs nothing."""
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    make_bundle(bundle_directory("tiny.test"), size=32)
    some = [candidate(32, top1=60.0, start="tiny.test"), candidate(96, top1=70.0)]
    monkeypatch.setattr(work, "by_figures", lambda **_: some)
    monkeypatch.setattr(work, "_SHORT", work.replace(work._SHORT, seconds=0.02, threads=1))
    monkeypatch.setattr(home, "_device", lambda *_: Counting())


def run(*words: str):
    return CliRunner().invoke(home.command, list(words), standalone_mode=False)


def test_a_pipe_gets_the_report(tmp_path):
    done = run("--latency-p95", "4ms", "--size", "5 MB", "--out", str(tmp_path / "out"))
    assert done.return_value == 0, done.output
    data = json.loads(done.stdout)
    assert data["choice"] == "tiny.test at 32, float32"
    assert data["budget"] == {"latency_p95_ms": 4.0, "size_bytes": 5e6}
    assert (tmp_path / "out" / "bundle" / "card.json").is_file()


def test_a_person_gets_a_table_and_what_was_timed(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    chosen = work.choose(work.Wants(work.Budget(latency_p95_ms=4.0)), tmp_path / "out", device=Counting())
    lines = "\n".join(home._lines(chosen, tmp_path / "out"))
    for words in (
        "budget: latency p95 4 ms",
        "chosen:",
        "tiny.test at 32",
        "measured again",
        "timed: one picture (320×213",
    ):
        assert words in lines


def test_none_fits_is_exit_code_1_and_says_what_would_have_to_give(tmp_path):
    done = run("--latency", "1.3ms", "--out", str(tmp_path / "out"))
    assert done.return_value == 1
    assert "none fits; the nearest is tiny.test at 32, float32, which would need latency median" in done.stderr
    assert json.loads(done.stdout)["choice"] is None


@pytest.mark.parametrize(("text", "value"), [("8ms", 8.0), ("0.5 s", 500.0), ("750us", 0.75), (3, 3.0)])
def test_durations(text, value):
    assert home.DURATION.convert(text, None, None) == pytest.approx(value)


@pytest.mark.parametrize(("text", "value"), [("5MB", 5e6), ("1 MiB", 2**20), ("300kB", 3e5), (".5GB", 5e8)])
def test_sizes(text, value):
    assert home.SIZE.convert(text, None, None) == pytest.approx(value)


@pytest.mark.parametrize("text", ["8", "ms", "-8ms", "8 minutes", "0ms", "1e3ms"])
def test_what_is_no_amount(text):
    import click

    with pytest.raises(click.BadParameter, match="is not an amount such as 8ms"):
        home.DURATION.convert(text, None, None)


def test_a_budget_is_needed(tmp_path):
    done = run("--out", str(tmp_path / "out"))
    assert isinstance(done.exception, UsageError)
    assert "a budget was needed" in str(done.exception)


def test_where_it_can_be_measured(monkeypatch):
    monkeypatch.undo()
    assert home._device(None, "python3").place == "here"
    assert home._device("ssh:pi", "python3").place == "ssh"
    assert home._device("ssh:pi", "python3").key != home._device("ssh:other", "python3").key
    with pytest.raises(UsageError, match="ssh:HOST was needed"):
        home._device("adb", "python3")


def test_pictures_need_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    done = run("--latency", "5ms", "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, MissingExtra)
    assert "eyespot choose --data needs an optional dependency" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_errors_are_one_line(tmp_path):
    words = ["--latency", "5", "--out", str(tmp_path / "out")]
    code, output = on_a_terminal([sys.executable, "-m", "eyespot", "choose", *words])
    assert code == 2
    assert "'5' is not an amount such as 8ms or 0.5s" in output
