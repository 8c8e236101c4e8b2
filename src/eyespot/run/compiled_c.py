"""A session on exported C: compiled with this machine's compiler into a temporary folder, and called from there."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import RuntimeFailure
from eyespot.run.session import ClosingSession, TensorSpec

FLAGS = ("-std=c99", "-O2")  # of what is counted
_FASTER = ("-std=c99", "-O3")  # of what is run here: half the time, the same integers
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 300  # that a compiler may take
_SECTION = re.compile(r"^(\.\S+)\s+(\d+)\s+\d+$", re.MULTILINE)
# What Python cannot read from a header; and where the file is compiled to show its tensors, who looks at them.
_DOOR = """\
#include "eyespot_model.h"
const int32_t eyespot_sizes[3] = {EYESPOT_HEIGHT, EYESPOT_WIDTH, EYESPOT_CLASSES};
const double eyespot_step = EYESPOT_LOGIT_STEP;
typedef void (*watcher)(const char *, int32_t, int32_t, int32_t, double, int32_t, const int8_t *);
watcher eyespot_watcher;
void eyespot_show(const char *name, int32_t channels, int32_t height, int32_t width, double scale, int32_t zero,
                  const int8_t *levels);
void eyespot_show(const char *name, int32_t channels, int32_t height, int32_t width, double scale, int32_t zero,
                  const int8_t *levels)
{
    if (eyespot_watcher) {
        eyespot_watcher(name, channels, height, width, scale, zero, levels);
    }
}
"""
_WATCHER = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, ctypes.c_double, ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int8),
)  # fmt: skip


def compiler(command: str | None = None) -> list[str]:
    """The C compiler: ``command``, else what CC says, else cc, gcc or clang. RuntimeFailure when there is none."""
    asked = command or os.environ.get("CC")
    for words in [shlex.split(asked)] if asked else [[name] for name in _COMPILERS]:
        if words and shutil.which(words[0]):
            return words
    wanted = f"{asked!r} was not found" if asked else f"none of {', '.join(_COMPILERS)} was found"
    raise RuntimeFailure(f"exported C is proven by compiling it, and {wanted}; install a C compiler, or set CC")


class CompiledCSession(ClosingSession):
    """``eyespot_model.c`` beside its header. One picture at a time: its memory is one static block.

    Opening it runs the network's own test: RuntimeFailure when the compiled program gives other integers than the
    reference did. trace: show every tensor to ``tensors_of``.
    """

    def __init__(self, source: Path, *, trace: bool = False, flags: Sequence[str] = _FASTER) -> None:
        self._lock = threading.Lock()
        self._library = _load(source, [*flags, *(["-DEYESPOT_TRACE=eyespot_show"] if trace else [])])
        sizes = (ctypes.c_int32 * 3).in_dll(self._library, "eyespot_sizes")
        self._height, self._width, self._classes = sizes
        self.step: float = ctypes.c_double.in_dll(self._library, "eyespot_step").value
        self.inputs = (TensorSpec("pixels", "uint8", (None, self._height, self._width, 3)),)
        self.outputs = (TensorSpec("logits", "float32", (None, self._classes)),)
        answer = np.empty(self._classes, np.int32)
        if self._library.eyespot_selftest(_pointer(answer)) != 0:
            raise RuntimeFailure(
                f"{source.name}, compiled by {compiler()[0]}, gives other integers than eyespot's reference; "
                "try another compiler, and report it"
            )

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (n, outputs) of prepared pictures."""
        logits: NDArray[np.float32] = (self.integers(batch) * self.step).astype(np.float32)
        return logits

    def integers(self, batch: NDArray[np.uint8]) -> NDArray[np.int32]:
        """What the program answers, (n, outputs); times ``step`` they are logits."""
        if self._library is None:
            raise RuntimeFailure("this session is closed; open another one")
        wanted = (self._height, self._width, 3)
        if batch.dtype != np.uint8 or batch.shape[1:] != wanted:
            raise RuntimeFailure(f"the compiled C takes uint8 (n, {str(wanted)[1:]}, not {batch.dtype} {batch.shape}")
        answers = np.empty((len(batch), self._classes), np.int32)
        with self._lock:
            for picture, answer in zip(np.ascontiguousarray(batch), answers, strict=True):
                self._library.eyespot_classify(_pointer(picture), _pointer(answer))
        return answers

    def tensors_of(self, picture: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Every tensor, (1, channels, height, width), that the program makes of one picture (1, height, width, 3)."""
        seen: dict[str, NDArray[np.float32]] = {}

        def watch(name: bytes, channels: int, height: int, width: int, scale: float, zero: int, levels: Any) -> None:
            values = np.ctypeslib.as_array(levels, (height, width, channels)).transpose(2, 0, 1).astype(np.float32)
            seen[name.decode()] = (values[None] - np.float32(zero)) * np.float32(scale)

        callback = _WATCHER(watch)
        watcher = ctypes.c_void_p.in_dll(self._library, "eyespot_watcher")
        watcher.value = ctypes.cast(callback, ctypes.c_void_p).value
        try:
            self.integers(picture)
        finally:
            watcher.value = None
        return seen

    def close(self) -> None:
        """Lets go of the program; the system keeps its code in memory until the process ends."""
        self._library = None


def values_of(source: Path, names: Sequence[str], pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    """The nodes that the program has a tensor of, on one picture, (1, channels, height, width)."""
    with CompiledCSession(source, trace=True) as session:
        seen = session.tensors_of(pixels[:1])
    return {name: seen[name] for name in names if name in seen}


def sizes_of(source: Path, command: str | None = None, flags: Sequence[str] = FLAGS) -> dict[str, int]:
    """Bytes of each kind in the compiled file, as the tool ``size`` counts them: code, constants, data, zeroed.

    command: a compiler for another processor, say ``arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb``.
    """
    with tempfile.TemporaryDirectory(prefix="eyespot-c-") as folder:
        made = Path(folder) / "model.o"
        _run([*compiler(command), *flags, "-fno-pic", "-c", "-o", str(made), str(source)])
        listed = _run([_size_tool(), "-A", "-d", str(made)])
    sections = [(name, int(size)) for name, size in _SECTION.findall(listed)]
    kinds = {"code": (".text", ".eh_frame", ".ARM"), "constants": (".rodata",), "data": (".data",), "zeroed": (".bss",)}
    return {kind: sum(s for name, s in sections if name.startswith(heads)) for kind, heads in kinds.items()}


def version_of(command: str | None = None) -> str:
    """A compiler's own words: its name and version, and the processor that it compiles for."""
    words = compiler(command)
    first = _run([*words, "--version"]).splitlines()[0]
    target = _run([*words, "-dumpmachine"]).strip()
    return " ".join([f"{first} for {target}", *(word for word in words if word.startswith("-m") and word != "-m")])


def _size_tool() -> str:
    for name in ("size", "llvm-size"):
        if found := shutil.which(name):
            return found
    raise RuntimeFailure("the tool 'size' was not found, which counts flash and memory; install binutils or LLVM")


def _load(source: Path, flags: Sequence[str]) -> Any:
    """The compiled program. Its file may go once it is loaded."""
    with tempfile.TemporaryDirectory(prefix="eyespot-c-") as folder:
        door, library = Path(folder) / "door.c", Path(folder) / "model.so"
        door.write_text(_DOOR, encoding="ascii")
        files = [f"-I{source.parent}", "-shared", "-fPIC", "-o", str(library), str(door), str(source)]
        _run([*compiler(), *flags, *files])
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            raise RuntimeFailure(
                f"what {compiler()[0]} made cannot be loaded: {error}; set CC to another one"
            ) from None


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeFailure(f"{command[0]} could not be run: {error}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
        raise RuntimeFailure(f"{command[0]} refuses the exported C: {lines[0][:300]}; set CC to a compiler of C99")
    return done.stdout


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """Where an array's values lie; it does not keep the array alive, so that its caller must."""
    return ctypes.c_void_p(array.ctypes.data)
