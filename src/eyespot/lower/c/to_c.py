"""Quantized → plain C99 in integers: weights in flash, one block of memory that is planned here, and nothing allocated.

Three files: ``eyespot_model.h`` (the door, and in words what goes in and what comes out), ``eyespot_model.c`` and
``eyespot_labels.h``. They need no other file and no library but ``<stdint.h>``. Levels are int8 there: ours less 128.
Maps lie pixel by pixel (height, width, channels).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eyespot.core.graph import INPUT
from eyespot.core.pixels import Preprocess
from eyespot.errors import ExportError
from eyespot.lower.c.arena import plan
from eyespot.lower.c.integer_program import IntegerProgram, Layer
from eyespot.lower.c.program import ProgramWriter
from eyespot.lower.c.run_integer import run_integer
from eyespot.lower.c.text import comment, quoted
from eyespot.lower.c.to_integer import to_integer
from eyespot.lower.int8.quantized import Quantized

HEADER, SOURCE, LABELS = "eyespot_model.h", "eyespot_model.c", "eyespot_labels.h"
_LARGEST = 32767  # what an int16_t holds: no side of a map is longer


def quantized_to_c(
    network: Quantized, *, preprocess: Preprocess, metadata: Mapping[str, str] = MappingProxyType({})
) -> dict[str, bytes]:
    """The files by name. metadata: ``name``, ``licence`` and ``labels`` (a line per output) are written into them.

    ExportError when some of the network computes in float32.
    """
    return program_to_c(to_integer(network, preprocess, name=metadata.get("name", "")), preprocess, metadata)


def program_to_c(program: IntegerProgram, preprocess: Preprocess, metadata: Mapping[str, str]) -> dict[str, bytes]:
    """The files of a network that is in integers already."""
    largest = max(max(shape) for shape in program.shapes.values())
    if largest > _LARGEST:
        raise ExportError(f"a map has a side of {largest}, {_LARGEST} is the most in C; export a smaller network")
    labels = [line.rpartition("\t")[2] for line in metadata.get("labels", "").splitlines()]
    if len(labels) != program.classes:
        labels = [str(i) for i in range(program.classes)]
    files = {
        HEADER: _header(program, preprocess, metadata),
        SOURCE: _source(program),
        LABELS: _labels(labels),
    }
    return {name: text.encode() for name, text in files.items()}


def noise(height: int, width: int) -> NDArray[np.uint8]:
    """The picture that ``eyespot_selftest`` draws: noise of a congruential generator, (1, height, width, 3)."""
    state, values = 1, bytearray(height * width * 3)
    for i in range(len(values)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values[i] = state >> 24
    return np.frombuffer(bytes(values), np.uint8).reshape(1, height, width, 3)


def checksum(answer: NDArray[np.int32]) -> int:
    """What ``eyespot_selftest`` makes of an answer: FNV-1a over its numbers."""
    total = 2166136261
    for value in answer.reshape(-1):
        total = ((total ^ (int(value) & 0xFFFFFFFF)) * 16777619) & 0xFFFFFFFF
    return total


def _header(program: IntegerProgram, preprocess: Preprocess, metadata: Mapping[str, str]) -> str:
    arena = plan(program)
    _, height, width = program.shapes[INPUT]
    weights = sum(step.weight.size for step in program.steps if isinstance(step, Layer))
    about = "; ".join(text for text in (program.name, metadata.get("licence", "")) if text)
    values = {
        "ABOUT": comment(about or "a network"),
        "HEIGHT": height,
        "WIDTH": width,
        "CLASSES": program.classes,
        "ARENA": arena.size,
        "LIVE": arena.live,
        "WEIGHTS": weights,
        "MACS": program.macs,
        "STEP": f"{program.logit_step:.9g}",
        "GEOMETRY": textwrap.fill(comment(_geometry(preprocess)), 110, subsequent_indent=" " * 8),
        "PREPROCESS": quoted(json.dumps(preprocess.to_json())),
        "NAME": quoted(program.name),
    }
    return _fill("header.h", values)


def _geometry(preprocess: Preprocess) -> str:
    """In words, how a picture becomes pixels."""
    height, width = preprocess.size
    how = {
        "crop": f"the shorter side to {preprocess.shorter_side} pixels, then the middle {height} x {width} cut out",
        "stretch": f"to {height} x {width} pixels, whatever its shape",
        "letterbox": f"into {height} x {width} pixels as a whole, the rest filled with {preprocess.fill}",
    }[preprocess.rule]
    widened = "widened when it shrinks the picture" if preprocess.antialias else "never widened"
    return f"A picture is brought to that size so: {how}; the filter is {preprocess.filter}, {widened}."


def _source(program: IntegerProgram) -> str:
    _, height, width = program.shapes[INPUT]
    answer = run_integer(program, noise(height, width))[program.output]
    writer, sections = ProgramWriter(program, plan(program)), _sections()
    values = {
        "KERNELS": "\n".join(sections[name] for name in writer.sections()),
        "FIRST": sections[writer.pixel_section()],
        "ENOUGH": writer.cmsis_scratch(),
        "TABLES": writer.constants(),
        "STEPS": writer.calls(),
        "PIXELS": writer.offset(INPUT),
        "CHECK": f"{checksum(answer)}u",
    }
    return _fill("source.c", values)


def _sections() -> dict[str, str]:
    """The kernels by name: what stands between ``/*** name ***/`` and the next such line."""
    parts = _template("kernels.c").split("/*** ")[1:]
    return {name: text.strip("\n") + "\n" for name, _, text in (part.partition(" ***/\n") for part in parts)}


def _labels(labels: list[str]) -> str:
    names = "".join(f"    {quoted(label)},\n" for label in labels)
    return (
        "/* What each output of the network means, UTF-8. Include it in one file only: the names take memory. */\n"
        "#ifndef EYESPOT_LABELS_H\n#define EYESPOT_LABELS_H\n\n"
        f"static const char *const eyespot_labels[{len(labels)}] = {{\n{names}}};\n\n#endif\n"
    )


def _fill(name: str, values: Mapping[str, object]) -> str:
    text = _template(name)
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def _template(name: str) -> str:
    return (resources.files("eyespot.lower.c") / name).read_text(encoding="utf-8")
