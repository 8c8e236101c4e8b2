"""``eyespot show``: architectures, networks in a person's own file, bundles, and the diagram."""

import json
import subprocess
import sys

import pytest

from conftest import ROOT
from eyespot.arch.catalogue import draw
from terminal import on_a_terminal

OWN = "examples/my_nets.py:tiny"


def show(*args):
    command = [sys.executable, "-m", "eyespot", "show", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def shown(*args):
    done = show(*args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_architecture_as_asked_for():
    found = shown("mobilenet_v2_1.0", "--size", "96x128", "--classes", 7, "--set", "width=0.5")
    graph = draw("mobilenet_v2_1.0", {"size": (96, 128), "classes": 7, "width": 0.5})
    assert (found["digest"], found["input"], found["outputs"]) == (graph.digest, [3, 96, 128], {"classifier": [7]})
    assert found["taps"]["32"] == graph.taps[32]
    assert sum(row["macs"] for row in found["layers"]) == found["macs"] == found["deployed"]["macs"]


def test_a_network_of_ones_own():
    found = shown(OWN, "--size", 64, "--set", "width=0.5")
    assert (found["architecture"], found["input"]) == (OWN, [3, 64, 64])
    assert found["layers"][0]["shape"] == [8, 32, 32]


def test_a_network_trained_in_branches_says_what_it_runs_as():
    found = shown("repvgg_a0", "--size", 64, "--no-layers")
    assert found["deployed"]["macs"] < found["macs"]
    command = [sys.executable, "-m", "eyespot", "show", "repvgg_a0", "--no-layers"]
    assert "parallel branches are for training" in on_a_terminal(command)[1]


def test_a_person_sees_the_layers_and_taps():
    code, output = on_a_terminal([sys.executable, "-m", "eyespot", "show", OWN], cwd=ROOT)
    assert code == 0
    assert "taps" in output
    assert "stride 4: block1.project.norm" in output
    assert "block3.squeeze_excite.scale" in output


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25", OWN])
def test_the_diagram(name, tmp_path):
    done = show(name, "--svg", tmp_path / "net.svg")
    assert (done.returncode, done.stderr) == (0, f"{tmp_path / 'net.svg'} shows {name}\n")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_bundle_has_a_diagram_too(tiny, tmp_path):
    found = json.loads(show(tiny.path, "--svg", tmp_path / "net.svg").stdout)
    assert found["name"] == "tiny.test"
    assert "tiny.test" in (tmp_path / "net.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["mobilenet_v2_1.0", "--size", "big"], "'big' is not a size in pixels"),
        (["mobilenet_v2_1.0", "--size", "1x2x3"], "is not a size"),
        (["mobilenet_v2_1.0", "--size", "0"], "is not a size"),
        (["mobilenet_v2_1.0", "--classes", "0"], "0"),
        (["mobilenet_v2_1.0", "--set", "width"], "is not KEY=VALUE"),
        (["mobilenet_v2_1.0", "--set", "colour=2"], "takes no argument 'colour'"),
        (["mobilenet_v2_1.0", "--svg", "net.png"], "is not an .svg"),
        (["mobilenet_v2_1.0", "--svg", "no/such/folder/net.svg"], "cannot be written"),
        (["examples/my_nets.py"], "say which: examples/my_nets.py:tiny"),
        (["examples/my_nets.py:tny"], "no function 'tny'; say which: examples/my_nets.py:tiny"),
        (["absent.py:tiny"], "absent.py cannot be read"),
        ([OWN, "--set", "size=none"], "size is 'none'"),
        (["zzz"], "there is no model called 'zzz'; `eyespot models` lists them"),
        (["mobilenet_v2"], "Architectures: mobilenet_v2_1"),
    ],
)
def test_bad_values_are_one_line_and_exit_code_2(args, says):
    done = show(*args)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bundle_is_not_drawn_anew(tiny):
    done = show(tiny.path, "--size", 64, "--set", "width=2")
    assert done.returncode == 2
    assert "expected an architecture of the catalogue with --set width, --size, got" in done.stderr


def test_weights_for_a_network_of_ones_own(tmp_path):
    """``--arch FILE.py:FUNCTION`` takes weights in the network's own names, and the bundle outlives the file."""
    from safetensors.numpy import save_file

    from eyespot.lower.tensors import random_weights

    graph = draw(str(ROOT / OWN))
    save_file(random_weights(graph, 0), tmp_path / "weights.safetensors")
    command = [sys.executable, "-m", "eyespot", "import", str(tmp_path / "weights.safetensors"), "--arch", OWN]
    command += ["--out", str(tmp_path / "bundle"), "--pixels", "unit"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = shown(tmp_path / "bundle")
    assert (found["architecture"], found["digest"]) == ("tiny", graph.digest)
    assert found["name"].startswith("tiny.")


def test_a_calibrated_bundle_says_so(tiny, tmp_path):
    from dataclasses import replace
    from shutil import copytree

    copytree(tiny.path, tmp_path / "b")
    (tmp_path / "b" / "card.json").write_text(replace(tiny.card, temperature=1.5, threshold=0.75).to_text())
    found = shown(tmp_path / "b", "--no-layers")
    assert (found["temperature"], found["threshold"]) == (1.5, 0.75)
    _, text = on_a_terminal([sys.executable, "-m", "eyespot", "show", str(tmp_path / "b"), "--no-layers"])
    assert "softmax(logits / 1.5)" in text
    assert "from a probability of 0.75 on" in text
    assert "certain" not in on_a_terminal([sys.executable, "-m", "eyespot", "show", str(tiny.path), "--no-layers"])[1]


def test_a_backbone_ends_at_its_feature_maps():
    found = shown("mobilenet_v2_1.0", "--backbone")
    assert list(found["outputs"].values())[-1] == [320, 7, 7]
    assert "classifier" not in [layer["name"] for layer in found["layers"]]
    done = show("eyelet_1.0.tiny200", "--backbone")
    assert done.returncode == 2
    assert "expected an architecture of the catalogue with --backbone, got eyelet_1.0.tiny200" in done.stderr
