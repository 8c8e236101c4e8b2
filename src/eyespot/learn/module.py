"""Graph → torch.nn.Module: the reading of a network that trains, with the graph's own names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.errors import GraphError
from eyespot.lower.tensors import check

T = TypeVar("T", bound=ops.Op)


class Layer(nn.Module):
    """One node: its tensors under their short names, and what its op computes. Child layers share its name's prefix."""

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__()
        self.node = node
        for parameter in graph.parameters_of(node):
            short = parameter.name.removeprefix(f"{node.name}.")
            if parameter.trained:
                self.register_parameter(short, nn.Parameter(torch.zeros(parameter.shape)))
            else:
                self.register_buffer(short, torch.zeros(parameter.shape))

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the node computes of its inputs (n, …)."""
        return COMPUTE[type(self.node.op)](self, *inputs)

    def extra_repr(self) -> str:
        return repr(self.node.op)


class Network(nn.Module):
    """A graph as a torch module; parameters and buffers carry the names of ``Graph.parameters``, and no others.

    Called with a float tensor (n, channels, height, width), it gives ``{output name: tensor}``. Train-only nodes are
    computed, and their outputs given, while the module is in training mode only. Inputs of another height and width
    than the graph's are computed too, wherever the graph does not flatten a map.
    """

    def __init__(self, graph: Graph, *, seed: int = 0) -> None:
        """Draws the modules and fills them by ``initialise(seed)``. Raises GraphError for a name torch keeps."""
        super().__init__()
        self.graph = graph
        self._plan = tuple((node.name, node.inputs, node.train_only) for node in graph.nodes)
        self._outputs = {False: graph.inference().outputs, True: graph.outputs}
        self._last_reader = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
        for node in sorted(graph.nodes, key=lambda n: n.name.count(".")):  # a node that is also a prefix comes first
            *scopes, name = node.name.split(".")
            parent: nn.Module = self
            for scope in scopes:
                if scope not in parent._modules:
                    _adopt(parent, scope, nn.Module(), node.name)
                parent = parent.get_submodule(scope)
            _adopt(parent, name, Layer(graph, node), node.name)
        self.initialise(seed)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Every output by its name; the first is the logits."""
        outputs = self._outputs[self.training]
        values = {INPUT: x}
        for i, (name, inputs, train_only) in enumerate(self._plan):
            if train_only and not self.training:
                continue
            values[name] = self.get_submodule(name)(*[values[n] for n in inputs])
            for read in set(inputs):
                if self._last_reader[read] == i and read not in outputs:
                    del values[read]
        return {name: values[name] for name in outputs}

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh weights: He's normal for convolutions, N(0, 0.01) for linear layers, identity batch norm.

        He's by fan-out, as torchvision's, where a batch norm follows; by fan-in, so that nothing grows on the way down,
        where none does: by fan-out SqueezeNet's answers begin in the hundreds, and the first steps explode.

        The batch norm that ends a residual branch starts at zero, so that every block starts as the identity (Goyal et
        al. 2017, section 5.1): deep networks train at high rates from the first step.
        """
        generator = torch.Generator().manual_seed(seed)
        zero = residual_ends(self.graph)
        normed = {node.inputs[0] for node in self.graph.nodes if isinstance(node.op, ops.BatchNorm)}
        for node in self.graph.nodes:
            layer = self.get_submodule(node.name)
            for short, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
                if short in ("bias", "running_mean"):
                    tensor.zero_()
                elif isinstance(node.op, ops.BatchNorm):
                    tensor.fill_(0.0 if short == "weight" and node.name in zero else 1.0)
                elif isinstance(node.op, ops.Linear):
                    tensor.normal_(0, 0.01, generator=generator)
                else:
                    channels = tensor.shape[0] // getattr(node.op, "groups", 1)
                    fan = (channels if node.name in normed else tensor.shape[1]) * math.prod(tensor.shape[2:])
                    tensor.normal_(0, math.sqrt(2 / fan), generator=generator)

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Copies every tensor of ``Graph.parameters`` in. WeightsError when one is missing, left over or misshapen."""
        check(self.graph, weights)
        tensors = dict((*self.named_parameters(), *self.named_buffers()))
        for name in self.graph.parameters:
            tensors[name].copy_(torch.from_numpy(np.array(weights[name], np.float32)))

    @torch.no_grad()
    def export_weights(self) -> dict[str, NDArray[np.float32]]:
        """A float32 copy of every tensor, in the order of ``Graph.parameters``."""
        tensors = dict((*self.named_parameters(), *self.named_buffers()))
        return {n: np.array(tensors[n].detach().float().cpu().contiguous().numpy()) for n in self.graph.parameters}


def residual_ends(graph: Graph) -> set[str]:
    """The batch norms that end a residual branch: of what an Add reads, the one that most was computed for alone."""
    readers = graph.readers()
    ends = set()
    for node in graph.nodes:
        if isinstance(node.op, ops.Add) and len(node.inputs) > 1:
            branches = [_branch(graph, readers, name) for name in node.inputs]
            longest = [n for n in max(branches, key=len) if not isinstance(graph.by_name[n].op, ops.DropPath)]
            if longest and isinstance(graph.by_name[longest[0]].op, ops.BatchNorm):
                ends.add(longest[0])
    return ends


def _branch(graph: Graph, readers: Mapping[str, list[Node]], name: str) -> list[str]:
    """The nodes from this one upwards that have no other reader: a branch; a shortcut has fewer, or none."""
    names = []
    while name != INPUT and len(readers[name]) == 1:
        names.append(name)
        name = graph.by_name[name].inputs[0]
    return names


def _adopt(parent: nn.Module, name: str, child: nn.Module, full: str) -> None:
    try:
        parent.add_module(name, child)
    except KeyError:
        raise GraphError(
            f"node {full!r}: torch modules keep the name {name!r} to themselves; rename the node"
        ) from None


def _sides(padding: ops.Padding) -> tuple[int, int, int, int]:
    """Our (top, left, bottom, right) in the order of ``F.pad``."""
    top, left, bottom, right = padding
    return left, right, top, bottom


def _padded(x: Tensor, padding: ops.Padding, value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """The input and the symmetric padding left for torch to do: all of it, or none when the sides differ."""
    top, left, bottom, right = padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, _sides(padding), value=value), (0, 0)


def _conv2d(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.Conv2d)
    x, padding = _padded(x, op.padding)
    return F.conv2d(x, _weight(layer), _bias(layer), op.stride, padding, op.dilation, op.groups)


def _conv_transpose2d(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.ConvTranspose2d)
    top, left, bottom, right = op.padding
    y = F.conv_transpose2d(x, _weight(layer), _bias(layer), op.stride)
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def _batch_norm(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.BatchNorm)
    mean, var = layer.get_buffer("running_mean"), layer.get_buffer("running_var")
    return F.batch_norm(x, mean, var, _weight(layer), _bias(layer), layer.training, op.momentum, op.eps)


def _activation(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.Activation)
    return F.leaky_relu(x, op.slope) if op.function == "leaky_relu" else ACTIVATIONS[op.function](x)


def _max_pool(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.MaxPool)
    top, left, bottom, right = op.padding
    if (top, left) == (bottom, right) and 2 * top <= op.kernel[0] and 2 * left <= op.kernel[1]:  # as far as torch pads
        return F.max_pool2d(x, op.kernel, op.stride, (top, left))
    return F.max_pool2d(F.pad(x, _sides(op.padding), value=-math.inf), op.kernel, op.stride)


def _avg_pool(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.AvgPool)
    if not any(op.padding):
        return F.avg_pool2d(x, op.kernel, op.stride)
    mean = F.avg_pool2d(F.pad(x, _sides(op.padding)), op.kernel, op.stride)
    if op.count_padding:
        return mean
    inside = F.pad(torch.ones_like(x[:1, :1]), _sides(op.padding))
    return mean / F.avg_pool2d(inside, op.kernel, op.stride)


def _linear(layer: Layer, x: Tensor) -> Tensor:
    return F.linear(x, _weight(layer), _bias(layer))


def _add(_: Layer, *inputs: Tensor) -> Tensor:
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return total


def _slice(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.Slice)
    return x[:, op.start : op.stop]


def _pad_channels(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.PadChannels)
    return F.pad(x, (*[0, 0] * (x.dim() - 2), op.before, op.after))


def _shuffle(layer: Layer, x: Tensor) -> Tensor:
    groups = _op(layer, ops.Shuffle).groups
    return x.reshape(len(x), groups, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)


def _resize(layer: Layer, x: Tensor) -> Tensor:
    op = _op(layer, ops.Resize)
    size = [x.shape[2] * op.scale[0], x.shape[3] * op.scale[1]]
    return F.interpolate(x, size, mode=op.mode, align_corners=False if op.mode == "bilinear" else None)


def _dropout(layer: Layer, x: Tensor) -> Tensor:
    return F.dropout(x, _op(layer, ops.Dropout).rate, layer.training)


def _drop_path(layer: Layer, x: Tensor) -> Tensor:
    rate = _op(layer, ops.DropPath).rate
    if not layer.training or not rate:
        return x
    kept = torch.empty(len(x), *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(1 - rate)
    return x * kept.div_(1 - rate)


def _op(layer: Layer, kind: type[T]) -> T:
    assert isinstance(layer.node.op, kind)  # noqa: S101  # COMPUTE is keyed by the op's type
    return layer.node.op


def _weight(layer: Layer) -> Tensor:
    weight = layer._parameters["weight"]  # not get_parameter: functional_call puts plain tensors here
    assert weight is not None  # noqa: S101  # every op that asks has one
    return weight


def _bias(layer: Layer) -> Tensor | None:
    return layer._parameters.get("bias")


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "gelu": F.gelu,
    "mish": F.mish,
    "tanh": torch.tanh,
}

COMPUTE: Mapping[type[ops.Op], Callable[..., Tensor]] = {
    ops.Conv2d: _conv2d,
    ops.ConvTranspose2d: _conv_transpose2d,
    ops.BatchNorm: _batch_norm,
    ops.Activation: _activation,
    ops.MaxPool: _max_pool,
    ops.AvgPool: _avg_pool,
    ops.GlobalAvgPool: lambda _, x: x.mean((2, 3), keepdim=True),
    ops.Flatten: lambda _, x: x.flatten(1),
    ops.Linear: _linear,
    ops.Add: _add,
    ops.Mul: lambda _, x, y: x * y,
    ops.Scale: lambda layer, x: x * _op(layer, ops.Scale).factor,
    ops.Concat: lambda _, *inputs: torch.cat(inputs, 1),
    ops.Slice: _slice,
    ops.PadChannels: _pad_channels,
    ops.Shuffle: _shuffle,
    ops.Resize: _resize,
    ops.Softmax: lambda _, x: x.softmax(1),
    ops.Dropout: _dropout,
    ops.DropPath: _drop_path,
}
