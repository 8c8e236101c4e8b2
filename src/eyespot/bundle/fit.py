"""A weights file and the network that its tensors are: found by names and shapes, or told by the caller or a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eyespot.arch.catalogue import draw
from eyespot.bundle.published import Published
from eyespot.errors import WeightsError
from eyespot.lower.fold import fold_graph
from eyespot.weights.arrays import Array, shown
from eyespot.weights.by_order import BY_ORDER, by_order
from eyespot.weights.checkpoint import Checkpoint, read_checkpoint
from eyespot.weights.class_names import ClassNames
from eyespot.weights.identify import Candidate, identify, the_one
from eyespot.weights.keras_model import KerasModel, read_keras_model
from eyespot.weights.names import Matched, match
from eyespot.weights.state_dict import is_average
from eyespot.weights.timm_models import TIMM_MODELS
from eyespot.weights.unwrap import modules

Tensors = Mapping[str, Array]
Say = Callable[[str], None]


class Fitted(NamedTuple):
    """A network with the file's tensors in it; ``draw(architecture, arguments)`` draws it."""

    architecture: str
    arguments: Mapping[str, Any]
    matched: Matched
    keras: KerasModel | None = None  # what a Keras file says beside the weights
    classes: ClassNames | None = None  # what the file calls its outputs

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for an image."""
        graph = self.matched.graph
        return graph.shape(graph.inference().outputs[0])[0]

    def with_two_outputs(self) -> Fitted:
        """The same network with one sigmoid output p as two classes of probability 1 - p and p.

        The softmax of (0, x) is (sigmoid(-x), sigmoid(x)), so the first class has weights of zero.
        """
        arguments = {**self.arguments, "classes": 2}
        weights = dict(self.matched.weights)
        for name in ("classifier.weight", "classifier.bias"):
            weights[name] = np.concatenate([np.zeros_like(weights[name]), weights[name]])
        graph = draw(self.architecture, arguments)
        graph = graph if graph.parameters.keys() <= weights.keys() else graph.inference()
        return self._replace(arguments=arguments, matched=Matched(weights, graph, self.matched.scheme))


class _Known(NamedTuple):
    """What is known of a network before its tensors are matched; scheme None: that of the names that fit best."""

    architecture: str
    scheme: str | None
    arguments: Mapping[str, object]


def fit(
    file: Path,
    *,
    architecture: str | None,
    scheme: str | None,
    arguments: Mapping[str, object],
    card: Published | None,
    say: Say,
) -> Fitted:
    """The network of a file. card, or else architecture and scheme, say what is known of it; arguments go before all.

    say: told what was taken where the file holds more than one network, or more than a network. WeightsError.
    """
    checkpoint = read_checkpoint(file)
    keras = None
    if card is None and checkpoint.format.startswith("keras"):
        keras = read_keras_model(file.name, checkpoint)
    if checkpoint.beside:
        others = " or ".join(map(shown, checkpoint.beside[:5]))
        say(f"took the network under {shown(checkpoint.under or '')}, not the one under {others}")
    tensors = checkpoint.tensors
    drawn: dict[str, object] = {} if checkpoint.size is None else {"size": list(checkpoint.size)}
    if card is not None:
        architecture, scheme = card.architecture, scheme or card.scheme
        drawn |= card.arguments
    else:
        known, tensors = _identified(checkpoint, architecture, scheme, say)
        architecture, scheme = known.architecture, known.scheme
        drawn |= known.arguments
    drawn |= arguments
    graph = draw(architecture, drawn)
    prefixed = {f"{checkpoint.prefix}{name}": tensor for name, tensor in tensors.items()}
    if prefixed.keys() == graph.parameters.keys():  # a network of one's own, with that prefix in its names
        tensors = prefixed
    if scheme == BY_ORDER:
        return Fitted(
            architecture,
            drawn,
            by_order(tensors, (graph, graph.inference(), fold_graph(graph))),
            keras,
            checkpoint.classes,
        )
    return Fitted(architecture, drawn, match(tensors, graph, scheme), keras, checkpoint.classes)


def _identified(
    checkpoint: Checkpoint, architecture: str | None, scheme: str | None, say: Say
) -> tuple[_Known, Tensors]:
    """The only network that the tensors fit, and those tensors, without the modules beside it.

    Where they fit none, what the caller said of it: the matching says why they do not fit, or how they do.
    """
    tensors = checkpoint.tensors
    candidates = identify(tensors, architecture=architecture, scheme=scheme)
    if not candidates:
        within = list(_within(tensors, architecture, scheme))
        averages = [one for one in within if is_average(one[0])]
        if len(within) > 1 and len(averages) != 1:
            names = ", ".join(shown(prefix) for prefix, _, _ in within)
            raise WeightsError(f"the file holds {len(within)} networks, under {names}; save one of them alone")
        if within:
            prefix, candidates, inside = (averages or within)[0]
            outside = [name for name in tensors if not name.startswith(prefix)]
            more = ", …" if len(outside) > 3 else ""
            say(f"left out what is not in {shown(prefix)}: {', '.join(map(shown, outside[:3]))}{more}")
            tensors = inside
    if len(candidates) > 1 and checkpoint.architecture is not None:
        known = TIMM_MODELS.get(checkpoint.architecture.partition(".")[0])
        candidates = tuple(c for c in candidates if (c.architecture, c.scheme) == known) or candidates
    if not candidates and architecture is not None:
        return _Known(architecture, scheme, {}), tensors
    one = the_one(candidates, tensors)
    return _Known(one.architecture, one.scheme, one.arguments), tensors


def _within(
    tensors: Tensors, architecture: str | None, scheme: str | None
) -> Iterator[tuple[str, tuple[Candidate, ...], Tensors]]:
    for prefix, inside in modules(tensors).items():
        if candidates := identify(inside, architecture=architecture, scheme=scheme):
            yield prefix, candidates, inside
