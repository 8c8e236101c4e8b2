"""Placement: where an image's points lie in the network's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eyespot.image.orientation import UPRIGHT, turn_points

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placement:
    """How one image was scaled, cut and padded into a network's input.

    Points are (x, y) in pixels with the origin at the image's top left corner, so that the centre of the first pixel
    is (0.5, 0.5). They are those of the upright image, as every viewer shows it, or with ``stored`` those of the file
    as its writer stored it, before the turn that EXIF asks for. A JPEG that was decoded at a smaller scale makes no
    difference: points are always those of the full image.

    Attributes:
        size: (height, width) of the full upright image.
        scale: Network pixels per image pixel, (x, y); equal but for rounding unless the image was stretched.
        offset: Where the image's top left corner lies in the network's input, (x, y); negative where it was cut off.
        orientation: EXIF orientation of the stored image, 1 to 8.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]
    orientation: int = UPRIGHT

    def to_network(self, points: ArrayLike, *, stored: bool = False) -> Points:
        """Maps image points into the network's input.

        Args:
            points: Shape (…, 2), (x, y) in image pixels.
            stored: Whether they are points of the image as stored, before EXIF's turn.

        Returns:
            Shape (…, 2), float64, in pixels of the network's input; outside it where the image was cut.
        """
        upright = np.asarray(points, np.float64)
        if stored:
            upright = turn_points(upright, self.size, self.orientation, back=False)
        return upright * self.scale + self.offset

    def to_image(self, points: ArrayLike, *, stored: bool = False) -> Points:
        """Maps points of the network's input back into the image: the inverse of ``to_network``.

        Args:
            points: Shape (…, 2), (x, y) in pixels of the network's input.
            stored: Whether to give points of the image as stored, before EXIF's turn.

        Returns:
            Shape (…, 2), float64, in image pixels; not clipped to the image.
        """
        upright = (np.asarray(points, np.float64) - self.offset) / self.scale
        return turn_points(upright, self.size, self.orientation, back=True) if stored else upright
