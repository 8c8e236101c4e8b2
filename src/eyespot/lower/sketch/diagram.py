"""A network on one page, as an SVG: a box per block with its layers from left to right, blocks from top to bottom.

Shortcuts are arcs; the maps' sizes stand at the left, shapes and cost at the right; a box is the darker the more of the
network's MACs it takes. Equal blocks that follow one another are one box with their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eyespot.core.cost import cost
from eyespot.core.graph import Graph
from eyespot.lower.sketch.outline import FROM_OUTSIDE, Block, Chip, outline
from eyespot.lower.sketch.svg import Box, Page, point, text_width

_WIDTH = 980.0
_BOX_LEFT, _BOX_WIDTH = 130.0, 640.0
_TOP = 104.0
_COLUMN, _CHIP, _ROW, _CHIP_HEIGHT = 98.0, 76.0, 44.0, 32.0
_HEADING, _ARC, _ARC_STEP, _GAP = 22.0, 18.0, 8.0, 18.0
_LINE = "#666666"
_COLOURS: Mapping[str, tuple[str, str]] = {  # kind → fill, what the legend says
    "conv": ("#cfe3f5", "convolution"),
    "depthwise": ("#cdeccd", "depthwise (dw)"),
    "linear": ("#e2d4f3", "linear"),
    "pool": ("#e4e4e4", "pooling"),
    "gate": ("#fbdcb0", "squeeze-excite (SE)"),
    "other": ("#f4f1d2", "rearranging"),
    "join": ("#ffffff", "sum"),
}


def diagram(graph: Graph, name: str) -> str:
    """The drawing of a network as it runs, titled with its name."""
    blocks = outline(graph)
    tops, heights = [], []
    y = _TOP
    for block in blocks:
        tops.append(y)
        heights.append(_height(block))
        y += heights[-1] + _GAP
    page = Page(_WIDTH, y + 34, title=name)
    _title(page, graph, name)
    total = max(sum(b.macs for b in blocks), 1)
    most = max(b.macs for b in blocks) or 1
    boxes = [Box(_BOX_LEFT, top, _BOX_WIDTH, height) for top, height in zip(tops, heights, strict=True)]
    for i, (block, box) in enumerate(zip(blocks, boxes, strict=True)):
        before = blocks[i - 1].shape if i else graph.input
        _arrow(page, box.y - _GAP, box.y)
        _stage(page, graph, before, block, box)
        _block(page, block, box, block.macs / most)
        _figures(page, block, box, block.macs / total)
        for lane, j in enumerate(block.reads):
            _far(page, boxes[j], box, lane)
    _legend(page, y + 12, blocks)
    return page.to_text()


def _height(block: Block) -> float:
    rows = max(chip.row for chip in block.chips) + 1
    return _HEADING + rows * _ROW + _arc_room(block) + 4


def _arc_room(block: Block) -> float:
    """The space above the first row that lines over its chips need."""
    highest = max((level for (*_, row), level in _arcs(block).items() if row == 0), default=0)
    return _ARC + _ARC_STEP * (highest - 1) if highest else 0.0


def _arcs(block: Block) -> dict[tuple[int, int, int], int]:
    """(from column, to column, row) → how high: lines that must pass over chips, above all that they span."""
    chips = block.chips
    found = set()
    for chip in chips:
        for source in chip.inputs:
            start, row = (-1, chip.row) if source == FROM_OUTSIDE else (chips[source].column, chips[source].row)
            if any(c.row == row and start < c.column < chip.column for c in chips):
                found.add((start, chip.column, row))
    levels: dict[tuple[int, int, int], int] = {}
    for start, end, row in sorted(found, key=lambda arc: arc[1] - arc[0]):
        under = [level for (s, e, r), level in levels.items() if r == row and start < e and s < end]
        levels[start, end, row] = max(under, default=0) + 1
    return levels


def _title(page: Page, graph: Graph, name: str) -> None:
    total = cost(graph)
    page.text(30, 36, name, size=19, bold=True)
    page.text(
        30, 58,
        f"{total.parameters:,} parameters · {_number(total.macs)} MACs · "
        f"{total.peak_activation_bytes / 1e6:.2f} MB of activations at the peak (float32)",
        fill="#555555",
    )  # fmt: skip
    page.text(_BOX_LEFT + _BOX_WIDTH / 2, _TOP - _GAP - 3, f"picture {_shape(graph.input)}", anchor="middle", size=11)


def _stage(page: Page, graph: Graph, before: tuple[int, ...], block: Block, box: Box) -> None:
    """The size of the maps, where it changes."""
    if len(block.shape) != 3 or before[1:] == block.shape[1:]:
        return
    height, width = block.shape[1:]
    page.line(30, box.y - _GAP / 2, _WIDTH - 30, box.y - _GAP / 2, stroke="#dddddd")
    page.text(30, box.y + 15, f"{height} × {width}", bold=True)
    stride = graph.input[1] / height
    if (height, width) == (1, 1):
        page.text(30, box.y + 31, "one vector", size=11, fill="#777777")
    elif stride == round(stride):
        page.text(30, box.y + 31, f"stride {stride:g}", size=11, fill="#777777")


def _block(page: Page, block: Block, box: Box, share: float) -> None:
    if block.repeats > 1:  # a stack of them
        page.rect(Box(box.x + 4, box.y + 4, box.width, box.height), fill=_shade(share), stroke="#bbbbbb", radius=6)
    page.rect(box, fill=_shade(share), stroke="#999999", radius=6)
    name = f"{block.name} – {block.last_name.rpartition('.')[2]}" if block.repeats > 1 else block.name
    page.text(box.x + 10, box.y + 15, name, size=11, fill="#444444", bold=True)
    if block.repeats > 1:
        page.text(
            box.x + 20 + 1.08 * text_width(name, 11), box.y + 15, f"{block.repeats} alike", size=11, fill="#777777"
        )
    columns = max(chip.column for chip in block.chips) + 1
    pitch = min(_COLUMN, (box.width - 60) / columns)
    spots = [_spot(block, chip, box, pitch) for chip in block.chips]
    start = (box.x + 14, spots[0].y + _CHIP_HEIGHT / 2)
    for chip, spot in zip(block.chips, spots, strict=True):
        for source in chip.inputs:
            _wire(page, block, chip, spot, start if source == FROM_OUTSIDE else None, source, spots)
    page.circle(*start, 3, fill=_LINE)
    for chip, spot in zip(block.chips, spots, strict=True):
        _chip(page, chip, spot)


def _spot(block: Block, chip: Chip, box: Box, pitch: float) -> Box:
    width = min(_CHIP, pitch - 14)
    top = box.y + _HEADING + _arc_room(block) + chip.row * _ROW + 3
    return Box(box.x + 38 + chip.column * pitch, top, width, _CHIP_HEIGHT)


def _wire(
    page: Page, block: Block, chip: Chip, spot: Box, start: tuple[float, float] | None, source: int, spots: list[Box]
) -> None:
    """A line from a chip, or from the block's entry, into a chip; over the chips in between where there are any."""
    x1, y1 = start or (_right_end(block.chips[source], spots[source]), spots[source].y + _CHIP_HEIGHT / 2)
    middle = spot.y + _CHIP_HEIGHT / 2
    round_join = chip.kind == "join"
    x2 = spot.x + (spot.width / 2 - 11 if round_join else 0)
    column, row = (-1, chip.row) if source == FROM_OUTSIDE else (block.chips[source].column, block.chips[source].row)
    level = _arcs(block).get((column, chip.column, row))
    if level is not None:
        top = y1 - _CHIP_HEIGHT / 2 - (_ARC - 5 + _ARC_STEP * (level - 1) if row == 0 else 6)
        end_x, end_y = (spot.x + spot.width / 2, middle - 11) if round_join else (spot.x + 12, spot.y)
        page.path(
            f"M{point(x1, y1)} C{point(x1 + 4, top)} {point(x1 + 8, top)} {point(x1 + 26, top)} "
            f"H{end_x - 22:.1f} C{point(end_x - 4, top)} {point(end_x, top)} {point(end_x, end_y)}",
            stroke="#b3261e", width=1.6,
        )  # fmt: skip
    elif abs(y1 - middle) < 1:
        page.line(x1, y1, x2, middle, stroke=_LINE, width=1.2)
    else:
        # Down in the gap behind the source when a branch begins, up in the gap before the join when it ends.
        turn = x1 + 7 if y1 < middle else spot.x - 7
        page.path(f"M{point(x1, y1)} H{turn:.1f} V{middle:.1f} H{x2:.1f}", stroke=_LINE, width=1.2)


def _right_end(chip: Chip, spot: Box) -> float:
    return spot.x + (spot.width / 2 + 11 if chip.kind == "join" else spot.width)


def _chip(page: Page, chip: Chip, spot: Box) -> None:
    x, y = spot.x + spot.width / 2, spot.y + _CHIP_HEIGHT / 2
    if chip.kind == "join":
        page.circle(x, y, 11, fill="#ffffff", stroke=_LINE)
        page.text(x, y + 5, chip.label, size=15, anchor="middle")
        return
    page.rect(spot, fill=_COLOURS[chip.kind][0], stroke="#8a8a8a", radius=4)
    fitting = min(11.0, 11.0 * (spot.width - 4) / text_width(chip.label, 11))
    page.text(x, y - 2 if chip.detail else y + 4, chip.label, size=fitting, anchor="middle")
    if chip.detail:
        page.text(x, y + 11, chip.detail, size=10, anchor="middle", fill="#555555")


def _figures(page: Page, block: Block, box: Box, share: float) -> None:
    x = box.x + box.width + 18
    page.text(x, box.y + 15, _shape(block.shape), bold=True)
    if block.macs:
        page.rect(Box(x, box.y + 22, 140, 5), fill="#eeeeee")
        page.rect(Box(x, box.y + 22, max(140 * share, 0.5), 5), fill="#d9822b")
        page.text(x, box.y + 42, f"{_number(block.macs)} MACs, {share:.1%}", size=11, fill="#555555")
    if block.parameters:
        page.text(x, box.y + 56, f"{_number(block.parameters)} parameters", size=11, fill="#555555")


def _far(page: Page, source: Box, target: Box, lane: int) -> None:
    """A shortcut from a block further above, at the left of the boxes."""
    x, y1, y2 = source.x, source.y + source.height - 10, target.y + 12 + 6 * lane
    out = x - 14 - 8 * lane
    page.path(f"M{point(x, y1)} C{point(out, y1)} {point(out, y2)} {point(x, y2)}", stroke="#b3261e", width=1.4)


def _arrow(page: Page, y1: float, y2: float) -> None:
    x = _BOX_LEFT + _BOX_WIDTH / 2
    page.line(x, y1 + 4, x, y2 - 4, stroke=_LINE, width=1.4)
    page.path(f"M{point(x - 4, y2 - 6)} L{point(x + 4, y2 - 6)} L{point(x, y2)} Z", fill=_LINE)


def _legend(page: Page, y: float, blocks: Sequence[Block]) -> None:
    seen = {chip.kind for block in blocks for chip in block.chips}
    x = 30.0
    for kind, (colour, meaning) in _COLOURS.items():
        if kind in seen:
            page.rect(Box(x, y, 14, 10), fill=colour, stroke="#8a8a8a", radius=2)
            page.text(x + 19, y + 9, meaning, size=11, fill="#555555")
            x += 34 + text_width(meaning, 11)
    page.text(x, y + 9, "/2: stride 2; boxes: darker with more MACs", size=11, fill="#555555")


def _shade(share: float) -> str:
    """White to light orange."""
    part = math.sqrt(share)
    return "#" + "".join(f"{round(255 + (end - 255) * part):02x}" for end in (253, 226, 188))


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _number(value: float) -> str:
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:g}"
