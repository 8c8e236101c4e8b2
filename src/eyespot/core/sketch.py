"""Draws a Graph: one method per op, names given at the call, shapes known at once.

s = Sketch((3, 224, 224), padding="same")
with s.scope("stem"):
    x = s.conv("conv", s.input, 32, kernel=3, stride=2)
    x = s.act("act", s.norm("norm", x), "relu6")
graph = s.graph(s.linear("classifier", s.flatten("flatten", s.global_pool("pool", x)), 10))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.ops import ActivationName, Op, Padding, Pair, Shape
from eyespot.errors import GraphError

PaddingRule = Literal["symmetric", "same", "valid"]


class Map(NamedTuple):
    """A handle on what a node computes, while drawing."""

    name: str
    shape: Shape

    @property
    def channels(self) -> int:
        """The first axis: channels of a feature map, features of a vector."""
        return self.shape[0]


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def pads(rule: PaddingRule, size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Padding:
    """The four numbers of a padding rule.

    'symmetric' is torch's usual ``dilation · (kernel - 1) / 2`` on all sides; 'same' is TensorFlow's: as much as makes
    the output ceil(size / stride), the odd pixel at the bottom and right; 'valid' is none.
    """
    if rule == "valid":
        return 0, 0, 0, 0
    reach = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
    if rule == "symmetric":
        return reach[0] // 2, reach[1] // 2, reach[0] // 2, reach[1] // 2
    if rule != "same":
        raise GraphError(f"padding rule {rule!r} is not one of symmetric, same, valid")
    total = [max((-(-n // s) - 1) * s + r + 1 - n, 0) for n, s, r in zip(size, stride, reach, strict=True)]
    return total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2


class Sketch:
    """A graph being drawn. ``padding`` is the rule for every convolution and pool that does not name its own."""

    def __init__(self, input: Shape = (3, 224, 224), *, padding: PaddingRule = "symmetric") -> None:
        self.input = Map(INPUT, input)
        self.padding: PaddingRule = padding
        self._nodes: dict[str, Node] = {}
        self._taps: dict[int, str] = {}
        self._scopes: list[str] = []
        self._train_only = False

    @classmethod
    def extend(cls, graph: Graph, *, padding: PaddingRule = "symmetric") -> Sketch:
        """Draws on where ``graph`` ends: a head on a backbone. ``maps(*graph.outputs)`` are what it reads."""
        sketch = cls(graph.input, padding=padding)
        sketch._nodes = dict(graph.by_name)
        sketch._taps = dict(graph.taps)
        return sketch

    def maps(self, *names: str) -> tuple[Map, ...]:
        """Handles on nodes that are drawn already. Raises GraphError for a name that is not."""
        missing = [name for name in names if name not in self._nodes]
        if missing:
            raise GraphError(f"expected names of nodes drawn so far, got {missing[0]!r}")
        return tuple(Map(name, self._nodes[name].shape) for name in names)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Everything drawn inside is called ``name.…``."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def train_only(self) -> Iterator[None]:
        """Everything drawn inside is left out of inference (an auxiliary head)."""
        before, self._train_only = self._train_only, True
        try:
            yield
        finally:
            self._train_only = before

    def add(self, name: str, op: Op, *inputs: Map) -> Map:
        """Draws any op; the methods below are this with the field's names."""
        full = ".".join((*self._scopes, name))
        if full in self._nodes or full == INPUT:
            raise GraphError(f"two nodes are called {full!r}; names must be unique")
        try:
            shape = op.infer([m.shape for m in inputs])
        except GraphError as error:
            raise GraphError(f"{full}: {error}") from None
        self._nodes[full] = Node(full, op, tuple(m.name for m in inputs), shape, self._train_only)
        return Map(full, shape)

    def _pads(
        self, x: Map, padding: PaddingRule | Padding | None, kernel: Pair, stride: Pair, dilation: Pair
    ) -> Padding:
        if isinstance(padding, tuple):
            return padding
        if len(x.shape) != 3:
            raise GraphError(f"{x.name} is {x.shape}: a window needs a feature map (channels, height, width)")
        return pads(padding or self.padding, (x.shape[1], x.shape[2]), kernel, stride, dilation)

    def conv(
        self,
        name: str,
        x: Map,
        channels: int,
        *,
        kernel: int | Pair = 1,
        stride: int | Pair = 1,
        padding: PaddingRule | Padding | None = None,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> Map:
        """Convolution to ``channels``."""
        k, s, d = _pair(kernel), _pair(stride), _pair(dilation)
        return self.add(name, ops.Conv2d(channels, k, s, self._pads(x, padding, k, s, d), d, groups, bias), x)

    def depthwise(
        self,
        name: str,
        x: Map,
        *,
        kernel: int | Pair = 3,
        stride: int | Pair = 1,
        padding: PaddingRule | Padding | None = None,
        dilation: int | Pair = 1,
        bias: bool = False,
    ) -> Map:
        """One filter per channel."""
        return self.conv(
            name, x, x.channels, kernel=kernel, stride=stride, padding=padding, dilation=dilation,
            groups=x.channels, bias=bias,
        )  # fmt: skip

    def conv_transpose(self, name: str, x: Map, channels: int, *, kernel: int = 2, stride: int = 2) -> Map:
        """Transposed convolution to ``channels``, enlarging by ``stride``."""
        return self.add(name, ops.ConvTranspose2d(channels, _pair(kernel), _pair(stride)), x)

    def norm(self, name: str, x: Map, *, eps: float = 1e-5, momentum: float = 0.1) -> Map:
        """Batch normalisation."""
        return self.add(name, ops.BatchNorm(eps, momentum), x)

    def act(self, name: str, x: Map, function: ActivationName | None, *, slope: float = 0.01) -> Map:
        """An activation; None draws nothing."""
        return x if function is None else self.add(name, ops.Activation(function, slope), x)

    def max_pool(
        self,
        name: str,
        x: Map,
        *,
        kernel: int | Pair,
        stride: int | Pair,
        padding: PaddingRule | Padding | None = None,
        ceil: bool = False,
    ) -> Map:
        """Max pooling; ``ceil`` pads the bottom and right so that the last, partial window counts."""
        k, s = _pair(kernel), _pair(stride)
        p = self._pads(x, padding, k, s, (1, 1))
        return self.add(name, ops.MaxPool(k, s, _ceil_pads(x, k, s, p) if ceil else p), x)

    def avg_pool(
        self,
        name: str,
        x: Map,
        *,
        kernel: int | Pair,
        stride: int | Pair,
        padding: PaddingRule | Padding | None = None,
        count_padding: bool = False,
    ) -> Map:
        """Average pooling."""
        k, s = _pair(kernel), _pair(stride)
        return self.add(name, ops.AvgPool(k, s, self._pads(x, padding, k, s, (1, 1)), count_padding), x)

    def global_pool(self, name: str, x: Map) -> Map:
        """Mean over the whole map."""
        return self.add(name, ops.GlobalAvgPool(), x)

    def flatten(self, name: str, x: Map) -> Map:
        """A feature map as a vector."""
        return self.add(name, ops.Flatten(), x)

    def linear(self, name: str, x: Map, features: int, *, bias: bool = True) -> Map:
        """A fully connected layer."""
        return self.add(name, ops.Linear(features, bias), x)

    def sum(self, name: str, *inputs: Map) -> Map:
        """Elementwise sum."""
        return self.add(name, ops.Add(), *inputs)

    def mul(self, name: str, x: Map, y: Map) -> Map:
        """Elementwise product."""
        return self.add(name, ops.Mul(), x, y)

    def scale(self, name: str, x: Map, factor: float) -> Map:
        """Times a constant; a factor of one draws nothing."""
        return x if factor == 1 else self.add(name, ops.Scale(factor), x)

    def concat(self, name: str, *inputs: Map) -> Map:
        """Joined along channels."""
        return self.add(name, ops.Concat(), *inputs)

    def slice(self, name: str, x: Map, start: int, stop: int) -> Map:
        """Some of the channels."""
        return self.add(name, ops.Slice(start, stop), x)

    def pad_channels(self, name: str, x: Map, before: int, after: int) -> Map:
        """Channels of zeros before and after."""
        return self.add(name, ops.PadChannels(before, after), x)

    def shuffle(self, name: str, x: Map, groups: int) -> Map:
        """Channel shuffle."""
        return self.add(name, ops.Shuffle(groups), x)

    def resize(self, name: str, x: Map, scale: int, mode: Literal["nearest", "bilinear"] = "nearest") -> Map:
        """Enlarged by a whole factor."""
        return self.add(name, ops.Resize(_pair(scale), mode), x)

    def softmax(self, name: str, x: Map) -> Map:
        """Probabilities over channels."""
        return self.add(name, ops.Softmax(), x)

    def dropout(self, name: str, x: Map, rate: float) -> Map:
        """Dropout; a rate of zero draws nothing."""
        return self.add(name, ops.Dropout(rate), x) if rate else x

    def drop_path(self, name: str, x: Map, rate: float) -> Map:
        """Stochastic depth; a rate of zero draws nothing."""
        return self.add(name, ops.DropPath(rate), x) if rate else x

    def tap(self, stride: int, x: Map) -> Map:
        """Declares the map that heads of other tasks read at this stride."""
        self._taps[stride] = x.name
        return x

    def graph(self, *outputs: Map) -> Graph:
        """The finished drawing."""
        return Graph(
            self.input.shape,
            tuple(self._nodes.values()),
            tuple(m.name for m in outputs),
            dict(sorted(self._taps.items())),
        )


def _ceil_pads(x: Map, kernel: Pair, stride: Pair, padding: Padding) -> Padding:
    """torch's ceil_mode: one more window when it starts inside the map or its leading padding."""
    top, left, bottom, right = padding
    extra = []
    for n, k, s, before, after in (
        (x.shape[1], kernel[0], stride[0], top, bottom),
        (x.shape[2], kernel[1], stride[1], left, right),
    ):
        windows = -(-(n + before + after - k) // s) + 1
        if (windows - 1) * s >= n + before:
            windows -= 1
        extra.append(max((windows - 1) * s + k - n - before, after))
    return top, left, extra[0], extra[1]
