"""Our tensors under somebody else's names: the inverse of ``names``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyespot.core.graph import Graph
from eyespot.errors import WeightsError
from eyespot.weights.arrays import Array
from eyespot.weights.scheme import Scheme


def renamed(weights: Mapping[str, NDArray[np.float32]], graph: Graph, scheme: Scheme) -> dict[str, Array]:
    """All of the graph's weights in the source's names and layouts, and whatever else its own files hold.

    graph: as drawn for the scheme's family, with its batch norms. In the order of execution, each array contiguous.
    WeightsError when the scheme has no name for a layer that inference needs.
    """
    try:
        modules = scheme.modules(graph)
    except (LookupError, ValueError, StopIteration):
        raise WeightsError(f"{scheme.name} has no names for the layers of this network") from None
    out: dict[str, Array] = {}
    for node in graph.nodes:
        for parameter in graph.parameters_of(node):
            if node.name not in modules:
                if node.train_only:
                    continue  # a source may not have the auxiliary heads at all
                raise WeightsError(f"{scheme.name} has no name for {node.name}")
            short = parameter.name.rsplit(".", 1)[1]
            name = f"{modules[node.name]}{scheme.layout.join}{scheme.layout.names(node.op, short)[0]}"
            tensor: NDArray[Any] = weights[parameter.name]
            there = scheme.layout.theirs(node.op, short, tensor, as_convolution=node.name in scheme.as_convolutions)
            out[name] = np.ascontiguousarray(there)
    return dict(scheme.complete(out))
