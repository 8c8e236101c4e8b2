"""What this machine can do at the most: multiply-accumulates a second in ONNX Runtime, bytes a second by copying.

Measured once for each machine, number of threads and version of the runtime, and kept in the cache.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from eyespot.bundle.cache import cache_directory
from eyespot.core.roof import Peak
from eyespot.errors import EyespotError
from eyespot.lower.onnx_file import OnnxFile
from eyespot.measure.cautions import BUSY
from eyespot.measure.machine import between, look, probe
from eyespot.run.ort import session_options

_VERSION = 1  # raised when what is measured changes
_SECONDS = 0.25  # for each load
_PIECE = 1 << 21
_WORKING_SETS = (1 << 19, 1 << 21, 1 << 23, 1 << 25, 1 << 27)  # bytes read and written, 512 kB to 128 MB


def peak(threads: int) -> tuple[Peak, float | None]:
    """The machine's peak, and the share of the cores that others took while it was measured (None: not known).

    A peak that others disturbed is measured again the next time, and the better of the two is kept.
    """
    kept = cache_directory() / "machine" / f"peak{_VERSION}-{probe().key}-{onnxruntime.__version__}-{threads}.json"
    earlier = _read(kept)
    if earlier is not None and earlier[1] is not None and earlier[1] <= BUSY:
        return earlier
    before = look()
    found = measure_peak(threads)
    others = between(before, look()).others
    if earlier is not None:
        found = _better(found, earlier[0])
        others = min((share for share in (others, earlier[1]) if share is not None), default=None)
    _write(kept, found, others)
    return found, others


def measure_peak(threads: int) -> Peak:
    """The peak, measured now; about three seconds."""
    gmacs = {
        "float32": max(_gmacs(*load, threads=threads) for load in (_product("float32"), _convolutions())),
        "int8": _gmacs(*_product("int8"), threads=threads),
    }
    return Peak(threads, gmacs, tuple((size, _copy(size, threads)) for size in _WORKING_SETS))


def _product(dtype: str) -> tuple[bytes, NDArray[np.generic], int]:
    """(file, input, MACs) of a matrix product: a millisecond, which even a busy machine often leaves undisturbed."""
    side = 384
    file = OnnxFile("peak")
    random = np.random.default_rng(0)
    if dtype == "int8":
        x = file.input("x", "uint8", (side, side))
        weight = file.tensor("weight", random.integers(-64, 64, (side, side), np.int8))
        file.output(file.node("MatMulInteger", [x, weight], "y", name="product"), "int32", (side, side))
        fed: NDArray[np.generic] = random.integers(0, 128, (side, side), np.uint8)
    else:
        x = file.input("x", "float32", (side, side))
        weight = file.tensor("weight", random.standard_normal((side, side), np.float32))
        file.output(file.node("MatMul", [x, weight], "y", name="product"), "float32", (side, side))
        fed = random.standard_normal((side, side), np.float32)
    return file.to_bytes(producer="eyespot", version="", metadata={}), fed, side**3


def _convolutions() -> tuple[bytes, NDArray[np.generic], int]:
    """(file, input, MACs) of two convolutions of 64 channels, 3 × 3, on a map of 28 × 28."""
    channels, side, layers = 64, 28, 2
    file = OnnxFile("peak")
    random = np.random.default_rng(0)
    shape = (1, channels, side, side)
    x = file.input("x", "float32", shape)
    for at in range(layers):
        weight = random.standard_normal((channels, channels, 3, 3), np.float32) / 24  # keeps the numbers of one size
        x = file.node(
            "Conv",
            [x, file.tensor(f"weight{at}", weight)],
            f"y{at}",
            name=f"conv{at}",
            attributes={"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)},
        )
    file.output(x, "float32", shape)
    data = file.to_bytes(producer="eyespot", version="", metadata={})
    return data, random.standard_normal(shape, np.float32), layers * channels * channels * 9 * side * side


def _gmacs(model: bytes, fed: NDArray[np.generic], macs: int, *, threads: int) -> float:
    session = onnxruntime.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])
    return macs / _fastest(lambda: session.run(None, {"x": fed})) / 1e9


def _copy(size: int, threads: int) -> float:
    """10⁹ bytes a second, read and written, while ``threads`` threads copy their parts of ``size`` bytes.

    The median over pieces of a fraction of a millisecond: the few in which something else ran do not count, and the
    fastest ones, in which the other threads perhaps paused, do not either.
    """
    part = max(size // 2 // threads, 1)
    buffers = [(np.ones(part, np.uint8), np.ones(part, np.uint8)) for _ in range(threads)]
    rates = [0.0] * threads

    def work(at: int) -> None:
        source, target = buffers[at]
        piece = min(part, _PIECE)
        times = max(1, _PIECE // part)
        found = []
        end = time.perf_counter() + _SECONDS
        for first in itertools.cycle(range(0, part - piece + 1, piece)):
            start = time.perf_counter()
            for _ in range(times):
                np.copyto(target[first : first + piece], source[first : first + piece])
            now = time.perf_counter()
            found.append(now - start)
            if now >= end:
                break
        rates[at] = 2 * piece * times / statistics.median(found) / 1e9

    others = [threading.Thread(target=work, args=(at,)) for at in range(1, threads)]
    for thread in others:
        thread.start()
    work(0)
    for thread in others:
        thread.join()
    return sum(rates)


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest run of a quarter of a second: a peak is what is possible."""
    best = float("inf")
    end = time.perf_counter() + _SECONDS
    while True:
        start = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best


def _better(one: Peak, other: Peak) -> Peak:
    gmacs = {name: max(rate, other.gmacs.get(name, 0.0)) for name, rate in one.gmacs.items()}
    rates = dict(other.gbytes)
    return Peak(one.threads, gmacs, tuple((size, max(rate, rates.get(size, 0.0))) for size, rate in one.gbytes))


def _read(path: Path) -> tuple[Peak, float | None] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Peak.from_json(data["peak"]), data["others"]
    except (OSError, ValueError, KeyError, TypeError, EyespotError):
        return None


def _write(path: Path, found: Peak, others: float | None) -> None:
    """Keeps the peak where that can be done; a cache that cannot be written costs three seconds the next time."""
    text = json.dumps({"peak": found.to_json(), "others": others})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(staging).replace(path)
    except OSError:
        return
