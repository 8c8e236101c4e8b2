"""Damages real files at random and decodes them, within a stated memory and time. Run by test_fuzz.py as a program:

    python mutate.py SEED FIRST COUNT PROGRESS_FILE [FOLDER…]

A mutation is named by seed and number, so ``mutate.py 0 4711 1 /dev/stdout`` repeats one. Prints a line of JSON.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import random
import resource
import struct
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

MEMORY = 256 << 20  # on top of what the interpreter and the codecs have mapped before the first file, in bytes
SECONDS = 2.0  # of processor time per file
STUCK = 120  # of wall time per file, on a machine that others use too
PIXELS = 4_000_000

EDGES = (0, 1, 2, 3, 4, 7, 8, 9, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def mutation(seed: int, number: int, bases: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Base name and damaged bytes."""
    chance = random.Random(f"{seed}:{number}")
    name, base = bases[number % len(bases)]
    data = bytearray(base)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice(_DAMAGES)(data, chance, bases)
    return name, bytes(data)


def _flip(data, chance, bases):
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _overwrite(data, chance, bases):
    for _ in range(chance.choice((1, 2, 8))):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)


def _truncate(data, chance, bases):
    del data[chance.randrange(len(data) + 1) :]


def _splice(data, chance, bases):
    other = chance.choice(bases)[1]
    data[chance.randrange(len(data) + 1) :] = other[chance.randrange(len(other)) :]


def _duplicate(data, chance, bases):
    start = chance.randrange(len(data) + 1)
    piece = data[start : start + chance.choice((4, 12, 64, 512))]
    at = chance.choice((start, chance.randrange(len(data) + 1)))
    data[at:at] = bytes(piece) * chance.choice((1, 1, 2, 50))


def _remove(data, chance, bases):
    start = chance.randrange(len(data) + 1)
    del data[start : start + chance.choice((1, 2, 4, 12, 64))]


def _header(data, chance, bases):
    """Writes an extreme number over a field of the first bytes (or of any, since TIFF keeps its header at the end)."""
    for _ in range(chance.choice((1, 1, 2))):
        kind = chance.choice(("<H", ">H", "<L", ">L", "B"))
        width = struct.calcsize(kind)
        value = chance.choice((*EDGES, chance.getrandbits(32))) & ((1 << 8 * width) - 1)
        if len(data) > width:
            at = chance.randrange(min(chance.choice((32, 64, 256, len(data))), len(data) - width))
            data[at : at + width] = struct.pack(kind, value)


def _blank(data, chance, bases):
    start = chance.randrange(len(data) + 1)
    stop = min(len(data), start + chance.choice((4, 16, 256)))
    data[start:stop] = bytes((chance.choice((0, 0xFF)),)) * (stop - start)


_DAMAGES = (_flip, _overwrite, _truncate, _splice, _duplicate, _remove, _header, _header, _blank)


def all_bases(folders: list[str]) -> list[tuple[str, bytes]]:
    import made

    bases = sorted(made.files().items())
    for folder in folders:
        paths = sorted(p for p in Path(folder).rglob("*") if p.is_file())
        bases += [(p.name, p.read_bytes()) for p in paths if p.stat().st_size <= 32 << 10 and "LICENSE" not in p.name]
    return bases


def limit_memory() -> None:
    limit = status("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def status(name: str) -> int:
    """This process's VmSize (mapped now) or VmHWM (most ever in memory), in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def main() -> None:
    seed, first, count = map(int, sys.argv[1:4])
    progress = Path(sys.argv[4])
    from eyespot.errors import PictureError
    from eyespot.image.decode import decode

    warnings.simplefilter("error")
    bases = all_bases(sys.argv[5:])
    for _, base in bases:  # maps every codec's library
        with contextlib.suppress(PictureError):
            decode(base, max_pixels=PIXELS)
    limit_memory()
    outcomes: Counter[str] = Counter()
    wrong, slowest = [], (0.0, "")
    with progress.open("w") as file:
        for number in range(first, first + count):
            name, data = mutation(seed, number, bases)
            file.seek(0)
            file.write(f"{number:8d} {name:60s}")
            file.flush()
            faulthandler.dump_traceback_later(STUCK, exit=True)
            start = time.process_time()
            try:
                picture = decode(data, at_least=(16, 16) if number % 2 else None, max_pixels=PIXELS)
                outcomes["picture"] += 1
                if picture.mode != "RGB" or picture.width * picture.height > PIXELS or min(picture.size) < 1:
                    wrong.append(f"{number} {name}: {picture.mode} {picture.size}")
            except PictureError as error:
                outcomes["memory" if "more memory" in str(error) else "refused"] += 1
                if "\n" in str(error) or len(str(error)) > 400:
                    wrong.append(f"{number} {name}: not one short line: {str(error)[:200]!r}")
            except BaseException as error:
                wrong.append(f"{number} {name}: {type(error).__name__}: {error}")
            taken = time.process_time() - start
            slowest = max(slowest, (taken, f"{number} {name}"))
            if taken > SECONDS:
                wrong.append(f"{number} {name}: {taken:.1f} s")
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"outcomes": outcomes, "wrong": wrong, "slowest": slowest, "peak_mb": status("VmHWM") >> 20}))


if __name__ == "__main__":
    main()
