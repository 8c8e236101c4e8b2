"""Class activation maps: where in a picture a network saw a label, without torch.

For networks whose logits are a linear function of the means of the last map (Zhou et al., "Learning Deep Features for
Discriminative Localization", CVPR 2016, arXiv 1512.04150): that function, applied to each place of the map instead of
to the means, says what each place added to the logit. The mean over the places is the logit itself.
"""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Bundle
from eyespot.core import ops
from eyespot.core.graph import Graph
from eyespot.lower.onnx import to_onnx
from eyespot.run.ort import OrtSession

Floats = NDArray[np.float32]


class Tail(NamedTuple):
    """How a network ends. map: the node whose map is pooled; classifier: the layer behind it, None when the map's
    channels are the logits (SqueezeNet)."""

    map: str
    classifier: str | None


def tail(graph: Graph) -> Tail | None:
    """The end of a network that has class activation maps; None for one that ends otherwise.

    One with a hidden layer and its activation between pooling and classifier (MobileNetV3 and V4, GhostNet) has none.
    """
    graph = graph.inference()
    name, classifier = graph.outputs[0], None
    while name in graph.by_name:
        node = graph.by_name[name]
        match node.op:
            case ops.Flatten() | ops.Dropout():
                pass
            case ops.Linear() | ops.Conv2d() if classifier is None and _is_linear(graph, name):
                classifier = name
            case ops.GlobalAvgPool():
                return Tail(node.inputs[0], classifier)
            case _:
                return None
        name = node.inputs[0]
    return None


class ActivationMaps:
    """Computes maps of one bundle's labels; a context manager. ``open_maps`` opens it."""

    def __init__(self, bundle: Bundle, end: Tail, *, threads: int = 1) -> None:
        graph, weights = bundle.card.graph.inference(), bundle.weights()
        short = _up_to(graph, end.map)
        model = to_onnx(short, {n: weights[n] for n in short.parameters}, preprocess=bundle.card.preprocess)
        self._session = OrtSession(model, threads=threads)
        self._background = bundle.labels.background
        self._weight: Floats | None = None
        self._bias: Floats | None = None
        if end.classifier is not None:
            weight = weights[f"{end.classifier}.weight"]
            self._weight = weight.reshape(len(weight), -1)
            self._bias = weights.get(f"{end.classifier}.bias", np.zeros(len(weight), np.float32))

    def __call__(self, pixels: NDArray[np.uint8], labels: list[int]) -> Floats:
        """(len(labels), rows, columns): what each place of the last map adds to each label's logit.

        pixels: (height, width, 3), as ``Model.prepare`` gives them. The mean over the places is the logit.
        """
        last: Floats = self._session.run(pixels[None])[0]
        outputs = [label + self._background for label in labels]
        if self._weight is None or self._bias is None:
            return last[outputs]
        maps: Floats = np.einsum("kc,chw->khw", self._weight[outputs], last) + self._bias[outputs][:, None, None]
        return maps

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close()


def open_maps(bundle: Bundle, *, threads: int = 1) -> ActivationMaps | None:
    """A session that gives the last map, on ONNX Runtime; None when the network has no class activation maps."""
    end = tail(bundle.card.graph)
    return None if end is None else ActivationMaps(bundle, end, threads=threads)


def _is_linear(graph: Graph, name: str) -> bool:
    """Whether a layer sees means only: a linear layer, or a 1×1 convolution of a 1×1 map."""
    node = graph.by_name[name]
    if isinstance(node.op, ops.Conv2d):
        return graph.shape(node.inputs[0])[1:] == (1, 1) and node.op.kernel == (1, 1) and node.op.groups == 1
    return True


def _up_to(graph: Graph, name: str) -> Graph:
    """The part of a network that one node needs."""
    needed = {name}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return Graph(graph.input, tuple(node for node in graph.nodes if node.name in needed), (name,))
