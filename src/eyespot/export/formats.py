"""The table of formats: who writes each, who runs it here, and how far its answers may lie from the source's.

A new format is one row of ``FORMATS``: a writer in ``lower/``, a session in ``run/``, an example program in
``examples/``. Runtimes are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Bundle
from eyespot.core.graph import Graph
from eyespot.core.pixels import Preprocess
from eyespot.errors import MissingExtra, UsageError
from eyespot.lower.c.to_c import quantized_to_c
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.int8.to_onnx import quantized_to_onnx
from eyespot.lower.ncnn import quantized_to_ncnn, to_ncnn
from eyespot.lower.numpy_ops import Array
from eyespot.lower.onnx import to_onnx
from eyespot.lower.tensors import Weights
from eyespot.run.session import Session

Files = Mapping[str, bytes]
Pixels = NDArray[np.uint8]


class Writer(Protocol):
    """A network in float32 → the bytes of its file, or of several by name."""

    def __call__(
        self, graph: Graph, weights: Weights, *, preprocess: Preprocess, metadata: Mapping[str, str]
    ) -> bytes | Files: ...


class QuantizedWriter(Protocol):
    """A network in 8 bits → the bytes of its file, or of several by name."""

    def __call__(self, network: Quantized, *, preprocess: Preprocess, metadata: Mapping[str, str]) -> bytes | Files: ...


# (the written file, threads) → a session on it.
Opener = Callable[[Path, int], Session]
# (the written file, names of nodes in order, pixels) → what the runtime has for as many of them as it can give, by our
# names and as our graph shapes them, (n, *shape): channels first.
Inside = Callable[[Path, Sequence[str], Pixels], Mapping[str, Array]]


class Budget(NamedTuple):
    """How far answers may lie from the source's.

    logits: the largest error, as a share of the source's range. agreement: the share of labels that must be the same,
    asked from twenty pictures on. drop: of top-1, as a share; more is refused when the drop's interval excludes zero.
    middle: the median of the pictures' largest errors; None where that is not asked.
    """

    logits: float
    agreement: float
    drop: float = 0.005
    middle: float | None = None


# Another order of float32 sums, up to fifty layers of it (measured: 1e-6 to 2e-5), as `eyespot verify` allows.
FLOAT32 = Budget(1e-4, 0.99)
# The same integers in other kernels: a sum between two levels may go to either, and what follows takes the step along.
# That is rare where all is integers and common behind a layer in float (measured on six networks, 102 pictures each:
# 5e-8 to 8e-3 for the picture in the middle, up to 4e-2 for the farthest), so there is a budget for each of the two.
INT8 = Budget(1e-1, 0.95, middle=2e-2)
# OpenVINO moves and merges the roundings between layers (measured on six networks: 3e-3 to 5e-2 of the range,
# and 97 to 100 % of the labels).
_OPENVINO_INT8 = Budget(1e-1, 0.95)

# ncnn's maps are symmetric: what a rectifier gives lies on 128 levels instead of 256 (measured on six networks: 3e-2
# to 1.3e-1 of the range, and 92 to 100 % of the labels).
_NCNN_INT8 = Budget(2e-1, 0.85)

# C rounds scales as fixed points, the bundle as float32: one level in 100,000 is another, and a network's last layers
# amplify it (measured on four: 6e-3 to 6e-2 of the range, and 99 to 100 % of the labels). That it computes its own
# integers exactly is what its self-test holds.
_C_INT8 = Budget(1e-1, 0.95)

# What `quantize --precision` may only store weights as.
_STORED = ("int8-weights", "float16", "bfloat16")


@dataclass(frozen=True)
class Format:
    """One row. title: the runtime's own name; model: the file that the session opens.

    float32, int8: None where the format has no such thing, or (``from_tower``) where its writers live in the torch
    tower and are handed over by the verb. open: None where it cannot run on this kind of machine; ``unproven`` then
    says why, and ``check`` what of the written file is not the bundle's. inside: None where the runtime shows no
    tensors but the outputs. example: its text in ``examples/`` and the name that it gets in the folder. extra,
    module: what brings the runtime, and the module that shows it is there. facts: what else the report says of the
    written folder. int8_notes: what a person must know of it in int8 beside ``notes``. stores: the precisions, of
    those that only store weights in fewer bits, that ``int8`` writes too; the others are written in float32.
    """

    name: str
    title: str
    model: str
    float32: Writer | None
    int8: QuantizedWriter | None
    open: Opener | None
    example: tuple[str, str]
    inside: Inside | None = None
    extra: str = ""
    module: str = ""
    budgets: tuple[Budget, Budget] = (FLOAT32, INT8)  # of float32 and int8
    unproven: str = ""
    check: Callable[[Path, Bundle], str] | None = None
    from_tower: bool = False
    stores: tuple[str, ...] = ()
    facts: Callable[[Path], Mapping[str, object]] | None = None
    notes: tuple[str, ...] = ()
    int8_notes: tuple[str, ...] = ()

    def needs(self) -> None:
        """MissingExtra when what the format needs is not installed."""
        if self.module and find_spec(self.module) is None:
            raise MissingExtra(f"--to {self.name} ({self.title})", self.extra)

    def files_of(self, written: bytes | Files) -> Files:
        """What a writer gave, by file name."""
        return {self.model: written} if isinstance(written, bytes) else written


def find_format(name: str) -> Format:
    """The row called ``name``; UsageError lists the others."""
    for row in FORMATS:
        if row.name == name:
            return row
    raise UsageError(f"there is no format {name!r}; choose one of {', '.join(row.name for row in FORMATS)}")


def _open_onnx(path: Path, threads: int) -> Session:
    from eyespot.run.ort import OrtSession

    return OrtSession(path, threads=threads)


def _inside_onnx(path: Path, names: Sequence[str], pixels: Pixels) -> Mapping[str, Array]:
    from eyespot.run.ort import values_of

    return values_of(path.read_bytes(), names, pixels)


def _to_openvino(
    graph: Graph, weights: Weights, *, preprocess: Preprocess, metadata: Mapping[str, str]
) -> bytes | Files:
    from eyespot.run.openvino import to_ir

    return to_ir(to_onnx(graph, weights, preprocess=preprocess, metadata=metadata))


def _quantized_to_openvino(network: Quantized, *, preprocess: Preprocess, metadata: Mapping[str, str]) -> bytes | Files:
    from eyespot.run.openvino import to_ir

    return to_ir(quantized_to_onnx(network, preprocess=preprocess, metadata=metadata))


def _open_openvino(path: Path, threads: int) -> Session:
    from eyespot.run.openvino import OpenVinoSession

    return OpenVinoSession(path, threads=threads)


def _inside_openvino(path: Path, names: Sequence[str], pixels: Pixels) -> Mapping[str, Array]:
    from eyespot.run.openvino import values_of

    return values_of(path, names, pixels)


def _to_litert(graph: Graph, weights: Weights, *, preprocess: Preprocess, metadata: Mapping[str, str]) -> bytes | Files:
    from eyespot.lower.litert.to_litert import to_litert

    return to_litert(graph, weights, preprocess=preprocess, metadata=metadata)


def _quantized_to_litert(network: Quantized, *, preprocess: Preprocess, metadata: Mapping[str, str]) -> bytes | Files:
    from eyespot.lower.litert.to_litert import quantized_to_litert

    return quantized_to_litert(network, preprocess=preprocess, metadata=metadata)


def _open_litert(path: Path, threads: int) -> Session:
    from eyespot.run.litert import LitertSession

    return LitertSession(path, threads=threads)


def _inside_litert(path: Path, names: Sequence[str], pixels: Pixels) -> Mapping[str, Array]:
    from eyespot.run.litert import values_of

    return values_of(path.read_bytes(), names, pixels)


def _open_ncnn(path: Path, threads: int) -> Session:
    from eyespot.run.ncnn import NcnnSession

    return NcnnSession(path, threads=threads)


def _inside_ncnn(path: Path, names: Sequence[str], pixels: Pixels) -> Mapping[str, Array]:
    from eyespot.run.ncnn import values_of

    return values_of(path, names, pixels)


def _open_c(path: Path, threads: int) -> Session:  # noqa: ARG001 - it has one thread
    from eyespot.run.compiled_c import CompiledCSession

    return CompiledCSession(path)


def _inside_c(path: Path, names: Sequence[str], pixels: Pixels) -> Mapping[str, Array]:
    from eyespot.run.compiled_c import values_of

    return values_of(path, names, pixels)


def _facts_c(folder: Path) -> Mapping[str, object]:
    from eyespot.export.microcontroller import facts

    return facts(folder)


def _to_coreml(graph: Graph, weights: Weights, *, preprocess: Preprocess, metadata: Mapping[str, str]) -> bytes | Files:
    from eyespot.export.coreml import to_coreml

    return to_coreml(graph, weights, preprocess=preprocess, metadata=metadata)


def _quantized_to_coreml(network: Quantized, *, preprocess: Preprocess, metadata: Mapping[str, str]) -> bytes | Files:
    from eyespot.export.coreml import quantized_to_coreml

    return quantized_to_coreml(network, preprocess=preprocess, metadata=metadata)


def _check_coreml(path: Path, bundle: Bundle) -> str:
    from eyespot.export.coreml_check import differs

    return differs(path, bundle)


def _open_executorch(path: Path, threads: int) -> Session:
    from eyespot.run.executorch import ExecutorchSession

    return ExecutorchSession(path, threads=threads)


FORMATS: tuple[Format, ...] = (
    Format(
        "onnx", "ONNX Runtime", "model.onnx", to_onnx, quantized_to_onnx, _open_onnx, ("onnx.txt", "example.py"),
        inside=_inside_onnx, stores=_STORED,
        int8_notes=("on x86 without VNNI a session needs session.x64quantprecision=1, as example.py sets it",),
    ),
    Format(
        "openvino", "OpenVINO", "model.xml", _to_openvino, _quantized_to_openvino, _open_openvino,
        ("openvino.txt", "example.py"), inside=_inside_openvino, extra="openvino", module="openvino", stores=_STORED,
        budgets=(FLOAT32, _OPENVINO_INT8),
        notes=(
            "model.xml and model.bin were made by OpenVINO's own converter from eyespot's ONNX file",
        ),
        int8_notes=("on x86 it needs a processor with VNNI: without, OpenVINO's sums of products overflow",),
    ),
    Format(
        "ncnn", "ncnn", "model.param", to_ncnn, quantized_to_ncnn, _open_ncnn, ("ncnn.txt", "example.py"),
        inside=_inside_ncnn, extra="ncnn", module="ncnn", budgets=(FLOAT32, _NCNN_INT8),
        notes=("ncnn files hold no metadata: labels.txt and preprocess.json lie beside them",),
    ),
    Format(
        "litert", "LiteRT", "model.tflite", _to_litert, _quantized_to_litert, _open_litert,
        ("litert.txt", "example.py"), inside=_inside_litert, extra="litert", module="ai_edge_litert", stores=_STORED,
        notes=("the labels and the pixels' contract are files inside model.tflite too: any unzip reads them",),
    ),
    Format(
        "c", "compiled C", "eyespot_model.c", None, quantized_to_c, _open_c, ("c.txt", "main.c"),
        inside=_inside_c, facts=_facts_c, budgets=(FLOAT32, _C_INT8),
        notes=(
            "compiled here, the program gave the integers of eyespot's integer reference, bit for bit; "
            "eyespot_selftest asks the same of any processor. The RAM is without the stack",
        ),
    ),
    Format(
        "coreml", "Core ML", "model.mlpackage", _to_coreml, _quantized_to_coreml, None, ("coreml.txt", "example.py"),
        extra="coreml", module="coremltools", check=_check_coreml, stores=("int8-weights", "float16"),
        unproven="Core ML runs on a Mac only: layers, weights and roundings were checked here, nothing was run; try "
        "example.py",
    ),
    Format(
        "executorch", "ExecuTorch", "model.pte", None, None, _open_executorch, ("executorch.txt", "example.py"),
        extra="executorch", module="executorch", from_tower=True,
        notes=("the labels and the pixels' contract are methods of the program too: `labels` and `preprocess`",),
    ),
)  # fmt: skip
