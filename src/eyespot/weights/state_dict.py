"""The network's state dict among all that a training script saved: under which key, in which module."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from eyespot.errors import WeightsError
from eyespot.weights.arrays import shown
from eyespot.weights.class_names import ClassNames, class_names
from eyespot.weights.stand_in import StandIn
from eyespot.weights.torch_names import StoredTensor

# Where training scripts keep the network, best first; before all of these goes an average of the weights over training
# (any key with the word "ema" or "swa"), because it is what the script itself evaluates.
KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net_state_dict", "net_state", "net", "network", "module",
    "weights", "params", "backbone",
)  # fmt: skip
_CLASSES = ("class_to_idx", "idx_to_class", "classes", "class_names", "CLASSES", "labels", "id2label")
_MAX_DEPTH = 3
_MAX_NAME = 300  # characters; of a network's tensors 100 are many
_MAX_ENTRIES = 200_000  # of modules that were saved whole
_NOT_OURS = re.compile(r"optim|sched|scaler|rng|callback|loop|criterion|loss", re.IGNORECASE)

Tensors = dict[str, StoredTensor]


class StateDict(NamedTuple):
    """Tensors by name; under: the keys that lead to them, joined by dots; beside: where others were that were left.

    architecture: what the script that saved them calls the network, where it says so (timm's ``arch``). classes: what
    it calls the outputs (``class_to_idx``).
    """

    tensors: Tensors
    under: str | None
    beside: tuple[str, ...] = ()
    architecture: str | None = None
    classes: ClassNames | None = None


def find_state_dict(file: str, objects: object) -> StateDict:
    """The network's tensors out of what a pickle describes. WeightsError says what is there where they are not.

    What is no tensor, such as an epoch beside them, is passed over: the network that they are matched with says what
    is missing.
    """
    if isinstance(objects, StandIn):
        if tensors := _Modules(file).tensors(objects):
            return StateDict(tensors, None)
        raise WeightsError(f"{file} holds a {objects.name}, not a dictionary of tensors; save a state_dict()")
    if not isinstance(objects, dict):
        raise WeightsError(f"{file} holds a {type(objects).__name__}, not a dictionary of tensors; save a state_dict()")
    at_top = _tensors_of(objects)
    if at_top and len(at_top) == len(objects):
        return StateDict(at_top, None)
    ranked: dict[str, tuple[int, Tensors]] = {}
    for keys, tensors in _nested(file, objects):
        rank = min(map(_rank, keys))
        if rank <= len(KEYS) or _has_layers(tensors):
            ranked[".".join(keys)] = (rank, tensors)
    known = sorted((path for path, (rank, _) in ranked.items() if rank <= len(KEYS)), key=lambda path: ranked[path][0])
    said = objects.get("arch")
    beside = (said if isinstance(said, str) else None, _classes(objects))
    if known:
        return StateDict(ranked[known[0]][1], known[0], tuple(known[1:]), *beside)
    if _has_layers(at_top):  # beside an epoch and the like; those of layers have dots in their names
        return StateDict({name: t for name, t in at_top.items() if "." in name} or at_top, None, (), *beside)
    if len(ranked) == 1:
        ((path, (_, tensors)),) = ranked.items()
        return StateDict(tensors, path, (), *beside)
    if ranked:
        raise WeightsError(
            f"{file} holds {len(ranked)} dictionaries of tensors, under {', '.join(map(shown, list(ranked)[:5]))}; "
            "save the one that is the network's state_dict() alone"
        )
    names = ", ".join(shown(str(key)) for key in list(objects)[:5] if not isinstance(key, StandIn)) or "nothing"
    raise WeightsError(
        f"{file} holds {names}{', …' if len(objects) > 5 else ''}, but no dictionary of tensors by itself or under "
        f"another key; save model.state_dict() alone"
    )


def _classes(objects: Mapping[object, object]) -> ClassNames | None:
    places = [objects, *(objects.get(key) for key in ("hyper_parameters", "meta", "dataset_meta", "config"))]
    for place in places:
        for key in _CLASSES:
            if isinstance(place, dict) and (names := class_names(place.get(key))) is not None:
                return names
    return None


def is_average(key: str) -> bool:
    """Whether a key or prefix says that the weights under it are averages over training."""
    return not {"ema", "swa"}.isdisjoint(re.split(r"[\W_]+", key.lower()))


def _rank(key: str) -> int:
    """0 for averaged weights, then the place among ``KEYS``; beyond their number for a key that says nothing."""
    if is_average(key):
        return 0
    return KEYS.index(key) + 1 if key in KEYS else len(KEYS) + 1


def _nested(file: str, objects: Mapping[object, object]) -> Iterator[tuple[tuple[str, ...], Tensors]]:
    """Every dictionary with tensors, or module, below the top, the shallowest first, each once."""
    waiting: deque[tuple[tuple[str, ...], Mapping[object, object]]] = deque([((), objects)])
    seen = {id(objects)}
    modules = _Modules(file)
    while waiting:
        path, entries = waiting.popleft()
        for key, value in entries.items():
            if not isinstance(key, str) or _NOT_OURS.search(key) or id(value) in seen:
                continue
            here = (*path, key)
            seen.add(id(value))
            if isinstance(value, StandIn) and (tensors := modules.tensors(value)):
                yield here, tensors
            elif isinstance(value, dict):
                if tensors := _tensors_of(value):
                    yield here, tensors
                elif len(here) < _MAX_DEPTH:
                    waiting.append((here, value))


def _tensors_of(entries: Mapping[object, object]) -> Tensors:
    return {
        key: value
        for key, value in entries.items()
        if isinstance(key, str) and len(key) <= _MAX_NAME and isinstance(value, StoredTensor)
    }


def _has_layers(tensors: Tensors) -> bool:
    """Whether there is a matrix or kernel, as no state of a random generator or optimizer's counter is."""
    return any(len(tensor.shape) in (2, 4) for tensor in tensors.values())


class _Modules:
    """Modules that were saved whole; a file in which they are endless is refused."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._left = _MAX_ENTRIES

    def tensors(self, module: StandIn) -> Tensors:
        """The state dict of a module, from the dictionaries in its and its children's states."""
        tensors: Tensors = {}
        waiting: list[tuple[str, object]] = [("", module)]
        while waiting:
            prefix, current = waiting.pop()
            state = current.state if isinstance(current, StandIn) else None
            self._spend(1)
            if not isinstance(state, dict) or len(prefix) > _MAX_NAME:
                continue
            passing = state.get("_non_persistent_buffers_set")
            left_out: Collection[object] = passing if isinstance(passing, set) else ()
            for part in ("_parameters", "_buffers"):
                own = _tensors_of(self._entries(state, part))
                tensors |= {f"{prefix}{name}": tensor for name, tensor in own.items() if name not in left_out}
            children = self._entries(state, "_modules").items()
            named = [(name, child) for name, child in children if isinstance(name, str) and len(name) <= _MAX_NAME]
            waiting.extend((f"{prefix}{name}.", child) for name, child in reversed(named))
        return tensors

    def _entries(self, state: Mapping[object, object], part: str) -> Mapping[object, object]:
        entries = state.get(part)
        if not isinstance(entries, dict):
            return {}
        self._spend(len(entries))
        return entries

    def _spend(self, entries: int) -> None:
        self._left -= entries
        if self._left < 0:
            raise WeightsError(f"{self._file} holds modules of more than {_MAX_ENTRIES} entries; save a state_dict()")
