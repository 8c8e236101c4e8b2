"""The constants and the calls of an IntegerProgram in C."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from eyespot.core.ops import Pair
from eyespot.lower.c.arena import LANES, Arena
from eyespot.lower.c.integer_program import (
    Ends,
    Fixed,
    Flat,
    Gather,
    Highest,
    IntegerProgram,
    Layer,
    Levels,
    Lookup,
    Mean,
    Product,
    Step,
    Sum,
    Total,
)
from eyespot.lower.c.text import comment, numbers, quoted

_ORDER = (
    "always", "scaled", "placed", "window", "layer", "layer levels", "dense", "dense levels", "dense answer",
    "depthwise", "cmsis", "lookup", "sum", "product", "highest", "mean", "gather", "fill", "flat", "total",
)  # fmt: skip
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "dense levels": ("dense", "layer levels", "cmsis"),
    "dense answer": ("dense", "scaled"),
    "dense": ("layer",),
    "depthwise": ("layer levels", "cmsis"),
    "layer levels": ("layer", "scaled", "placed"),
    "layer": ("window", "placed"),
    "sum": ("placed",),
    "product": ("placed", "scaled"),
    "highest": ("window",),
    "mean": ("window", "placed", "scaled"),
}
_OUTSIDE = 128  # what int8 levels are less than ours


class ProgramWriter:
    """Writes step after step; constants that are equal are written once."""

    def __init__(self, program: IntegerProgram, arena: Arena) -> None:
        self._program = program
        self._arena = arena
        self._constants: list[str] = []
        self._known: dict[tuple[str, bytes], str] = {}
        self._used = {"always"}
        self._scratch = 4
        self._lines: list[str] = []
        self._plain = all(
            colour == at and np.array_equal(table, np.arange(256)) for at, (colour, table) in enumerate(program.pixels)
        )
        self._pixels()
        for step in program.steps:
            self._lines.append(f"    /* {comment(step.name)} */")
            _WRITERS[type(step)](self, step)
            if step.name != program.output:
                channels, height, width = program.shapes[step.name]
                grid = program.grids[step.name]
                shown = f"{quoted(step.name)}, {channels}, {height}, {width}, {grid.scale!r}, {grid.zero - _OUTSIDE}"
                self._lines.append(f"    TRACE({shown}, {self._at(step.name)});")

    def constants(self) -> str:
        """Weights, scales and tables."""
        return "\n".join(self._constants)

    def calls(self) -> str:
        """What is done, one call after the other."""
        return "\n".join(self._lines)

    def sections(self) -> list[str]:
        """The kernels that are needed, in an order in which they can stand."""
        used = set(self._used)
        while more := {need for name in used for need in _NEEDS.get(name, ())} - used:
            used |= more
        return [name for name in _ORDER if name in used]

    def pixel_section(self) -> str:
        """The kernel that makes levels of pixels; it may read the constants."""
        return "plain pixels" if self._plain else "pixels by tables"

    def cmsis_scratch(self) -> int:
        """Bytes that suffice for CMSIS-NN with DSP or vector instructions, by its own formulas."""
        return self._scratch

    def offset(self, name: str) -> int:
        """Where a tensor begins."""
        return self._arena.offsets[name]

    def _at(self, name: str) -> str:
        return f"arena + {self.offset(name)}"

    def _shape(self, step: Step) -> tuple[int, int]:
        """(pixels, channels) of what a step makes."""
        channels, height, width = self._program.shapes[step.name]
        return height * width, channels

    def _array(self, kind: str, values: Iterable[int], about: str = "") -> str:
        """The name of a constant array that holds these; written if it is new."""
        listed = [int(value) for value in values]
        key = kind, np.array(listed, np.int64).tobytes()
        if key not in self._known:
            self._known[key] = name = f"c{len(self._known)}"
            above = f"/* {comment(about)} */\n" if about else ""
            self._constants.append(f"{above}static const {kind} {name}[{len(listed)}] = {{\n{numbers(listed)}\n}};")
        return self._known[key]

    def _table(self, table: Levels | None) -> str:
        """A table of levels by the bytes of int8 levels."""
        if table is None:
            return "0"
        return self._array("int8_t", np.roll(table, _OUTSIDE).astype(np.int64) - _OUTSIDE)

    def _scales(self, scales: Sequence[Fixed], shift_type: str) -> tuple[str, str]:
        multipliers = self._array("int32_t", (scale.multiplier for scale in scales))
        return multipliers, self._array(shift_type, (scale.shift for scale in scales))

    def _ends(self, ends: Ends) -> str:
        return self._struct("struct ends", ", ".join(str(value - _OUTSIDE) for value in ends))

    def _struct(self, kind: str, text: str) -> str:
        key = kind, text.encode()
        if key not in self._known:
            self._known[key] = name = f"c{len(self._known)}"
            self._constants.append(f"static const {kind} {name} = {{{text}}};")
        return self._known[key]

    def _window(self, step: Step, kernel: Pair, stride: Pair, corner: Pair, dilation: Pair = (1, 1)) -> str:
        c, h, w = self._program.shapes[step.inputs[0]]
        channels, height, width = self._program.shapes[step.name]
        values = (h, w, c, height, width, channels, *kernel, *stride, *corner, *dilation)
        return ", ".join(map(str, values))

    def _pixels(self) -> None:
        if self._plain:
            return
        tables = ", ".join(
            self._array("int8_t", table.astype(np.int64) - _OUTSIDE) for _, table in self._program.pixels
        )
        order = ", ".join(str(colour) for colour, _ in self._program.pixels)
        self._constants += [
            f"static const int8_t *const level_of[3] = {{{tables}}};",
            f"static const uint8_t colour_of[3] = {{{order}}};",
        ]

    def _call(self, function: str, *arguments: object) -> None:
        self._lines.append(f"    {function}({', '.join(map(str, arguments))});")

    def _layer(self, step: Layer) -> None:
        op = step.op
        deep = step.depthwise and step.ends is not None
        axes = (1, 2, 3, 0) if deep else (0, 2, 3, 1)
        beyond = 0 if deep else -step.weight[0].size % LANES  # what the last row is read beyond its end
        rows = np.append(step.weight.transpose(axes).reshape(-1), np.zeros(beyond, np.int8))
        weight = self._array("int8_t", rows, f"{step.name}: weights")
        bias = self._array("int32_t", step.bias)
        multiplier, shift = self._scales(step.scales, "shift_type")
        window = self._window(step, op.kernel, op.stride, op.padding[:2], op.dilation)
        zero = step.zero - _OUTSIDE
        ends = ", ".join(str(value - _OUTSIDE) for value in step.ends or Ends())
        small = int(all(scale.shift < -1 for scale in step.scales))
        text = f"{{{window}}}, {op.groups}, {zero}, {small}, {{{ends}}}, {weight}, {bias}, {multiplier}, {shift}"
        name = self._struct("struct layer", text)
        x = self._at(step.inputs[0])
        columns = f"memory.columns + {self._arena.columns[step.name] // 2}" if not deep else ""
        if step.ends is None:
            self._used.add("dense answer")
            self._call("answer", f"&{name}", x, columns, "logits")
            return
        self._used.add("depthwise" if deep else "dense levels")
        self._reserve(step, deep)
        y = self._at(step.name)
        self._lines.append(f"    if (!BY_CMSIS(&{name}, {int(deep)}, {x}, {y})) {{")
        call = f"depthwise(&{name}, {x}, {y})" if deep else f"dense(&{name}, {x}, {columns}, {y})"
        self._lines.append(f"        {call};")
        self._lines.append("    }")

    def _reserve(self, step: Layer, deep: bool) -> None:
        taps = math.prod(step.op.kernel)
        if deep:  # int16 columns with DSP instructions; blocks of 124 channels, four at a time, with vectors
            self._scratch = max(self._scratch, 2 * taps * step.op.channels, 4 * taps * 124 + 4)
        elif step.op.groups == 1:  # two int16 columns, or four of int8, each filled up
            self._scratch = max(self._scratch, 4 * (taps * step.weight.shape[1] + 16))

    def _lookup(self, step: Lookup) -> None:
        self._used.add("lookup")
        count = math.prod(self._program.shapes[step.name])
        self._call("lookup", self._table(step.table), count, self._at(step.inputs[0]), self._at(step.name))

    def _sum(self, step: Sum) -> None:
        self._used.add("sum")
        pixels, channels = self._shape(step)
        terms = ", ".join(
            f"{{{self._at(name)}, {multiplier}, {zero - _OUTSIDE}, {int(self._single(name, pixels))}}}"
            for name, multiplier, zero in zip(step.inputs, step.multipliers, step.zeros, strict=True)
        )
        self._lines += ["    {", f"        static const struct term terms[] = {{{terms}}};"]
        if not any(self._single(name, pixels) for name in step.inputs):
            pixels, channels = 1, pixels * channels
        ends, y = self._ends(step.ends), self._at(step.name)
        call = f"sum(terms, {len(step.inputs)}, {pixels}, {channels}, {step.shift}, {ends}, {y});"
        self._lines += [f"        {call}", "    }"]

    def _single(self, name: str, pixels: int) -> bool:
        return pixels > 1 and math.prod(self._program.shapes[name][1:]) == 1

    def _product(self, step: Product) -> None:
        self._used.add("product")
        pixels, channels = self._shape(step)
        a, b = step.inputs
        self._call(
            "product", self._at(a), step.zeros[0] - _OUTSIDE, self._at(b), step.zeros[1] - _OUTSIDE,
            int(self._single(b, pixels)), pixels, channels, *step.scale, self._ends(step.ends), self._at(step.name),
        )  # fmt: skip

    def _highest(self, step: Highest) -> None:
        self._used.add("highest")
        window = self._struct("struct window", self._window(step, step.kernel, step.stride, step.padding[:2]))
        self._call("highest", f"&{window}", self._at(step.inputs[0]), self._at(step.name))
        if step.table is not None:
            self._used.add("lookup")
            y = self._at(step.name)
            self._call("lookup", self._table(step.table), math.prod(self._program.shapes[step.name]), y, y)

    def _mean(self, step: Mean) -> None:
        self._used.add("mean")
        window = self._struct("struct window", self._window(step, step.kernel, step.stride, step.padding[:2]))
        multiplier, shift = self._scales(step.scales, "int8_t")
        self._call(
            "mean", f"&{window}", step.zero - _OUTSIDE, multiplier, shift, int(len(step.scales) > 1),
            self._ends(step.ends), self._at(step.inputs[0]), self._at(step.name),
        )  # fmt: skip

    def _gather(self, step: Gather) -> None:
        self._used.add("gather")
        pixels, channels = self._shape(step)
        y = self._at(step.name)
        if sum(part.channels for part in step.parts) < channels:
            self._used.add("fill")
            self._call("fill", step.fill - _OUTSIDE, pixels * channels, y)
        for part in step.parts:
            self._call(
                "gather", self._at(part.input), self._program.shapes[part.input][0], part.start, part.channels, y,
                channels, part.at, part.stride, pixels, self._table(part.table),
            )  # fmt: skip

    def _flat(self, step: Flat) -> None:
        self._used.add("flat")
        channels, height, width = self._program.shapes[step.inputs[0]]
        self._call("flat", self._at(step.inputs[0]), height * width, channels, self._at(step.name))

    def _total(self, step: Total) -> None:
        self._used.add("total")
        channels, height, width = self._program.shapes[step.inputs[0]]
        self._call("total", self._at(step.inputs[0]), step.zero - _OUTSIDE, height * width, channels, "logits")


_WRITERS: Mapping[type[Step], Callable[[ProgramWriter, Any], None]] = {
    Layer: ProgramWriter._layer,
    Lookup: ProgramWriter._lookup,
    Sum: ProgramWriter._sum,
    Product: ProgramWriter._product,
    Highest: ProgramWriter._highest,
    Mean: ProgramWriter._mean,
    Gather: ProgramWriter._gather,
    Flat: ProgramWriter._flat,
    Total: ProgramWriter._total,
}
