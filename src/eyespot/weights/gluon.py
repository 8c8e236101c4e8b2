"""GluonCV's names for SqueezeNet (gluoncv/model_zoo/squeezenet.py): convolutions numbered in order of execution."""

from __future__ import annotations

import re

from eyespot.core.graph import Graph
from eyespot.weights.scheme import GLUON, Modules, Scheme, Tensors, always

_INSTANCE = re.compile(r"squeezenet\d+_")  # counts the networks that a program has made


def squeezenet(graph: Graph) -> Modules:
    """conv0 is the stem; each fire module is squeeze, expand1x1, expand3x3; the classifier is the last."""
    out = {"stem.conv": "conv0"}
    fires = [name.removesuffix(".squeeze.conv") for name in graph.by_name if name.endswith(".squeeze.conv")]
    for i, fire in enumerate(fires):
        for k, step in enumerate(("squeeze", "expand1x1", "expand3x3"), 1):
            out[f"{fire}.{step}.conv"] = f"conv{3 * i + k}"
    return out | {"classifier": f"conv{3 * len(fires) + 1}"}


def without_instance(tensors: Tensors) -> Tensors:
    """Names without the 'squeezenet0_' in front."""
    return {_INSTANCE.sub("", name, count=1) if _INSTANCE.match(name) else name: t for name, t in tensors.items()}


SCHEMES = (
    Scheme(
        "gluon.squeezenet", "squeezenet", "conv0", "conv25", squeezenet, GLUON,
        arguments=always(padding="symmetric"), prepare=without_instance,
    ),
)  # fmt: skip
