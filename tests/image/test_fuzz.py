"""Damaged files of every format: nothing but PictureError, within the memory and time that mutate.py states."""

import json
import subprocess
import sys
from pathlib import Path

import mutate
import pytest

from conftest import SHARED

MUTATIONS = 100_000  # about two minutes
QUICK = 1_500

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is Linux's")


def run(count, first, tmp_path):
    """Damages what made.py makes, and the small awkward files where they are.

    One child: a codec that crashes takes down only that, and the file it was at is known."""
    progress = tmp_path / "progress"
    program = Path(mutate.__file__)
    call = [sys.executable, str(program), "0", str(first), str(count), str(progress), str(SHARED / "awkward")]
    child = subprocess.run(call, capture_output=True, text=True, timeout=3600, check=False)
    at = progress.read_text() if progress.exists() else "the start"
    assert child.returncode == 0, f"died with {child.returncode} at mutation {at}: {child.stderr[-3000:]}"
    report = json.loads(child.stdout)
    assert report["wrong"] == []
    assert sum(report["outcomes"].values()) == count
    assert report["outcomes"]["picture"] > count // 10  # some survive, so the decoders were really reached
    assert report["outcomes"]["refused"] > count // 10
    return report


def test_some_mutations(tmp_path):
    run(QUICK, 0, tmp_path)


@pytest.mark.slow
def test_a_hundred_thousand_mutations(tmp_path):
    report = run(MUTATIONS, QUICK, tmp_path)
    print(report)


def test_a_mutation_is_the_same_every_time():
    bases = [("zeros", bytes(64)), ("ones", b"\1" * 64)]
    got = [mutate.mutation(0, i, bases) for i in range(40)]
    assert got == [mutate.mutation(0, i, bases) for i in range(40)]
    assert len({data for _, data in got}) > 35


def test_the_bounds_are_enforced(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(Path(mutate.__file__).parent)!r}); import mutate; mutate.limit_memory();"
        "bytes(mutate.MEMORY // 2); bytes(mutate.MEMORY + 1)"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert "MemoryError" in child.stderr
