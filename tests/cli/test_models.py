"""``eyespot models`` as a person and as a pipe see it."""

import json
import re
import resource
import subprocess
import sys

import pytest

from eyespot.arch.catalogue import variants
from terminal import on_a_terminal


def models(*args):
    command = [sys.executable, "-m", "eyespot", "models", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(*args):
    done = models(*args)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def terminal(*args, columns=130):
    return on_a_terminal([sys.executable, "-m", "eyespot", "models", *map(str, args)], env={"COLUMNS": str(columns)})


def test_a_pipe_gets_one_object_per_variant():
    found = rows()
    assert [r["variant"] for r in found if r["variant"] in variants()] == list(variants())
    assert all(r["macs"] > 0 and r["parameters"] > 0 and r["peak_activation_bytes"] > 0 for r in found)


def test_all_recipes():
    found = [r for r in rows("--all") if r["variant"] == "mobilenet_v2_1.0"]
    assert len(found) > 3
    assert {"tv_in1k", "tf"} <= {r["recipe"] for r in found}


def test_filters_and_order():
    found = rows("--max-macs", "300M", "--min-top1", 72, "--max-parameters", "5M", "--sort=-top1")
    assert found
    assert all(r["macs"] <= 300e6 and r["top1"] >= 72 and r["parameters"] <= 5e6 for r in found)
    assert [r["top1"] for r in found] == sorted((r["top1"] for r in found), reverse=True)
    assert {r["family"] for r in rows("--family", "mobilenet_v2", "--family", "squeeze")} == {
        "mobilenet_v2",
        "squeezenet",
    }


def test_a_person_sees_a_table():
    code, output = terminal("--family", "mobilenet_v2", "--all")
    assert code == 0
    head, *lines = re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines()
    assert head.split() == ["model", "parameters", "MACs", "memory", "input", "top-1", "top-5", "licence", "weights"]
    assert any(
        line.startswith("mobilenet_v2_1.0.tv_in1k ") and " 301 M " in line and " 71.9 " in line for line in lines
    )
    assert "downloaded at first use" in output


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_narrow_terminal_gets_fewer_columns(columns):
    _, output = terminal("--family", "mobilenet_v2", columns=columns)
    head, *lines = re.sub(r"\x1b\[[0-9;]*m", "", output).split("\n\n")[0].splitlines()
    assert {"model", "MACs", "top-1", "weights"} <= set(head.split())
    assert max(len(line) for line in lines) <= columns


def test_the_whole_catalogue_is_listed_in_half_a_second():
    """Of processor time, which no neighbour on the machine changes much; the best of three."""

    def seconds():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = used.ru_utime + used.ru_stime
        assert models().returncode == 0
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime - before

    assert min(seconds() for _ in range(3)) < 0.5


def test_json_on_a_terminal():
    _, output = terminal("--family", "eyelet", "--json")
    assert all(json.loads(line)["family"] == "eyelet" for line in output.splitlines())


def test_nothing_within_the_limits_is_said():
    done = models("--max-macs", 1)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "no network is within these limits; loosen one of them\n"


def test_the_plot(tmp_path):
    done = models("--plot", tmp_path / "pareto.svg", "--family", "efficientnet")
    assert done.returncode == 0
    assert "on the Pareto front" in done.stderr
    assert (tmp_path / "pareto.svg").read_text().startswith("<svg")


def test_the_plot_takes_the_recipe_that_has_a_figure(tmp_path):
    """Weights that are nearer but of which nobody published an accuracy do not hide a network from the plot."""
    models("--plot", tmp_path / "pareto.svg", "--family", "mobilenet_v1")
    drawn = (tmp_path / "pareto.svg").read_text(encoding="utf-8")
    assert all(f"<title>mobilenet_v1_{width}." in drawn for width in ("0.25", "0.5", "0.75", "1.0"))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--max-macs", "many"], "'many' is not a number such as 300M"),
        (["--max-parameters", "-5"], "'-5' is not a number"),
        (["--max-macs", "nan"], "'nan' is not a number"),
        (["--min-top1", "101"], "101"),
        (["--family", "yolo"], "no family is called 'yolo'"),
        (["--sort", "speed"], "cannot sort by 'speed'"),
        (["--plot", "pareto.png"], "is not an .svg"),
        (["--plot", "no/such/folder/pareto.svg"], "cannot be written"),
        (["--family", "eyelet", "--max-macs", "30M", "--plot", "pareto.svg"], "nothing to plot"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_bad_values_are_one_line_and_exit_code_2(args, says):
    done = models(*args)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
