"""Each layer's share of the time and what binds it, from ONNX Runtime's own profile of the session that is measured.

For a layer, the time at the machine's peak is the greater of

- its MACs divided by the peak's MACs a second for numbers of its weights' type, and
- the bytes that it must move divided by the bandwidth: its inputs and outputs at that of a working set of their size
  (the layer before has just left them in a cache), its weights at that of the whole network's size (they were last read
  one picture ago).

The greater one names the bound. Where it is less than a tenth of the time that the layer took, neither explains it: the
layer is bound by overhead (starting threads, one small step after another) or by a kernel that is not good.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from eyespot.bundle.store import Bundle
from eyespot.core import ops
from eyespot.core.graph import Graph, Node
from eyespot.core.roof import Layer, Peak, Roofline
from eyespot.errors import RuntimeFailure
from eyespot.lower.reparam import reparam_graph
from eyespot.run.ort import session_options

_WARM, _RUNS = 3, 15
_OVERHEAD = 0.1
_ITEM = {"float32": 4, "int8": 1}
# What ONNX Runtime adds to a node's name when it fuses it or gives it another layout.
_ADDED = re.compile(r"^fused |(_kernel_time|_nchwc|_token_\d+|_nhwc|_quant|_QuantizeLinear|_DequantizeLinear)$")


def roofline(bundle: Bundle, peak: Peak, *, network_ms: float) -> Roofline:
    """The bundle's network under the roof of ``peak``, with as many threads; ``network_ms``: its measured median.

    RuntimeFailure when ONNX Runtime fails.
    """
    batch = np.random.default_rng(0).integers(0, 256, (1, *bundle.card.preprocess.size, 3), np.uint8)
    graph = reparam_graph(bundle.card.graph)
    steps = kernels(str(bundle.model), graph, batch, threads=peak.threads)
    total = sum(step.ms for step in steps) or 1.0
    size = sum(step.weight_bytes for step in steps) + max((step.moved_bytes for step in steps), default=0)
    layers = tuple(_layer(step, peak, total, size) for step in steps)
    at_peak = sum(1e-6 * step.macs / peak.gmacs[step.precision] for step in steps)
    precision = "int8" if any(s.precision == "int8" and s.macs for s in steps) else "float32"
    return Roofline(peak, precision, at_peak / network_ms if network_ms else 0.0, layers)


class Step(NamedTuple):
    """One kernel of the runtime: its median time and what it had to do. layer: the convolution or linear one in it."""

    name: str
    op: str
    ms: float
    macs: int
    moved_bytes: int
    weight_bytes: int
    precision: str
    layer: str | None = None


def _layer(step: Step, peak: Peak, total: float, network_bytes: int) -> Layer:
    computing = 1e-6 * step.macs / peak.gmacs[step.precision]
    moving = 1e-6 * step.moved_bytes / peak.bandwidth(step.moved_bytes)
    moving += 1e-6 * step.weight_bytes / peak.bandwidth(network_bytes)
    roof = max(computing, moving)
    reach = roof / step.ms if step.ms else 0.0
    bound = "overhead" if reach < _OVERHEAD else "compute" if computing >= moving else "memory"
    moved = step.moved_bytes + step.weight_bytes
    return Layer(step.name, step.op, step.ms, step.ms / total, step.macs, moved, bound, reach)


def kernels(model: str | bytes, graph: Graph, batch: NDArray[np.uint8], *, threads: int) -> list[Step]:
    """What ONNX Runtime does with a network, in order of execution. RuntimeFailure when it fails.

    model: the file's place, or its bytes; graph: whose nodes bear the names in it; batch: prepared pictures.
    """
    return _steps(_profile(model, batch, threads=threads), graph)


def _profile(model: str | bytes, batch: NDArray[np.uint8], *, threads: int) -> list[dict[str, Any]]:
    """The events of some runs, after a few that are not counted."""
    with tempfile.TemporaryDirectory(prefix="eyespot-measure-") as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            feed = {session.get_inputs()[0].name: batch}
            for _ in range(_WARM + _RUNS):
                session.run(None, feed)
            events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:  # ONNX Runtime's exceptions have no common base below Exception
            line = " ".join(str(error).split())[:200]
            raise RuntimeFailure(f"ONNX Runtime {onnxruntime.__version__} gives no profile: {line}") from None
    return events


def _steps(events: Iterable[Mapping[str, Any]], graph: Graph) -> list[Step]:
    """The kernels in order of execution, with the median of their times."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found.setdefault((event["args"]["node_index"], event["name"]), []).append(event)
    return [
        _step(name, statistics.median(e["dur"] for e in each[_WARM:] or each) / 1e3, each[0]["args"], graph)
        for (_, name), each in found.items()
    ]


def _step(name: str, ms: float, args: Mapping[str, Any], graph: Graph) -> Step:
    while _ADDED.search(name):
        name = _ADDED.sub("", name)
    op = args["op_name"]
    precision = "int8" if any("int8" in tensor for tensor in args["input_type_shape"]) else "float32"
    weights = int(args["parameter_size"])
    macs = 0
    layer = _behind(name, graph) if re.search("Conv|Gemm|MatMul", op) else None
    if layer is not None:
        macs = layer.op.macs(graph.input_shapes(layer), layer.shape)
        stored = sum(math.prod(p.shape) for p in graph.parameters_of(layer)) * _ITEM[precision]
        weights = max(weights, stored)  # the runtime does not count those that it has packed for itself
    moved = int(args["activation_size"]) + int(args["output_size"])
    return Step(name, op, ms, macs, moved, weights, precision, layer.name if layer else None)


def _behind(name: str, graph: Graph) -> Node | None:
    """The convolution or linear layer that a kernel computes: the node of its name, or the nearest one before that.

    A fused kernel bears the name of the last node in it, an activation or a sum after the convolution.
    """
    node = graph.by_name.get(name)
    seen = 0
    while node is not None and not isinstance(node.op, ops.Conv2d | ops.ConvTranspose2d | ops.Linear) and seen < 4:
        node = graph.by_name.get(node.inputs[0])
        seen += 1
    return node if node is not None and seen < 4 else None
