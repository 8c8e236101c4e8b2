"""What exported C takes of a microcontroller: flash and RAM by the compiler's own count, and which boards have them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from eyespot.errors import RuntimeFailure, UnknownName
from eyespot.lower.c.to_c import HEADER, SOURCE
from eyespot.run.compiled_c import FLAGS, sizes_of, version_of

_DEFINED = re.compile(r"^#define EYESPOT_(\w+) (\d+)$", re.MULTILINE)


class Board(NamedTuple):
    """A microcontroller board. flash: KiB. ram: KiB of the largest block for static data. mhz: its processor's.

    source: where the figures stand, in words.
    """

    name: str
    processor: str
    flash: int
    ram: int
    mhz: int
    source: str

    def room(self, flash: int, ram: int) -> str:
        """Whether so many bytes of each fit, in words; a program around the network needs some of the rest."""
        shares = (
            f"{100 * flash / (1024 * self.flash):.0f} % of {self.flash} KiB of flash, "
            f"{100 * ram / (1024 * self.ram):.0f} % of {self.ram} KiB of RAM"
        )
        return f"{'fits' if self.fits(flash, ram) else 'does not fit'}: {shares}"

    def fits(self, flash: int, ram: int) -> bool:
        """Whether so many bytes of each fit."""
        return flash <= 1024 * self.flash and ram <= 1024 * self.ram


def boards() -> tuple[Board, ...]:
    """The table of boards, by name."""
    text = (resources.files("eyespot.export") / "boards.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))[1:]
    return tuple(
        Board(name, processor, int(flash), int(ram), int(mhz), source)
        for name, processor, flash, ram, mhz, source in rows
    )


def find_board(name: str) -> Board:
    """The board of that name; UnknownName lists the others."""
    for board in boards():
        if board.name == name:
            return board
    raise UnknownName(f"there is no board {name!r}; choose one of {', '.join(board.name for board in boards())}")


def facts(folder: Path, *, board: Board | None = None, command: str | None = None) -> Mapping[str, object]:
    """Bytes of flash and RAM of an exported folder, and the boards that have them; or whether ``board`` has.

    command: the compiler whose figures these are; None is this machine's, whose code is of another size than a
    microcontroller's while constants and memory are the same. RuntimeFailure when a given compiler fails.
    """
    defined = {name: int(value) for name, value in _DEFINED.findall((folder / HEADER).read_text(encoding="utf-8"))}
    found: dict[str, object] = {"macs": defined["MACS"], "arena_bytes": defined["ARENA"]}
    try:
        sizes = sizes_of(folder / SOURCE, command)
    except RuntimeFailure as error:
        if command is not None:
            raise
        return {**found, "flash": f"not counted: {error}"}
    flash, ram = sizes["code"] + sizes["constants"] + sizes["data"], sizes["data"] + sizes["zeroed"]
    found |= {
        "flash_bytes": flash,
        "of which code": sizes["code"],
        "of which constants": sizes["constants"],
        "ram_bytes": ram,
        "counted by": f"size, after {version_of(command)} {' '.join(FLAGS)}",
    }
    if board is not None:
        return {**found, board.name: board.room(flash, ram), "fits": board.fits(flash, ram)}
    return {
        **found,
        "boards with room": ", ".join(b.name for b in boards() if b.fits(flash, ram)) or "none of the table",
    }
