"""Exported C beside ONNX Runtime, one thread: `python benchmarks/export_c.py [--networks NAME…] [--turns N]`.

Each network is quantized with random weights, which take the same time as any, written as C, compiled by each compiler
that is here, and run in turns with ONNX Runtime's int8. Times are the process's own, the shortest of the turns, so that
other programs disturb them little; every compiled program first proves its integers by its self-test.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from report import machine

from eyespot.arch.catalogue import draw
from eyespot.core.pixels import torchvision_preprocess
from eyespot.lower.c.to_c import quantized_to_c
from eyespot.lower.int8.fit import Fitter, Recipe
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.int8.to_onnx import quantized_to_onnx
from eyespot.lower.tensors import random_weights
from eyespot.run.compiled_c import CompiledCSession
from eyespot.run.ort import session_options
from eyespot.shrink.evidence import gather

NETWORKS = ("efficientnet_lite0", "mobilenet_v2_1.0", "squeezenet_1.1")
FLAGS = (("-O2",), ("-O3",), ("-O3", "-march=haswell"), ("-O3", "-march=native"))


def in_int8(name: str) -> Quantized:
    """A network of that architecture with random weights, its ranges from patches."""
    graph = draw(name, {})
    side = graph.input[1]
    ready = make_ready(graph, random_weights(graph), torchvision_preprocess(side, side))
    patches = np.random.default_rng(0).integers(0, 256, (4, side // 8 + 1, side // 8 + 1, 3), np.uint8)
    pixels = np.ascontiguousarray(patches.repeat(8, 1).repeat(8, 2)[:, :side, :side])
    return Fitter(ready, gather(ready, pixels)).fit(Recipe())


def row(name: str, turns: int, folder: Path) -> str:
    """A line of the table: milliseconds, and how often ONNX Runtime's they are."""
    network = in_int8(name)
    side = network.graph.input[1]
    preprocess = torchvision_preprocess(side, side)
    for file, data in quantized_to_c(network, preprocess=preprocess).items():
        (folder / file).write_bytes(data)
    model = quantized_to_onnx(network, preprocess=preprocess)
    theirs = onnxruntime.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])
    works: list[Callable[[np.ndarray], object]] = [lambda pixels: theirs.run(None, {"pixels": pixels})]
    for compiler, flags in columns():
        os.environ["CC"] = compiler
        session = CompiledCSession(folder / "eyespot_model.c", flags=["-std=c99", *flags])
        works.append(session.integers)
    pixels = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), np.uint8)
    best = [float("inf")] * len(works)
    for _ in range(turns):
        for at, work in enumerate(works):
            start = time.process_time()
            work(pixels)
            best[at] = min(best[at], 1e3 * (time.process_time() - start))
    return f"| {name} | {best[0]:.2f} | " + " | ".join(f"{t:.1f} ({t / best[0]:.1f} ×)" for t in best[1:]) + " |"


def columns() -> list[tuple[str, tuple[str, ...]]]:
    """Each compiler with each choice of flags."""
    return [(compiler, flags) for compiler in ("gcc", "clang") if shutil.which(compiler) for flags in FLAGS]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=NETWORKS, help="architectures")
    parser.add_argument("--turns", type=int, default=30, help="runs of each program")
    given = parser.parse_args()
    load = os.getloadavg()
    print("| network | ONNX Runtime | " + " | ".join(" ".join((c, *flags)) for c, flags in columns()) + " |")
    print("|---|" + "--:|" * (1 + len(columns())))
    for name in given.networks:
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, given.turns, Path(folder)), flush=True)
    about = machine(load)
    print(
        f"\nMilliseconds of the processor. {about['cpu']}, ONNX Runtime {onnxruntime.__version__}, load {load[0]:.1f}."
    )


if __name__ == "__main__":
    main()
