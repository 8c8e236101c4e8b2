"""Whether int8 is worth it, by the processor's instructions as each system names them."""

import pytest

from eyespot.core import processor
from eyespot.core.processor import instructions, int8_is_faster

CPUINFO = "processor\t: 0\n{}\t: {}\n\nprocessor\t: 1\n{}\t: none\n"


@pytest.mark.parametrize(
    ("name", "flags", "faster"),
    [
        ("flags", "fpu sse4_2 avx avx2 fma avx512_vnni", True),
        ("flags", "fpu sse4_2 avx avx2 fma", True),
        ("flags", "fpu avx2 fma avx512f avx512_vnni", True),
        ("flags", "fpu avx2 fma avx512f avx512bw", False),
        ("flags", "fpu sse4_2 avx", False),
        ("Features", "fp asimd asimddp", True),
        ("Features", "fp asimd crc32", False),
    ],
)
def test_linux(tmp_path, monkeypatch, name, flags, faster):
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(CPUINFO.format(name, flags, name))
    assert int8_is_faster(tmp_path) is faster
    assert set(instructions(tmp_path)) == set(flags.split()) & set(processor.INSTRUCTIONS)


def test_a_system_that_says_nothing_gets_float32(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    assert int8_is_faster(tmp_path) is False


@pytest.mark.parametrize(("machine", "faster"), [("arm64", True), ("x86_64", False)])
def test_macos(monkeypatch, machine, faster):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert int8_is_faster() is faster
