"""What was measured of candidates, by machine, in the cache as JSON lines: nothing is measured twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from eyespot import __version__
from eyespot.bundle.cache import cache_directory
from eyespot.choose.budget import Figures
from eyespot.errors import EyespotError

FORMAT = 1  # raised when older figures no longer mean the same


@dataclass(frozen=True, slots=True)
class Key:
    """All that a figure depends on. machine: its digest; graph: the drawn network's; picture: of its bytes."""

    machine: str
    graph: str
    pixels: str
    precision: str
    runtime: str
    runtime_version: str
    threads: int
    picture: str
    version: str = __version__

    @property
    def text(self) -> str:
        """The key in one word."""
        return digest({**asdict(self), "format": FORMAT})


class Kept:
    """Figures by key. fresh: what an earlier run measured is not used, what this one measures is kept."""

    def __init__(self, path: Path | None = None, *, fresh: bool = False) -> None:
        self._path = path or cache_directory() / "machine" / "choose.jsonl"
        self._figures: dict[str, Figures] = {} if fresh else _read(self._path)

    def get(self, key: Key) -> Figures | None:
        """What was measured; None when it was not."""
        return self._figures.get(key.text)

    def put(self, key: Key, figures: Figures, *, title: str) -> None:
        """Keeps it where that can be done; a cache that cannot be written costs a second the next time."""
        self._figures[key.text] = figures
        line = json.dumps({"key": key.text, "what": title, "figures": figures.to_json()}, ensure_ascii=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:  # one short write, which other processes' do not cut in two
                file.write(line.encode())
        except OSError:
            return


def digest(value: object) -> str:
    """Sixteen digits that name a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Figures]:
    """The last line of each key counts; a line cut off by a power cut is passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for line in lines:
        try:
            entry: Mapping[str, dict[str, object]] = json.loads(line)
            found[str(entry["key"])] = Figures.from_json(entry["figures"])
        except (ValueError, KeyError, TypeError, EyespotError):
            continue
    return found
