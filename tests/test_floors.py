"""The floors hold: what each public door loads, in a fresh interpreter, and how long the first one takes."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    "numpy",
    "PIL",
    "onnxruntime",
    "onnx",
    "safetensors",
    "torch",
    "h5py",
    "pyarrow",
    "pi_heif",
    "pillow_heif",
    "click",
)


def loaded_by(code: str, *args: str) -> set[str]:
    """Which heavy packages a program has loaded when it ends."""
    program = (
        f"import sys, json, atexit; atexit.register(lambda: sys.stderr.write(json.dumps(list(sys.modules))))\n{code}"
    )
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stderr[done.stderr.index('["') :])
    return {module.partition(".")[0] for module in modules} & set(HEAVY)


def command(*args: str) -> str:
    return f"sys.argv = ['eyespot', *{args!r}]\nfrom eyespot.cli.main import cli\ncli.main(standalone_mode=False)"


def test_importing_eyespot_loads_nothing():
    assert loaded_by("import eyespot; dir(eyespot)") == set()


def test_the_nouns_and_architectures_need_the_standard_library_only():
    nouns = "from eyespot import Card, Graph, Labels, Preprocess, Sketch, cost"
    draw = "from eyespot.arch.catalogue import draw\ncost(draw('mobilenet_v2_1.0'))"
    assert loaded_by(f"{nouns}\n{draw}") == set()


VERBS = [
    "choose",
    "classify",
    "data",
    "evaluate",
    "export",
    "fetch",
    "import",
    "measure",
    "models",
    "pack",
    "quantize",
    "show",
    "train",
    "unpack",
    "verify",
]


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_help_loads_nothing_but_click(verb):
    assert loaded_by(command(*verb, "--help")) == {"click"}


def test_the_list_of_models_loads_nothing_but_click():
    assert loaded_by(command("models")) == {"click"}


def test_a_whole_classification(tiny, examples):
    code = f"import eyespot\nassert eyespot.load({str(tiny.path)!r})({str(examples / 'chelsea.jpg')!r}).label"
    assert loaded_by(code) == {"numpy", "PIL", "onnxruntime"}


def test_the_command_line_classifies_without_torch_onnx_h5py(tiny, examples):
    loaded = loaded_by(command("classify", "--model", str(tiny.path), str(examples / "chelsea.jpg")))
    assert loaded == {"click", "numpy", "PIL", "onnxruntime"}


def test_public_names():
    import eyespot

    assert eyespot.__all__ == sorted(eyespot.__all__)
    for name in eyespot.__all__:
        assert getattr(eyespot, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        eyespot.nothing  # noqa: B018


def test_import_time_is_the_interpreters():
    """``import eyespot`` reads two small files of ours; counted in modules, which no busy machine changes."""
    program = "import sys, eyespot\nprint(*(m for m in sys.modules if m.startswith('eyespot')))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert set(done.stdout.split()) == {"eyespot"}
