"""docs/counts.md lists every published figure that is not ours.

After a change write its table anew:  python tests/arch/test_differing.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from test_published import ROWS, counted, deployed

from eyespot.arch.catalogue import draw
from eyespot.arch.variant import Published
from eyespot.core.cost import cost

PAGE = Path(__file__).parents[2] / "docs" / "counts.md"
TABLE = re.compile(r"(?<=\n\n)\| network \|.*?\n(?=\n)", re.DOTALL)


def line(row: Published) -> str:
    graph = draw(row.variant, {"size": row.size})
    ours = counted(graph, row) if row.parameters else cost(deployed(graph, row)).macs
    what = f"{row.parameters} parameters" if row.parameters else f"{row.macs} MACs"
    return f"| `{row.variant}` | {row.size} | {row.source} | {what} | {ours:,} | {row.differs} |"


def table() -> str:
    head = "| network | input | source | published | counted here | why |\n|---|---|---|---|---|---|\n"
    return head + "".join(f"{line(row)}\n" for row in ROWS if row.differs)


def test_the_page_lists_them_all():
    page = PAGE.read_text(encoding="utf-8")
    assert TABLE.findall(page) == [table()]
    (same, differing) = re.search(r"(\d+) published figures are ours\D+ (\d+) that are not", page).groups()
    assert int(differing) == sum(bool(row.differs) for row in ROWS)
    assert int(same) == sum(bool(figure) for row in ROWS if not row.differs for figure in (row.parameters, row.macs))


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {sum(bool(row.differs) for row in ROWS)} rows to {PAGE.name}", file=sys.stderr)
