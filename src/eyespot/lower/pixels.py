"""The pass that folds the normalisation of pixels into a network's first layers; every writer of a format calls it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eyespot.core import ops
from eyespot.core.graph import INPUT, Graph, Node
from eyespot.core.pixels import Preprocess
from eyespot.errors import GraphError
from eyespot.lower.numpy_ops import Array
from eyespot.lower.tensors import Weights

RGB, BGR = [0, 1, 2], [2, 1, 0]


def absorb_pixels(graph: Graph, weights: Weights, preprocess: Preprocess) -> tuple[dict[str, Array], Preprocess]:
    """Moves the scale and the order of channels into the convolutions that read the pixels.

    The mean cannot move: the zero padding of these convolutions comes after it.

    Args:
        graph: The network as it is deployed.
        weights: Its tensors; they stay as they are.
        preprocess: What pixels go through before it.

    Returns:
        The weights that then fit, and what is left to do: subtracting a mean of each channel, in RGB. Both as they
        were where anything else than ordinary convolutions reads the pixels.
    """
    first = first_convolutions(graph)
    if not first:
        return dict(weights), preprocess
    factor, order = np.array(preprocess.affine()[0]), order_of(preprocess)
    folded = dict(weights)
    for node in first:
        scaled = folded[f"{node.name}.weight"].astype(np.float64) * factor.reshape(-1, 1, 1)
        folded[f"{node.name}.weight"] = np.ascontiguousarray(scaled[:, order], np.float32)
    red, green, blue = (preprocess.mean[channel] / preprocess.scale for channel in order)
    left = replace(preprocess, channels="rgb", scale=1.0, mean=(red, green, blue), std=(1.0, 1.0, 1.0))
    return folded, left


def first_convolutions(graph: Graph) -> list[Node]:
    """The layers that read the pixels, if all of them are convolutions over all channels, else none."""
    readers = graph.readers()[INPUT]
    is_plain = all(isinstance(node.op, ops.Conv2d) and node.op.groups == 1 for node in readers)
    return readers if is_plain and graph.input[0] == len(RGB) else []


def order_of(preprocess: Preprocess) -> list[int]:
    """Which of red, green and blue each of the network's channels is."""
    return BGR if preprocess.channels == "bgr" else RGB


def check_size(graph: Graph, preprocess: Preprocess) -> None:
    """Raises GraphError when images are prepared for another input than the network's."""
    if graph.input != (3, *preprocess.size):
        raise GraphError(
            f"expected images prepared for the network's input {graph.input}, got (3, {preprocess.size[0]}, "
            f"{preprocess.size[1]}); draw it with size={preprocess.size}"
        )
