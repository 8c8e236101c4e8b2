"""Variant and Published: what a family file says of the networks it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from eyespot.core.graph import Graph

Size = int | tuple[int, int]  # pixels: a square's side, or (height, width)

Counting = Literal[
    "trained", "without batch norm", "with statistics", "with statistics, without gains", "with auxiliary heads",
    "as one branch", "without classifier",
]  # fmt: skip


class Published(NamedTuple):
    """Figures that somebody published, as they wrote them: '3.47M' promises no more digits than it has.

    counting: what the source calls a parameter. 'trained' is every trained element; TensorFlow slim leaves batch norm
    out for V2; Keras adds its moving statistics, and its Inceptions have no gains (batch norm's weight); torchvision
    counts the auxiliary head of Inception v3; ShuffleNet's paper leaves the classifier out, of MACs too; RepVGG's and
    MobileOne's figures, MACs too, are of the network whose branches are one (``lower.reparam``). cut: the source cut
    its MACs' digits off instead of rounding them.
    An empty figure was not published. differs: why this figure is not ours; a test holds all others equal to ours.
    timm's GMACs also count batch norm (4.11 for ResNet-50, which needs 4.089) and are left out.
    """

    variant: str
    size: Size
    source: str
    parameters: str = ""
    macs: str = ""
    counting: Counting = "trained"
    cut: bool = False
    differs: str = ""


class Variant(NamedTuple):
    """A network by name: the family's function, the arguments that make it this variant, and what was published."""

    name: str
    family: str
    function: Callable[..., Graph]
    arguments: Mapping[str, object]
    figures: tuple[Published, ...] = ()

    @property
    def published(self) -> Published | None:
        """The first published row whose figures are ours."""
        return next((row for row in self.figures if not row.differs), None)
