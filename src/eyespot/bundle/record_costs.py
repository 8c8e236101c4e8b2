"""Writes ``costs.json``, what every network of the catalogue costs, anew:  python -m eyespot.bundle.record_costs"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eyespot.arch.catalogue import draw
from eyespot.arch.variant import Size
from eyespot.bundle.costs import deployed, key, moving
from eyespot.bundle.listing import wanted_costs


def record(wanted: Iterable[tuple[str, Mapping[str, Any], Size]]) -> dict[str, dict[str, Any]]:
    """The record as it should be, drawn afresh, for these variants, arguments and sizes."""
    rows: dict[str, dict[str, Any]] = {}
    for name, arguments, size in wanted:
        row = rows.setdefault(name, {})
        row.setdefault("digest", draw(name).digest)
        where = key(arguments, size)
        if where not in row:
            drawn = deployed(draw(name, {**moving(arguments), "size": size}))
            row[where] = [drawn.parameters, drawn.macs, drawn.peak_activation_bytes]
    return rows


def main() -> None:
    """Writes the file, one variant a line."""
    rows = record(wanted_costs())
    lines = [f" {json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in rows.items()]
    Path(__file__).with_name("costs.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    sys.stdout.write(f"wrote the costs of {len(rows)} variants\n")


if __name__ == "__main__":
    main()
