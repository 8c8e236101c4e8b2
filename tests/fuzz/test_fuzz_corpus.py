"""The readers of strangers' files under a fuzzer that follows coverage, from the small corpus in the tree."""

import contextlib
import importlib.util
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import readers

from eyespot.errors import EyespotError
from eyespot.weights.keras_h5 import read_keras_h5

MOST_MEMORY = 2 << 20  # kB
HERE = Path(__file__).parent
CORPUS = sorted(path for path in (HERE / "corpus").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_the_corpus_ends_well(path):
    if path.parent.name == "h5":
        pytest.importorskip("h5py")
        with contextlib.suppress(EyespotError):
            read_keras_h5(path)  # in a process of its own, whose memory is bounded
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MOST_MEMORY
        return
    readers.one(path.parent.name, path.read_bytes())


def test_every_reader_has_a_corpus():
    assert {path.name for path in (HERE / "corpus").iterdir()} == readers.READERS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("reader", readers.READERS)
def test_the_fuzzer_finds_nothing(reader, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris (the extra `fuzz`), which exists for Linux and macOS and some versions of Python")
    command = [sys.executable, HERE / "run.py", reader, "--seconds", "20", "--corpus", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    found = [p.read_bytes()[:300] for kind in ("crash", "timeout", "oom") for p in tmp_path.glob(f"{kind}-*")]
    assert (done.returncode, found) == (0, []), done.stderr[-2000:]
