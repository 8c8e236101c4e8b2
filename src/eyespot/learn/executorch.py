"""Graph → ExecuTorch: torch.export's program with XNNPACK's layers in one .pte file, in float32 or in 8 bits.

ExecuTorch's own converter starts from a torch module, so this writer lives in the torch tower.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from eyespot.core.graph import Graph
from eyespot.core.pixels import Preprocess
from eyespot.errors import ExportError, GraphError, MissingExtra
from eyespot.learn.executorch_int8 import IntegerNetwork
from eyespot.learn.module import Network
from eyespot.lower.int8.quantized import Quantized
from eyespot.lower.reparam import reparam
from eyespot.lower.tensors import Weights


def to_executorch(
    graph: Graph,
    weights: Weights,
    *,
    preprocess: Preprocess,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The network as it is deployed (``reparam``) as a .pte file for one picture at a time.

    ``forward`` takes uint8 (1, height, width, 3), RGB, and gives logits, float32 (1, classes); the normalisation is
    inside. Each of ``metadata`` is a method of the program that takes nothing and gives its text. WeightsError when the
    weights do not fit, GraphError when the preprocessing is not for this network's input, MissingExtra without
    executorch, ExportError when its converter refuses the network.
    """
    _check_size(graph, preprocess)
    deployed, tensors = reparam(graph, weights)
    network = Network(deployed)
    network.load_weights(tensors)
    return _lowered(_Served(_First(network), preprocess), preprocess, metadata)


def quantized_to_executorch(
    network: Quantized, *, preprocess: Preprocess, metadata: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """The same of a network in 8 bits: XNNPACK's integer layers on the network's own grids and integers.

    Layers that it leaves in float32 stay so, as does what XNNPACK has no integer kernel for that rounds once.
    """
    _check_size(network.graph, preprocess)
    return _lowered(_Served(IntegerNetwork(network), preprocess), preprocess, metadata)


def _check_size(graph: Graph, preprocess: Preprocess) -> None:
    height, width = preprocess.size
    if graph.input != (3, height, width):
        raise GraphError(f"the pictures are prepared as (3, {height}, {width}), but the network reads {graph.input}; "
                         f"draw it with size={preprocess.size}")  # fmt: skip


class _First(nn.Module):
    """A network that gives its first output."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self._output = network.graph.outputs[0]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)[self._output]
        return logits


class _Served(nn.Module):
    """A network that takes pixels as they are."""

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.network = network
        factor, offset = (torch.tensor(values).reshape(3, 1, 1) for values in preprocess.affine())
        self.register_buffer("factor", factor)
        self.register_buffer("offset", offset)
        self._bgr = preprocess.channels == "bgr"

    def forward(self, pixels: Tensor) -> Tensor:
        # XNNPACK moves floats; bytes would be moved by a loop that takes longer than a small network (0.7 of 3.1 ms).
        x = pixels.to(torch.float32).permute(0, 3, 1, 2)
        if self._bgr:
            x = torch.cat([x[:, 2:3], x[:, 1:2], x[:, 0:1]], 1)
        logits: Tensor = self.network(x * self.get_buffer("factor") + self.get_buffer("offset"))
        return logits


def _lowered(module: nn.Module, preprocess: Preprocess, metadata: Mapping[str, str]) -> bytes:
    module.eval().requires_grad_(requires_grad=False)
    example = torch.zeros((1, *preprocess.size, 3), dtype=torch.uint8)
    with _quietly():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError:
            raise MissingExtra("writing ExecuTorch's files", "executorch") from None
        methods: dict[str, Any] = dict(metadata)
        try:
            program = torch.export.export(module, (example,), strict=False)
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=methods)
            return bytes(edge.to_executorch().buffer)
        except Exception as error:  # torch.export's and ExecuTorch's have no common base below Exception
            line = " ".join(str(error).split())[:200]
            raise ExportError(f"ExecuTorch cannot convert the network: {line}; choose another format") from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The converter warns of its own deprecations, and logs every pass."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
