"""Inception's block, which the families share: branches side by side over one map, joined along channels.

A branch is a chain of rows. Its layers are called ``branch2.layer1``, ``branch2.layer2``, … with ``conv``, ``norm`` and
``act`` in each; a pool is ``branch4.pool``; layers side by side at a branch's end are ``layer2a`` and ``layer2b``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eyespot.arch.blocks import Style
from eyespot.core.ops import ActivationName, Pair
from eyespot.core.sketch import Map, PaddingRule, Sketch


class Conv(NamedTuple):
    """Convolution, batch norm, activation. valid: without padding (the figures' "V"), unless all is padded 'same'."""

    channels: int
    kernel: int | Pair = 1
    stride: int = 1
    valid: bool = False


class Split(NamedTuple):
    """The end of a branch: two convolutions side by side."""

    a: Conv
    b: Conv


class MaxPool(NamedTuple):
    """3×3 maxima."""

    stride: int = 1
    valid: bool = False


class AvgPool(NamedTuple):
    """3×3 means at stride 1."""


Row = Conv | Split | MaxPool | AvgPool
Branch = tuple[Row, ...]


def inception(
    s: Sketch, name: str, x: Map, branches: Sequence[Branch], style: Style, *, count_padding: bool = False
) -> Map:
    """An Inception block (1409.4842, figure 2). count_padding: whether means count the zeros around the map."""
    with s.scope(name):
        return _joined(s, x, branches, style, count_padding)


def inception_residual(
    s: Sketch,
    name: str,
    x: Map,
    branches: Sequence[Branch],
    style: Style,
    *,
    factor: float,
    act: ActivationName | None = "relu",
) -> Map:
    """Inception-ResNet's block (1602.07261, figures 16, 17 and 19): the branches, a linear 1×1 with bias back to the
    input's channels, times ``factor`` (section 3.3), added to the input; then ``act``."""
    with s.scope(name):
        y = _joined(s, x, branches, style, count_padding=False)
        with s.scope("project"):
            y = s.scale("scale", s.conv("conv", y, x.channels, bias=True), factor)
        return s.act("act", s.sum("add", x, y), act)


def layer(s: Sketch, name: str, x: Map, row: Conv, style: Style) -> Map:
    """One row's convolution, batch norm and activation."""
    with s.scope(name):
        x = s.conv("conv", x, row.channels, kernel=row.kernel, stride=row.stride, padding=_padding(s, row.valid))
        return s.act("act", s.norm("norm", x, eps=style.eps), style.act)


def max_pool(s: Sketch, name: str, x: Map, row: MaxPool) -> Map:
    """One row's pool."""
    return s.max_pool(name, x, kernel=3, stride=row.stride, padding=_padding(s, row.valid))


def _joined(s: Sketch, x: Map, branches: Sequence[Branch], style: Style, count_padding: bool) -> Map:
    ends: list[Map] = []
    for i, branch in enumerate(branches, 1):
        with s.scope(f"branch{i}"):
            ends += _branch(s, x, branch, style, count_padding)
    return s.concat("concat", *ends)


def _branch(s: Sketch, x: Map, branch: Branch, style: Style, count_padding: bool) -> list[Map]:
    """The maps that the branch ends in: one, or a split's two."""
    number = 0
    for row in branch:
        if isinstance(row, MaxPool):
            x = max_pool(s, "pool", x, row)
        elif isinstance(row, AvgPool):
            x = s.avg_pool("pool", x, kernel=3, stride=1, count_padding=count_padding)
        elif isinstance(row, Conv):
            number += 1
            x = layer(s, f"layer{number}", x, row, style)
        else:
            return [layer(s, f"layer{number + 1}{ab}", x, half, style) for ab, half in zip("ab", row, strict=True)]
    return [x]


def _padding(s: Sketch, valid: bool) -> PaddingRule | None:
    return "valid" if valid and s.padding != "same" else None
