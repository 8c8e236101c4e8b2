"""``eyespot train`` as people type it; docs/train.md is true."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module

import pytest
from click.testing import CliRunner

from conftest import ROOT, make_bundle
from labelled import QUICK, colours

torch = pytest.importorskip("torch")
command = import_module("eyespot.cli.train").command
told = import_module("eyespot.cli.train").told
errors = import_module("eyespot.errors")
SETTINGS = [word for setting in QUICK for word in ("--set", setting)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, a bundle to start from, and a probe's run of them by the command; with what it printed."""
    folder = tmp_path_factory.mktemp("verb")
    colours(folder / "leaves")
    make_bundle(folder / "tiny")
    words = [str(folder / "leaves"), "--out", str(folder / "run"), "--model", str(folder / "tiny"), "--recipe", "probe"]
    result = CliRunner().invoke(command, [*words, "--threads", "1", *SETTINGS], standalone_mode=False)
    assert result.exception is None, result.output
    return folder, result


def run(*words: str):
    return CliRunner().invoke(command, list(words), standalone_mode=False)


def test_a_pipe_gets_json_lines(place):
    folder, result = place
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "probe", "done"]
    assert events == [json.loads(line) for line in (folder / "run" / "events.jsonl").read_text().splitlines()]
    assert result.return_value == 0


def test_every_event_is_a_line_for_a_person(place):
    events = [json.loads(line) for line in place[1].stdout.splitlines()]
    events.append({"event": "speed", "settings": "bfloat16"})
    events.append({"event": "skipped", "picture": "a/b.jpg", "error": "is cut off"})
    epoch = {"event": "epoch", "epoch": 2, "loss": 0.5, "val_loss": 0.4, "top1": 0.9, "best": True}
    lines = [told(event) for event in [*events, epoch]]
    assert all(lines)
    assert "3 classes, 29 to learn from, 7 to validate" in lines[0]
    assert "top-1 90.00 %  best so far" in lines[-1]
    assert told({"event": "of a newer version"}) is None


def test_the_bundle_knows_the_images_of_its_split_and_of_its_start(place, tmp_path):
    """So that an evaluation of the whole folder counts those that were not trained on."""
    folder, _ = place
    split = json.loads((folder / "run" / "split.json").read_text(encoding="utf-8"))["parts"]
    digest, read = import_module("eyespot.bundle.training_images").digest, import_module("eyespot.bundle.store").read
    known = {part: {digest((folder / "leaves" / name).read_bytes()) for name in names} for part, names in split.items()}
    images = read(folder / "run" / "best").training_images()
    assert (images.train, images.validation) == (known["train"], known["val"])
    assert len(images.train) == 29
    other = colours(tmp_path / "others", seed=7)
    words = [str(other), "--out", str(tmp_path / "next"), "--model", str(folder / "run" / "best"), "--recipe", "probe"]
    assert run(*words, "--threads", "1", *SETTINGS).exception is None
    both = read(tmp_path / "next" / "best").training_images()
    assert both.train > images.train
    assert both.validation > images.validation
    assert len(both.train) == 58
    words[0], words[words.index("--out") + 1] = str(folder / "leaves"), str(tmp_path / "leaky")
    done = run(*words, "--seed", "5", "--threads", "1", *SETTINGS)
    split = json.loads((tmp_path / "leaky" / "split.json").read_text(encoding="utf-8"))["parts"]
    leaked = len({digest((folder / "leaves" / name).read_bytes()) for name in split["val"]} & images.train)
    assert leaked
    assert f"{leaked} of the validation images are ones that {read(folder / 'run' / 'best').card.name}" in done.stderr


def test_the_line_of_recipe_toml_repeats_the_run(place, tmp_path):
    """The whole command is in it: copied, with another --out, it gives the same recipe, split and weights."""
    folder, _ = place
    words = [str(folder / "leaves"), "--out", str(tmp_path / "one run"), "--model", str(folder / "tiny")]
    words += ["--recipe", "probe", "--seed", "3", "--validation", "0.3", "--group", r"/(\d)", "--threads", "1"]
    assert run(*words, "--device", "cpu", *SETTINGS).exception is None
    first, *_ = (tmp_path / "one run" / "recipe.toml").read_text().splitlines()
    mark, program, verb, *copied = shlex.split(first)
    assert [mark, program, verb] == ["#", "eyespot", "train"]
    copied[copied.index("--out") + 1] = str(tmp_path / "again")
    assert run(*copied).exception is None
    for name in ("split.json", "best/weights.safetensors", "best/card.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "one run" / name).read_bytes()
    recipes = [import_module("eyespot.learn.run").open_run(tmp_path / name).recipe for name in ("one run", "again")]
    assert recipes[0] == recipes[1]
    assert (recipes[0].seed, recipes[0].validation, recipes[0].group) == (3, 0.3, r"/(\d)")


def test_the_command_line_is_one_line_whatever_is_in_it():
    line = import_module("eyespot.learn.run").command_line(
        ["train", "my leaves"], {"model": None, "group": "", "seed": 0, "recipe": "it's"}, ["a.b=1", "c=x y"]
    )
    assert shlex.split(line) == [
        "eyespot", "train", "my leaves", "--seed", "0", "--recipe", "it's", "--set", "a.b=1", "--set", "c=x y",
    ]  # fmt: skip


def test_resume_of_a_run_that_is_done_prints_its_end(place):
    folder, _ = place
    result = run("--resume", str(folder / "run"))
    assert json.loads(result.stdout)["event"] == "done"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to train on and where to"),
        (["leaves"], "say what to train on and where to"),
        (["leaves", "--resume", "run"], "leave out DATA"),
        (["--resume", "run", "--epochs", "3"], "leave out --epochs"),
        (["--resume", "nowhere"], "nowhere is not a run"),
        (["nowhere", "--out", "x"], "nowhere does not exist"),
        (["leaves", "--out", "run"], "holds a run already"),
        (["leaves", "--out", "x", "--set", "epoch=3"], "there is no epoch; the nearest are epochs"),
    ],
)
def test_what_cannot_be_is_one_line(place, monkeypatch, words, said):
    monkeypatch.chdir(place[0])
    result = run(*words)
    assert isinstance(result.exception, errors.UsageError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run("leaves", "--out", "x")
    assert isinstance(result.exception, errors.MissingExtra)
    assert "pip install 'eyespot[train]'" in str(result.exception)


def test_pictures_that_are_left_out_change_the_exit_code(place, tmp_path):
    data = colours(tmp_path / "data", each=4)
    (data / "class 0 ü" / "broken.jpg").write_bytes(b"no picture")
    words = [str(data), "--out", str(tmp_path / "run"), "--model", str(place[0] / "tiny"), "--recipe", "probe"]
    result = run(*words, "--threads", "1", *SETTINGS)
    assert result.return_value == 1
    assert any(json.loads(line)["event"] == "skipped" for line in result.stdout.splitlines())


def test_the_page_is_true(place, tmp_path, monkeypatch):
    """Its Python runs, its recipe is one, and its table of choices is the code's."""
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    colours(tmp_path / "leaves")
    red = (tmp_path / "leaves" / "class 0 ü").rename(tmp_path / "leaves" / "red")
    (red / "0 b.png").rename(red / "0.png")
    (python,) = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    python = python.replace("epochs=2", f"epochs=2, model={str(place[0] / 'tiny')!r}, threads=1, settings={QUICK!r}")
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("red", "class 1 ü", "class 2 ü")
    recipe, choices = import_module("eyespot.core.recipe"), import_module("eyespot.learn.choices")
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    read = recipe.Recipe.from_toml(toml)
    shipped = import_module("eyespot.learn.training").load_recipe("finetune")
    assert (read.optimizer, read.schedule, read.loss, read.regularisation, read.norm, read.augment, read.patience) == (
        shipped.optimizer, shipped.schedule, shipped.loss, shipped.regularisation, shipped.norm, shipped.augment,
        shipped.patience,
    )  # fmt: skip
    rows = re.findall(r"^\| (?:up to ([\d,]+)|more) \| (\d+), (\d+) \| (\d+), (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 7
    for limit, *numbers in rows:
        count = int(limit.replace(",", "")) if limit else 10**9
        found = [next(row for row in table if count <= row.pictures) for table in (choices.FINETUNE, choices.SCRATCH)]
        assert [int(n) for n in numbers] == [n for row in found for n in (row.epochs, row.batch)]


@pytest.mark.parametrize("name", ["probe", "finetune", "scratch", "distill"])
def test_every_shipped_recipe_says_command_cost_and_result(name):
    text = (ROOT / "src/eyespot/learn/recipes" / f"{name}.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0].startswith("# eyespot train ")
    assert lines[1].startswith("# cost    ")
    assert lines[2].startswith("# result  ")
    assert import_module("eyespot.learn.training").load_recipe(name).kind == name


@pytest.mark.slow
def test_two_processes_train_together(place, tmp_path):
    """Under torchrun, on the CPU, with gloo; killed and gone on with as well as one process."""
    folder, _ = place
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "eyespot"]
    words = [str(folder / "leaves"), "--out", str(tmp_path / "run"), "--model", str(folder / "tiny"), "--epochs", "2"]
    done = subprocess.run(
        [*start, "train", *words, "--threads", "1", "--device", "cpu", *SETTINGS],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    kinds = ["start", "probe", "speed", "warm_start", "epoch", "epoch", *["blend"] * 3, "done"]
    assert [event["event"] for event in events] == kinds
    assert events[5]["loss"] < 2
