"""Branches that are trained side by side and run as one: the blocks of RepVGG and MobileOne, drawn as they are trained.

``lower.reparam`` makes one convolution of each block; whatever reads the block's map reads the same numbers.
"""

from __future__ import annotations

from eyespot.arch.blocks import Squeeze, Style, conv_norm_act, squeeze_excite
from eyespot.core.sketch import Map, Sketch


def parallel_branches(
    s: Sketch,
    name: str,
    x: Map,
    channels: int,
    style: Style,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    convolutions: int = 1,
    squeeze: Squeeze | None = None,
) -> Map:
    """The sum of parallel branches, each ending in a batch norm, then the activation (2101.03697, figure 2).

    The branches are: the input itself (``skip``), where the shape stays; one 1×1 convolution (``scale``), where
    ``kernel`` is larger; and ``convolutions`` of ``kernel``×``kernel`` (``spatial1``, …). MobileOne's
    over-parameterised blocks have up to four of these (2206.04040, figure 3); ``squeeze`` gates the sum, as in its
    largest network.
    """
    with s.scope(name):
        branches: list[Map] = []
        if stride == 1 and x.channels == channels:
            with s.scope("skip"):
                branches.append(s.norm("norm", x, eps=style.eps))
        if kernel > 1:
            branches.append(conv_norm_act(s, "scale", x, channels, style.linear, stride=stride, groups=groups))
        for i in range(1, convolutions + 1):
            branch = f"spatial{i}"
            y = conv_norm_act(s, branch, x, channels, style.linear, kernel=kernel, stride=stride, groups=groups)
            branches.append(y)
        y = s.sum("add", *branches) if len(branches) > 1 else branches[0]
        return s.act("act", y if squeeze is None else squeeze_excite(s, y, squeeze), style.act)
