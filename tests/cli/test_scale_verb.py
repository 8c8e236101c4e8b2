"""eyespot scale as a person and as a pipe see it."""

import json
import os
import shlex
import subprocess
import sys

from eyespot.arch.catalogue import draw
from eyespot.core.cost import cost
from terminal import on_a_terminal


def eyespot(*args):
    done = subprocess.run(
        [sys.executable, "-m", "eyespot", *map(str, args)], capture_output=True, check=False, text=True
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_pipe_gets_one_network_a_line():
    done = eyespot("scale", "mobilenet_v2", "--macs", "150M", "--memory", "4M", "--classes", "10", "--top", "3")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 3
    for row in rows:
        spent = cost(draw(row["architecture"], row["arguments"]))
        assert (row["macs"], row["parameters"]) == (spent.macs, spent.parameters)
        assert spent.macs <= 150e6
        assert spent.peak_activation_bytes <= 4e6
        assert row["arguments"]["classes"] == 10


def test_a_person_gets_a_table_and_a_command_that_draws_the_first():
    code, text = on_a_terminal(
        [sys.executable, "-m", "eyespot", "scale", "mobilenet_v2", "--parameters", "3M", "--set", "padding=same"],
        env=dict(os.environ),
    )
    assert code == 0
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0].split() == ["width", "depth", "size", "parameters", "MACs", "memory", "unused", "imbalance"]
    width, depth, size = lines[1].split()[:3]
    assert "of 1,000 networks" in text
    (command,) = (line for line in lines if line.startswith("eyespot show"))
    shown = json.loads(eyespot(*shlex.split(command)[1:], "--no-layers").stdout)
    arguments = {"width": float(width), "depth": float(depth), "size": int(size), "padding": "same"}
    assert shown["digest"] == draw("mobilenet_v2_1.0", arguments).digest
    assert repr(arguments["size"]) in next(line for line in lines if "draw(" in line)


def test_what_cannot_be_is_said_in_one_line():
    for args, word in (
        (("mobilenet_v2",), "needs a budget"),
        (("resnet50", "--macs", "1G"), "cannot be scaled"),
        (("mobilenet_v2", "--parameters", "1M"), "keeps to 1,000,000 parameters"),
        (("mobilenet_v2", "--macs", "1M", "--set", "colour=1"), "takes no argument 'colour'"),
    ):
        done = eyespot("scale", *args)
        assert done.returncode == 2
        assert word in done.stderr
        assert done.stderr.count("\n") == 1
