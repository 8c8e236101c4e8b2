"""Darknet's ``.weights``: a header, then float32 numbers in the order of the layers of a ``.cfg``."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.core import ops
from eyespot.core.graph import Graph, Node
from eyespot.errors import WeightsError

Tensors = dict[str, NDArray[np.float32]]

_NORM = ("bias", "weight", "running_mean", "running_var")  # in the file's order
_TRANSPOSED = 1000  # a version from which on old files hold fully connected layers the other way round


class Header(NamedTuple):
    """The head of a file. seen: training images so far; wide: whether that number takes eight bytes."""

    major: int
    minor: int
    revision: int
    seen: int
    wide: bool

    def to_bytes(self) -> bytes:
        """The bytes that it was read from."""
        return struct.pack("<3i" + ("Q" if self.wide else "I"), self.major, self.minor, self.revision, self.seen)


def read_weights(data: bytes, graph: Graph) -> tuple[Header, Tensors]:
    """The tensors of a graph that ``read_cfg`` drew.

    Raises:
        WeightsError: The file holds more or fewer numbers than the graph has, or is no such file.
    """
    header = read_header(data)
    start = len(header.to_bytes())
    needed = sum(int(np.prod(shape)) for _, shape in _layout(graph))
    held, rest = divmod(len(data) - start, 4)
    if rest or held != needed:
        part = " and a part of one" if rest else ""
        raise WeightsError(
            f"expected {needed:,} numbers for this cfg, got {held:,}{part}; pair the weights with their own cfg, or "
            "copy the file again"
        )
    numbers = np.frombuffer(data, "<f4", offset=start)
    tensors: Tensors = {}
    at = 0
    for name, shape in _layout(graph):
        count = int(np.prod(shape))
        tensors[name] = numbers[at : at + count].reshape(shape).astype(np.float32)
        at += count
    broken = next((name for name, tensor in tensors.items() if not np.isfinite(tensor).all()), None)
    if broken is not None:
        raise WeightsError(f"expected finite numbers, got NaN or infinity in {broken}; copy the file again")
    return header, {name: tensors[name] for name in graph.parameters}


def write_weights(header: Header, tensors: Tensors, graph: Graph) -> bytes:
    """The file that ``read_weights`` would read so, bit for bit."""
    parts = [np.ascontiguousarray(tensors[name], "<f4").tobytes() for name, _ in _layout(graph)]
    return b"".join([header.to_bytes(), *parts])


def read_header(data: bytes) -> Header:
    """The head of a file. Raises WeightsError for what is none."""
    if len(data) < 20:
        raise WeightsError(f"expected a Darknet .weights file of 20 bytes or more, got {len(data)}; copy it again")
    major, minor, revision = struct.unpack_from("<3i", data)
    if not (0 <= major < 100 and 0 <= minor < 100):
        old = " (fully connected layers the other way round)" if max(major, minor) > _TRANSPOSED else ""
        raise WeightsError(f"expected a Darknet .weights file of version 0.1 to 99.99, got {major}.{minor}{old}")
    wide = 10 * major + minor >= 2
    return Header(major, minor, revision, struct.unpack_from("<Q" if wide else "<I", data, 12)[0], wide)


def _layout(graph: Graph) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's name and shape in the file's order."""
    readers = graph.readers()
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv2d):
            norm = next((r for r in readers[node.name] if isinstance(r.op, ops.BatchNorm)), None)
            yield from _of(graph, norm, _NORM) if norm else _of(graph, node, ("bias",))
            yield from _of(graph, node, ("weight",))


def _of(graph: Graph, node: Node, roles: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for role in roles:
        name = f"{node.name}.{role}"
        yield name, graph.parameters[name].shape
