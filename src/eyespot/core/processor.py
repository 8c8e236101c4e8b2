"""Which of the processor's instructions matter to runtimes of networks, and whether 8 bits are worth it here."""

from __future__ import annotations

import contextlib
import platform
import re
import sys
from pathlib import Path

_ROOT = Path("/")

# What runtimes of networks choose their kernels by: x86 as /proc/cpuinfo names them, then Arm.
INSTRUCTIONS = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
# How macOS names Arm's, in `sysctl hw.optional.arm`.
_APPLE = {
    "FEAT_FP16": "asimdhp",
    "FEAT_DotProd": "asimddp",
    "FEAT_I8MM": "i8mm",
    "FEAT_BF16": "bf16",
    "FEAT_SME": "sme",
}
_WINDOWS = {40: "avx2", 43: "asimddp"}  # PF_AVX2_INSTRUCTIONS_AVAILABLE, PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
# With one of these ONNX Runtime computes a network in int8 exactly and in less time than in float32; see
# benchmarks/RESULTS.md. (Without VNNI, AVX2 takes 0.8 of the time; with VNNI or Arm's dot products half of it.)
_INT8 = frozenset(("avx2", "avx_vnni", "avx512_vnni", "asimddp"))
_DOT_PRODUCTS = frozenset(("avx_vnni", "avx512_vnni"))  # without them AVX-512 takes 1.06 of float32's time


def instructions(root: Path = _ROOT) -> tuple[str, ...]:
    """Those of ``INSTRUCTIONS`` that this processor has, as far as the system says; ``root``: where /proc is."""
    if sys.platform == "darwin":
        return apple()[1]
    if sys.platform == "win32":
        import ctypes

        return tuple(name for code, name in _WINDOWS.items() if ctypes.windll.kernel32.IsProcessorFeaturePresent(code))
    fields = cpu_fields(root)
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    return tuple(name for name in INSTRUCTIONS if name in flags)


def int8_is_faster(root: Path = _ROOT) -> bool:
    """Whether a network in int8 takes less time than in float32 here, by the processor's instructions alone.

    Measured on processors of each kind; nothing is timed here. False where the system does not say.
    """
    if sys.platform == "darwin":  # all of Apple's own have dot products; asking the system takes a process
        return platform.machine() == "arm64"
    found = instructions(root)
    return not (_DOT_PRODUCTS if "avx512f" in found else _INT8).isdisjoint(found)


def cpu_fields(root: Path = _ROOT, *, first: bool = True) -> dict[str, str]:
    """What /proc/cpuinfo says, names in lower case; nothing where there is no such file.

    first: of the first core only, for there may be hundreds that say the same; else what stands after them too.
    """
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError), (root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            name, colon, value = line.partition(":")
            if colon:
                fields.setdefault(name.strip().lower(), value.strip())
            elif first and fields:
                break
    return fields


def apple() -> tuple[str, tuple[str, ...]]:
    """(the processor's name, its instructions) as macOS says them."""
    import subprocess

    with contextlib.suppress(OSError):
        done = subprocess.run(
            ["/usr/sbin/sysctl", "machdep.cpu.brand_string", "hw.optional.arm"],
            capture_output=True,
            text=True,
            check=False,
        )
        facts = dict(re.findall(r"^([\w.]+): (.*)$", done.stdout, re.MULTILINE))
        has = {name for key, name in _APPLE.items() if facts.get(f"hw.optional.arm.{key}") == "1"}
        names = {*has, "asimd"} if platform.machine() == "arm64" else set()
        return facts.get("machdep.cpu.brand_string", ""), tuple(n for n in INSTRUCTIONS if n in names)
    return "", ()
