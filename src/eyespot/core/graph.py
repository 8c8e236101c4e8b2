"""A network as a value: named nodes with known shapes, and nothing that computes.

``Graph`` is the noun that everything else reads: its cost, its meaning in numpy, its ONNX file, its torch module. It is
frozen, compares by value, and survives JSON; its ``digest`` names the structure (weights are not part of it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from eyespot.core.ops import Op, Shape, op_from_json
from eyespot.errors import GraphError

INPUT = "input"  # the reserved name of the picture


@dataclass(frozen=True, slots=True)
class Node:
    """One operation in its place. ``shape`` is its output for one picture, without the batch axis."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: Shape
    train_only: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One stored tensor of a network, named ``node.short`` (``stem.conv.weight``)."""

    name: str
    shape: Shape
    trained: bool


@dataclass(frozen=True)
class Graph:
    """Nodes in order of execution. ``taps`` names, per stride, the last map at that stride (for other heads)."""

    input: Shape
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    taps: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes: dict[str, Shape] = {INPUT: self.input}
        train_only: set[str] = set()
        for node in self.nodes:
            if node.name in shapes:
                raise GraphError(f"two nodes are called {node.name!r}; names must be unique")
            missing = [name for name in node.inputs if name not in shapes]
            if missing:
                raise GraphError(f"node {node.name!r} reads {missing[0]!r}, which is not drawn before it")
            if not node.inputs or (node.op.arity is not None and len(node.inputs) != node.op.arity):
                raise GraphError(f"node {node.name!r}: {node.op.kind} cannot take {len(node.inputs)} inputs")
            if not node.train_only and train_only.intersection(node.inputs):
                raise GraphError(f"node {node.name!r} is needed for inference but reads a train-only node")
            inferred = node.op.infer([shapes[name] for name in node.inputs])
            if inferred != node.shape:
                raise GraphError(f"node {node.name!r} says its shape is {node.shape}, but it computes {inferred}")
            shapes[node.name] = node.shape
            if node.train_only:
                train_only.add(node.name)
        for name in (*self.outputs, *self.taps.values()):
            if name not in shapes:
                raise GraphError(f"output or tap {name!r} is not a node")

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    def shape(self, name: str) -> Shape:
        """The shape that a node, or the input, produces."""
        return self.input if name == INPUT else self.by_name[name].shape

    def input_shapes(self, node: Node) -> list[Shape]:
        """The shapes that a node reads."""
        return [self.shape(name) for name in node.inputs]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Every stored tensor by its full name, in order of execution."""
        return {p.name: p for node in self.nodes for p in self.parameters_of(node)}

    def parameters_of(self, node: Node) -> Iterator[Parameter]:
        """The stored tensors of one node."""
        shapes = self.input_shapes(node)
        for trained, tensors in ((True, node.op.parameters(shapes)), (False, node.op.buffers(shapes))):
            for short, shape in tensors.items():
                yield Parameter(f"{node.name}.{short}", shape, trained)

    def readers(self) -> dict[str, list[Node]]:
        """For each name, the nodes that read it."""
        out: dict[str, list[Node]] = {name: [] for name in (INPUT, *self.by_name)}
        for node in self.nodes:
            for name in node.inputs:
                out[name].append(node)
        return out

    def inference(self) -> Graph:
        """The same network without its train-only nodes (auxiliary heads) and their outputs."""
        if not any(node.train_only for node in self.nodes):
            return self
        nodes = tuple(node for node in self.nodes if not node.train_only)
        kept = {node.name for node in nodes}
        outputs = tuple(name for name in self.outputs if name in kept)
        return Graph(self.input, nodes, outputs, {s: n for s, n in self.taps.items() if n in kept})

    def upwards(self, *names: str, stop: str = INPUT) -> set[str]:
        """What ``names`` are computed from, they themselves too, without ``stop`` and what only that is made of."""
        needed: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name not in needed and name != stop:
                needed.add(name)
                left += () if name == INPUT else self.by_name[name].inputs
        return needed

    def up_to(self, *outputs: str) -> Graph:
        """The part of the network that these nodes need, with them as its outputs; names stay as they are.

        Raises:
            GraphError: One of them is not a node.
        """
        missing = [name for name in outputs if name not in self.by_name]
        if missing or not outputs:
            raise GraphError(f"expected names of nodes, got {', '.join(map(repr, missing)) or 'none'}")
        needed = self.upwards(*outputs)
        nodes = tuple(node for node in self.nodes if node.name in needed)
        return Graph(self.input, nodes, outputs, {s: n for s, n in self.taps.items() if n in needed})

    @cached_property
    def digest(self) -> str:
        """sha256 of the structure, in hexadecimal; equal graphs have equal digests on every machine."""
        text = json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a node is ``[name, op, inputs, attributes]``, train-only ones end in ``true``."""
        nodes = [
            [n.name, n.op.kind, list(n.inputs), n.op.attributes(), *([True] if n.train_only else [])]
            for n in self.nodes
        ]
        taps = {str(stride): name for stride, name in self.taps.items()}
        return {"input": list(self.input), "nodes": nodes, "outputs": list(self.outputs), "taps": taps}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Graph:
        """The graph that ``to_json`` wrote; shapes are computed afresh. GraphError when it is not one."""
        try:
            given = data["input"]
            if not isinstance(given, list | tuple) or not given or not all(type(n) is int and n > 0 for n in given):
                raise GraphError(f"expected an input of whole numbers from 1 on, got {str(given)[:60]!r}")
            shapes: dict[str, Shape] = {INPUT: tuple(given)}
            nodes = []
            for name, kind, inputs, attributes, *rest in data["nodes"]:
                op = op_from_json(kind, attributes)
                shapes[name] = op.infer([shapes[i] for i in inputs])
                nodes.append(Node(name, op, tuple(inputs), shapes[name], bool(rest and rest[0])))
            taps = {int(stride): name for stride, name in data["taps"].items()}
            return cls(shapes[INPUT], tuple(nodes), tuple(data["outputs"]), taps)
        except GraphError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise GraphError(f"this is not a stored graph: {type(error).__name__}: {str(error)[:200]!r}") from None
