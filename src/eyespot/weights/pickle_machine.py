"""Reads the pickle inside a torch file as data: a stack machine that builds plain containers and calls nothing.

A pickle is a program. Python's unpickler imports and calls whatever it names; this machine knows the opcodes that build
containers, and a closed table of names (``torch_names``), each of which stands for a function of ours. For any other
name stands a ``StandIn``: calling it, giving it items or a state makes stand-ins and runs nothing. Names that run
programs are refused as soon as they are read.

Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py; protocols 2 to 5, which torch has written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from eyespot.errors import UnsafeFile, WeightsError
from eyespot.weights.arrays import shown
from eyespot.weights.stand_in import StandIn, runs_programs

# The largest published networks need about 10⁵ opcodes; a million take about a second and, at worst, 300 MB.
MAX_STEPS = 1_000_000
MAX_INTEGER_BYTES = 255  # LONG1's own limit; only torch's magic number is longer than 8
_MAGIC_KEY_LIMIT = 1 << 32  # integers as keys: small ones cannot be chosen to collide in a dictionary

Buffer = bytes | memoryview
Answer = Callable[["Machine", tuple[object, ...]], object]


class Function(NamedTuple):
    """A name that a file may call; what answers is a function of ours."""

    name: str
    answer: Answer


class _Mark:
    """Where a run of stack items begins."""


_MARK = _Mark()
_ABSENT = object()


class Machine:
    """Runs one pickle from ``data[start:]``; ``position`` is then the byte behind its STOP.

    ``names`` holds what the file may name; ``outside`` answers a persistent id, torch's way to point at a storage.
    """

    def __init__(
        self,
        data: Buffer,
        start: int,
        file: str,
        names: Mapping[str, object],
        outside: Callable[[Machine, object], object],
    ) -> None:
        self.position = start
        self.file = file
        self._data = data
        self._names = names
        self._outside = outside
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._steps = MAX_STEPS

    def run(self) -> object:
        """The value the pickle describes. UnsafeFile, WeightsError."""
        while True:
            opcode = self._byte()
            self.spend(1)
            if opcode == 0x2E:  # STOP
                value = self._pop()
                if self._stack:
                    self.damaged("the pickle ends with values left over")
                return value
            step = _STEPS.get(opcode)
            if step is None:
                self._refuse_opcode(opcode)
            step(self)

    def damaged(self, why: str) -> NoReturn:
        """Raises WeightsError."""
        raise WeightsError(f"{self.file} is damaged or no torch file: {why}; fetch it again")

    def unsafe(self, what: str) -> NoReturn:
        """Raises UnsafeFile."""
        raise UnsafeFile(
            f"{self.file} {what}; nothing in it was run; save tensors alone: torch.save(m.state_dict(), …)"
        )

    def spend(self, steps: int) -> None:
        """Counts work, so that a small file cannot ask for an endless amount of it."""
        self._steps -= steps
        if self._steps < 0:
            self.damaged(f"its pickle takes more than {MAX_STEPS} steps")

    def _refuse_opcode(self, opcode: int) -> NoReturn:
        name = _FORBIDDEN.get(opcode)
        if name is None:
            self.damaged(f"byte 0x{opcode:02x} at {self.position - 1} is no opcode that torch writes")
        if name in ("INST", "PERSID"):
            text = self._line() + ("." + self._line() if name == "INST" else "")
            self.unsafe(f"names {shown(text)}, which is not a tensor (opcode {name})")
        self.unsafe(f"builds an object with the opcode {name}, which no tensor needs")

    # --- bytes ---

    def _take(self, count: int) -> Buffer:
        end = self.position + count
        if end > len(self._data):
            self.damaged(f"the file ends inside a pickle, {count} bytes were due at {self.position}")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def _byte(self) -> int:
        if self.position >= len(self._data):
            self.damaged("the file ends inside a pickle")
        self.position += 1
        return self._data[self.position - 1]

    def _number(self, code: str) -> int:
        value: int = struct.unpack(code, self._take(struct.calcsize(code)))[0]
        return value

    def _line(self) -> str:
        raw = bytearray()
        while (byte := self._byte()) != 0x0A:
            raw.append(byte)
            if len(raw) > 1000:
                self.damaged("a name of more than 1000 bytes")
        return self._text(raw)

    def _text(self, raw: Buffer | bytearray) -> str:
        try:
            return str(raw, "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return self.damaged("a text that is not UTF-8")

    # --- stack and memo ---

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            self.damaged("an opcode finds nothing on the stack")
        return self._stack.pop()

    def _top(self) -> object:
        value = self._pop()
        self._stack.append(value)
        return value

    def _pop_to_mark(self) -> list[object]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        return self.damaged("an opcode finds no mark on the stack")

    def _remember(self, index: int) -> None:
        self._memo[index] = self._top()

    def _recall(self, index: int) -> None:
        value = self._memo.get(index, _ABSENT)
        if value is _ABSENT:
            self.damaged(f"memo {index} is used before it is set")
        self._push(value)

    # --- containers ---

    def _append(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, StandIn):
            return
        if not isinstance(target, list):
            self.damaged("items are appended to what is not a list")
        target.extend(items)

    def _add(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, StandIn):
            return
        if not isinstance(target, set):
            self.damaged("items are added to what is not a set")
        for item in items:
            target.add(self.key(item))

    def _set_items(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, StandIn):
            return
        if not isinstance(target, dict) or len(items) % 2:
            self.damaged("entries are put into what is not a dictionary")
        for i in range(0, len(items), 2):
            target[self.key(items[i])] = items[i + 1]

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    def key(self, value: object) -> object:
        """A key of a dictionary: text or a small number, whose hash costs nothing and cannot be made to collide.

        A stand-in takes the place of any other: no network's tensors are under such keys.
        """
        small = isinstance(value, int) and -_MAGIC_KEY_LIMIT < value < _MAGIC_KEY_LIMIT
        if value is None or small or isinstance(value, (str, bytes)):
            return value
        return StandIn(type(value).__name__)

    # --- names ---

    def _name(self, module: str, name: str) -> None:
        known = self._names.get(f"{module}.{name}")
        if known is None and runs_programs(module, name):
            self.unsafe(f"names {shown(module)}.{shown(name)}, which is not a tensor")
        self._push(StandIn(f"{shown(module)}.{shown(name)}") if known is None else known)

    def _stack_name(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            self.damaged("a name that is not text")
        self._name(module, name)

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple):
            self.damaged("arguments that are not a tuple")
        if isinstance(function, StandIn):
            self._push(StandIn(function.name))
            return
        if not isinstance(function, Function):
            self.unsafe(f"calls a {type(function).__name__.strip('_')}, which is not a tensor")
        self._push(function.answer(self, arguments))

    def _build(self) -> None:
        # torch hangs '_metadata' (versions of modules) on the OrderedDict of a state_dict, which is not needed.
        state, target = self._pop(), self._top()
        if isinstance(target, StandIn):
            target.state = state
        elif not isinstance(target, dict) or not isinstance(state, dict):
            self.unsafe(f"sets the attributes of a {type(target).__name__} (opcode BUILD), which no tensor needs")

    def _persistent(self) -> None:
        self._push(self._outside(self, self._pop()))


_Step = Callable[[Machine], None]


def _protocol(m: Machine) -> None:
    if (version := m._byte()) > 5:
        m.damaged(f"pickle protocol {version}")


def _frame(m: Machine) -> None:
    m._number("<Q")  # a hint for reading ahead; the opcodes inside are checked one by one


def _integer(m: Machine, count: int) -> None:
    if not 0 <= count <= MAX_INTEGER_BYTES:
        m.damaged(f"an integer of {count} bytes")
    m._push(int.from_bytes(m._take(count), "little", signed=True))


def _new_with_keywords(m: Machine) -> None:
    m._pop()
    m._reduce()


def _pop_mark(m: Machine) -> None:
    m._pop_to_mark()


def _pop(m: Machine) -> None:
    m._pop()


def _constant(value: object) -> _Step:
    return lambda m: m._push(value)


def _number(code: str) -> _Step:
    return lambda m: m._push(m._number(code))


def _text(code: str) -> _Step:
    return lambda m: m._push(m._text(m._take(m._number(code))))


def _old_text(code: str) -> _Step:
    return lambda m: m._push(str(m._take(m._number(code)), "latin1"))  # Python 2's str


def _raw(code: str) -> _Step:
    return lambda m: m._push(bytes(m._take(m._number(code))))


_STEPS: dict[int, _Step] = {
    0x80: _protocol,
    0x95: _frame,
    # stack and memo
    ord("("): lambda m: m._push(_MARK),
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): lambda m: m._push(m._top()),
    ord("q"): lambda m: m._remember(m._byte()),
    ord("r"): lambda m: m._remember(m._number("<I")),
    0x94: lambda m: m._remember(len(m._memo)),
    ord("h"): lambda m: m._recall(m._byte()),
    ord("j"): lambda m: m._recall(m._number("<I")),
    # scalars
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("K"): _number("<B"),
    ord("M"): _number("<H"),
    ord("J"): _number("<i"),
    ord("G"): _number(">d"),
    0x8A: lambda m: _integer(m, m._byte()),
    0x8B: lambda m: _integer(m, m._number("<i")),
    ord("X"): _text("<I"),
    0x8C: _text("<B"),
    0x8D: _text("<Q"),
    ord("U"): _old_text("<B"),
    ord("T"): _old_text("<I"),
    ord("C"): _raw("<B"),
    ord("B"): _raw("<I"),
    0x8E: _raw("<Q"),
    0x96: _raw("<Q"),
    # containers
    ord("]"): lambda m: m._push([]),
    ord("a"): lambda m: m._append([m._pop()]),
    ord("e"): lambda m: m._append(m._pop_to_mark()),
    ord(")"): _constant(()),
    ord("t"): lambda m: m._push(tuple(m._pop_to_mark())),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("}"): lambda m: m._push({}),
    ord("s"): lambda m: m._set_items([m._pop(), m._pop()][::-1]),
    ord("u"): lambda m: m._set_items(m._pop_to_mark()),
    0x8F: lambda m: m._push(set()),
    0x90: lambda m: m._add(m._pop_to_mark()),
    0x91: lambda m: m._push({m.key(item) for item in m._pop_to_mark()}),
    # names
    ord("c"): lambda m: m._name(m._line(), m._line()),
    0x93: lambda m: m._stack_name(),
    ord("R"): lambda m: m._reduce(),
    0x81: lambda m: m._reduce(),
    0x92: _new_with_keywords,
    ord("b"): lambda m: m._build(),
    ord("Q"): lambda m: m._persistent(),
}
_FORBIDDEN = {
    ord("i"): "INST", ord("o"): "OBJ", ord("P"): "PERSID",
    0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}  # fmt: skip
