"""Variant and Published: what a family file says of the networks it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from eyespot.core.graph import Graph

Size = int | tuple[int, int]  # pixels: a square's side, or (height, width)

Counting = Literal["trained", "without batch norm", "with statistics"]


class Published(NamedTuple):
    """One row that somebody published, figures as they wrote them: '3.47M' promises no more digits than it has.

    counting: what the source calls a parameter. 'trained' is every trained element; TensorFlow slim leaves batch norm
    out; Keras adds its moving statistics. An empty figure was not published. differs: why a figure of this row is not
    ours; the others are held equal by a test.
    """

    variant: str
    size: Size
    parameters: str
    macs: str
    source: str
    counting: Counting = "trained"
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
