"""Networks of one's own, from eyespot's parts: ``eyespot show examples/my_nets.py:tiny --size 96``."""

from eyespot import Graph
from eyespot.arch.blocks import Squeeze, Style, classify, conv_norm_act, inverted_residual, sketch


def tiny(*, size: int | tuple[int, int] = 96, classes: int = 10, width: float = 1.0) -> Graph:
    """A MobileNet for a microcontroller: three inverted residuals, the last with squeeze-excite."""
    style = Style("relu6")
    s = sketch(size, "symmetric")
    x = conv_norm_act(s, "stem", s.input, round(16 * width), style, kernel=3, stride=2)
    x = s.tap(4, inverted_residual(s, "block1", x, round(24 * width), style, expanded=4 * x.channels, stride=2))
    x = s.tap(8, inverted_residual(s, "block2", x, round(32 * width), style, expanded=4 * x.channels, stride=2))
    gate = Squeeze(channels=x.channels // 4, act="relu", gate="hard_sigmoid")
    x = inverted_residual(s, "block3", x, x.channels, style, expanded=4 * x.channels, kernel=5, squeeze=gate)
    return s.graph(classify(s, x, classes, dropout=0.1))
