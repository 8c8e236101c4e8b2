"""Everything a torch file may name, and what each name stands for: a type, or a function of ours.

Sources: torch/_utils.py (``_rebuild_tensor_v2`` and its relatives), torch/serialization.py (``persistent_id``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from eyespot.weights.arrays import ELEMENT_TYPES, Shape, element_size, shown
from eyespot.weights.pickle_machine import Answer, Function, Machine
from eyespot.weights.stand_in import StandIn

MAX_AXES = 16
_LARGEST = 1 << 48  # elements or bytes: beyond any file, and safe to multiply in any order


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of elements that the file keeps elsewhere: ``count`` elements from ``start`` on, under ``key``.

    ``element`` is None for an untyped storage; ``start`` and ``count`` are bytes then. ``total`` is the length of the
    whole storage, of which this may be a part (files of torch before 0.4).
    """

    key: str
    element: str | None
    start: int
    count: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A tensor that has been described but not read: a view of a storage, in elements."""

    storage: Storage
    element: str
    offset: int
    shape: Shape
    stride: Shape


class StorageType(NamedTuple):
    """The name of a kind of storage; ``element`` is None for an untyped one."""

    name: str
    element: str | None


class ElementType(NamedTuple):
    """The name of an element type."""

    name: str


class Storages:
    """The storages that one pickle points at, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def __call__(self, machine: Machine, given: object) -> Storage | StandIn:
        """Answers ('storage', type, key, location, count[, part]), and ('module', class, …) with the class's stand-in.

        The second is how torch before 1.6 pointed at the source of a module's class.
        """
        if isinstance(given, tuple) and len(given) == 4 and given[0] == "module" and isinstance(given[1], StandIn):
            return given[1]
        if not isinstance(given, tuple) or len(given) not in (5, 6) or given[0] != "storage":
            machine.unsafe("refers to something outside its pickle that is not a storage")
        kind, key, total = given[1], given[2], _size(machine, given[4], "storage")
        if not isinstance(kind, StorageType):
            machine.unsafe("refers to a storage whose type is not one of torch's")
        if not isinstance(key, str) or not 0 < len(key) <= 100:
            machine.damaged("a storage without a key")
        start, count = 0, total
        if len(given) == 6 and given[5] is not None:  # torch before 0.4: a part of it, as (key, start, count)
            part = given[5]
            if not isinstance(part, tuple) or len(part) != 3:
                machine.damaged("a part of a storage that is not (key, start, count)")
            start, count = _size(machine, part[1], "part"), _size(machine, part[2], "part")
            if start + count > total:
                machine.damaged(f"a part of a storage ends at {start + count} of {total}")
        storage = Storage(key, kind.element, start, count, total)
        first = self.by_key.setdefault(key, storage)
        if (first.element, first.total) != (storage.element, total):
            machine.damaged(f"storage {shown(key)} is described in two ways")
        return storage


def _size(machine: Machine, value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        machine.damaged(f"a {what} with an impossible size")
    return value


def _sizes(machine: Machine, value: object, what: str) -> Shape:
    if not isinstance(value, (tuple, list)) or len(value) > MAX_AXES:
        machine.damaged(f"a tensor whose {what} is not a tuple of at most {MAX_AXES}")
    return tuple(_size(machine, v, what) for v in value)


def _tensor(machine: Machine, given: tuple[object, ...], element: str | None) -> StoredTensor:
    """Described as (storage, offset, shape, stride); all of it must lie within its storage."""
    storage, offset, shape, stride = given[:4]
    if not isinstance(storage, Storage):
        machine.damaged("a tensor without a storage")
    element = element or storage.element
    if element is None or (storage.element is not None and element != storage.element):
        machine.damaged("a tensor whose type is not its storage's")
    first = _size(machine, offset, "offset")
    lengths, steps = _sizes(machine, shape, "shape"), _sizes(machine, stride, "stride")
    if len(lengths) != len(steps):
        machine.damaged(f"a tensor of {len(lengths)} axes with {len(steps)} strides")
    last = first + sum((n - 1) * s for n, s in zip(lengths, steps, strict=True))
    held = storage.count if storage.element else storage.count // element_size(element)
    if 0 not in lengths and last >= held:
        machine.damaged(f"a tensor reaches element {last} of a storage of {held}")
    return StoredTensor(storage, element, first, lengths, steps)


def _rebuild_tensor(machine: Machine, given: tuple[object, ...]) -> object:
    # Behind the four come requires_grad, hooks and metadata (v2), which mean nothing to a file of weights.
    if not 4 <= len(given) <= 7:
        machine.damaged("a tensor described by too few or too many values")
    return _tensor(machine, given, None)


def _rebuild_tensor_v3(machine: Machine, given: tuple[object, ...]) -> object:
    if not 7 <= len(given) <= 8 or not isinstance(given[6], ElementType):
        machine.damaged("a tensor described by too few or too many values")
    return _tensor(machine, given, given[6].name)


def _rebuild_from_type(machine: Machine, given: tuple[object, ...]) -> object:
    """A tensor of a subclass, or with attributes: (function, type, its arguments, state)."""
    if len(given) != 4 or not isinstance(given[0], Function) or not isinstance(given[2], tuple):
        return StandIn("torch._tensor._rebuild_from_type_v2")
    if given[0].answer is _rebuild_from_type:
        machine.damaged("a tensor that describes itself")
    return given[0].answer(machine, given[2])


def _rebuild_parameter(machine: Machine, given: tuple[object, ...]) -> object:
    if not given or not isinstance(given[0], StoredTensor):
        machine.damaged("a parameter that is not a tensor")
    return given[0]


def _ordered_dict(machine: Machine, given: tuple[object, ...]) -> object:
    pairs = given[0] if given else []
    if len(given) > 1 or not isinstance(pairs, list):
        machine.damaged("an OrderedDict of something other than pairs")
    machine.spend(len(pairs))
    out: dict[object, object] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            machine.damaged("an OrderedDict of something other than pairs")
        out[machine.key(pair[0])] = pair[1]
    return out


def _default_dict(_: Machine, __: tuple[object, ...]) -> object:
    return {}  # what makes the defaults is of no use; the items follow


def _set(machine: Machine, given: tuple[object, ...]) -> object:
    items = given[0] if given else []
    if len(given) > 1 or not isinstance(items, (list, tuple)):
        machine.damaged("a set of something other than a list")
    machine.spend(len(items))
    return {machine.key(item) for item in items}


def _bytes(machine: Machine, given: tuple[object, ...]) -> object:
    if given:
        machine.damaged("bytes of something")
    return b""


def _encode(machine: Machine, given: tuple[object, ...]) -> object:
    # How protocol 2 writes bytes.
    if len(given) != 2 or not isinstance(given[0], str) or given[1] != "latin1":
        machine.damaged("bytes that are not written as latin1")
    machine.spend(len(given[0]))
    try:
        return given[0].encode("latin1")
    except UnicodeEncodeError:
        return machine.damaged("bytes that are not written as latin1")


def _torch_size(machine: Machine, given: tuple[object, ...]) -> object:
    return _sizes(machine, given[0] if len(given) == 1 else None, "shape")


def _device(machine: Machine, given: tuple[object, ...]) -> object:
    if not 1 <= len(given) <= 2 or not isinstance(given[0], str):
        machine.damaged("a device without a name")
    return given[0]


_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "QInt8Storage": "int8", "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
}  # fmt: skip
_FUNCTIONS: dict[str, Answer] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": _torch_size,
    "torch.device": _device,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.bytes": _bytes,
    "__builtin__.set": _set,
    "__builtin__.frozenset": _set,
    "__builtin__.bytes": _bytes,
    "_codecs.encode": _encode,
}
# Every name that means something, and all that is ever done about it; any other name is a stand-in.
NAMES: dict[str, object] = {
    **{name: Function(name, answer) for name, answer in _FUNCTIONS.items()},
    **{f"torch.{name}": StorageType(name, element) for name, element in _STORAGES.items()},
    "torch.storage.UntypedStorage": StorageType("UntypedStorage", None),
    **{f"torch.{name}": ElementType(name) for name in ELEMENT_TYPES},
}
