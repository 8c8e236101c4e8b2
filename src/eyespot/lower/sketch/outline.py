"""A graph as a person would sketch it: a block per scope, a chip per layer with its norm and activation.

Within a block each chip has a column, its depth, and a row, its branch, so that whoever draws it need not think.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from eyespot.core import ops
from eyespot.core.cost import layers
from eyespot.core.graph import Graph, Node
from eyespot.core.ops import Shape

Kind = Literal["conv", "depthwise", "linear", "pool", "gate", "join", "other"]
FROM_OUTSIDE = -1  # the input of a chip that a block before this one computed
_UNNAMED = 6  # layers outside every scope that are drawn as one block at most
_BLOCK = re.compile(r"(block|unit|fire|cell|module)_?\d+")  # what a stage consists of
_MEAN = "mean of map"
_FOLLOWERS = (ops.BatchNorm, ops.Activation, ops.Dropout, ops.DropPath, ops.Flatten)


@dataclass(frozen=True, slots=True)
class Chip:
    """A layer as drawn. label: '3×3 /2'; detail: its channels; inputs: numbers of chips of its block."""

    label: str
    detail: str
    kind: Kind
    inputs: tuple[int, ...]
    column: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive nodes of one scope. shape: what it ends in; repeats: of how many alike, one after the other, it is.

    MACs and parameters are those of all repeats. reads: the numbers of blocks, besides the one before, that it reads.
    """

    name: str
    chips: tuple[Chip, ...]
    shape: Shape
    macs: int
    parameters: int
    reads: tuple[int, ...] = ()
    repeats: int = 1
    last_name: str = ""


def outline(graph: Graph) -> list[Block]:
    """The blocks of a network as it runs, in order of execution."""
    graph = graph.inference()
    costs = {row.node.name: row for row in layers(graph)}
    groups = _groups(graph)
    number = {node.name: i for i, (_, nodes) in enumerate(groups) for node in nodes}
    blocks: list[Block] = []
    signatures: list[object] = []
    merged: list[int] = []  # which block a group became
    for i, (scope, nodes) in enumerate(groups):
        name = scope or _unnamed(nodes)
        chips = _placed(_chips(graph, nodes))
        read = {number.get(source, -1) for node in nodes for source in node.inputs} - {i, i - 1}
        far = tuple(sorted({merged[j] for j in read if j >= 0}))
        rows = [costs[node.name] for node in nodes]
        macs, parameters = sum(r.macs for r in rows), sum(r.parameters for r in rows)
        block = Block(name, chips, nodes[-1].shape, macs, parameters, far)
        signature = (chips, block.shape, block.macs, block.parameters, far)
        if blocks and scope and signature == signatures[-1]:
            before = blocks[-1]
            blocks[-1] = replace(
                before,
                macs=before.macs + block.macs,
                parameters=before.parameters + block.parameters,
                repeats=before.repeats + 1,
                last_name=name,
            )
        else:
            blocks.append(block)
            signatures.append(signature)
        merged.append(len(blocks) - 1)
    return blocks


def _scope(name: str) -> str:
    """'stage2.block1' of 'stage2.block1.expand.conv', 'stem' of 'stem.conv', '' of 'classifier'."""
    parts = name.split(".")
    if len(parts) > 2 and _BLOCK.fullmatch(parts[1]):
        return ".".join(parts[:2])
    return parts[0] if len(parts) > 1 else ""


def _unnamed(nodes: Sequence[Node]) -> str:
    """What layers outside every scope are called together: 'pool … classifier'."""
    names = [node.name for node in nodes if not isinstance(node.op, _FOLLOWERS)] or [node.name for node in nodes]
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _groups(graph: Graph) -> list[tuple[str, list[Node]]]:
    groups: list[tuple[str, list[Node]]] = []
    for node in graph.nodes:
        scope = _scope(node.name)
        drawn = sum(not isinstance(n.op, _FOLLOWERS) for n in groups[-1][1]) if groups else 0
        full = not scope and drawn >= _UNNAMED and not isinstance(node.op, _FOLLOWERS)
        if not groups or groups[-1][0] != scope or full:
            groups.append((scope, []))
        groups[-1][1].append(node)
    return groups


def _chips(graph: Graph, nodes: Sequence[Node]) -> list[Chip]:
    """A chip per layer; norms, activations and dropout belong to the layer before, a squeeze-excite is one chip."""
    chips: list[Chip] = []
    owner: dict[str, int] = {}
    for node in nodes:
        inputs = tuple(owner.get(name, FROM_OUTSIDE) for name in node.inputs)
        if isinstance(node.op, _FOLLOWERS):
            owner[node.name] = inputs[0]
            continue
        chip = Chip(*_described(node, graph.input_shapes(node)), inputs)
        gate = _gate(chips, inputs) if isinstance(node.op, ops.Mul) else None
        if gate is not None:
            pooled = any(c.label == _MEAN for c in chips[gate[0] :])
            del chips[gate[0] :]
            chip = Chip("SE" if pooled else "gate", "", "gate", (gate[1],))
        chips.append(chip)
        owner[node.name] = len(chips) - 1
    return chips or [Chip(nodes[0].op.kind.replace("_", " "), "", "other", (FROM_OUTSIDE,))]


def _gate(chips: Sequence[Chip], inputs: tuple[int, ...]) -> tuple[int, int] | None:
    """Where a Mul weighs a map by what one branch makes of it: (the branch's first chip, the map); else None."""
    for source, end in (inputs, inputs[::-1]):
        chain, at = [], end
        while at not in (source, FROM_OUTSIDE) and len(chips[at].inputs) == 1:
            chain.append(at)
            at = chips[at].inputs[0]
        if at == source and chain and sorted(chain) == list(range(len(chips) - len(chain), len(chips))):
            return min(chain), source
    return None


def _described(node: Node, inputs: Sequence[Shape]) -> tuple[str, str, Kind]:
    op = node.op
    channels = str(node.shape[0])
    if isinstance(op, ops.Conv2d):
        depthwise = op.groups == inputs[0][0] > 1
        groups = f" g{op.groups}" if op.groups > 1 and not depthwise else ""
        dilated = f" d{op.dilation[0]}" if max(op.dilation) > 1 else ""
        window = f"{op.kernel[0]}×{op.kernel[1]}{groups}{dilated}{_stride(op.stride)}"
        return f"dw {window}" if depthwise else window, channels, "depthwise" if depthwise else "conv"
    if isinstance(op, ops.ConvTranspose2d):
        return f"up {op.kernel[0]}×{op.kernel[1]}", channels, "conv"
    if isinstance(op, ops.Linear):
        return "linear", channels, "linear"
    if isinstance(op, (ops.MaxPool, ops.AvgPool)):
        name = "max" if isinstance(op, ops.MaxPool) else "mean"
        return f"{name} {op.kernel[0]}×{op.kernel[1]}{_stride(op.stride)}", channels, "pool"
    if isinstance(op, ops.GlobalAvgPool):
        return _MEAN, channels, "pool"
    if isinstance(op, (ops.Add, ops.Mul)):
        return "+" if isinstance(op, ops.Add) else "×", "", "join"
    if isinstance(op, ops.Concat):
        return "concat", channels, "other"
    if isinstance(op, ops.Slice):
        return "split", f"{op.start}–{op.stop}", "other"
    return op.kind.replace("_", " "), channels if op.kind in ("pad_channels", "resize") else "", "other"


def _stride(stride: ops.Pair) -> str:
    return "" if max(stride) == 1 else f" /{stride[0]}" if stride[0] == stride[1] else f" /{stride[0]}×{stride[1]}"


def _placed(chips: Sequence[Chip]) -> tuple[Chip, ...]:
    """Columns by depth. A chip stays in its input's row when it is that input's first reader, else it opens a row.

    A row is free again from the column where a join ends it.
    """
    placed: list[Chip] = []
    continued: set[int] = set()
    free_from: list[float] = []  # by row; infinite while a branch is open in it
    for chip in chips:
        inside = [i for i in chip.inputs if i >= 0]
        column = max((placed[i].column + 1 for i in inside), default=0)
        if len(chip.inputs) > 1:
            row = min((placed[i].row for i in inside), default=0)
            for i in inside:
                free_from[placed[i].row] = column
        elif inside and inside[0] not in continued:
            row = placed[inside[0]].row
        else:
            below = placed[inside[0]].row + 1 if inside else 0
            rows = range(below, len(free_from))
            row = next((r for r in rows if free_from[r] <= column), len(free_from))
        continued.update(inside)
        free_from += [math.inf] * (row + 1 - len(free_from))
        free_from[row] = math.inf
        placed.append(replace(chip, column=column, row=row))
    return tuple(placed)
