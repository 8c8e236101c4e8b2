"""The plot: the front is right, and no label lies on another, on a point, or outside."""

import random
import re
import xml.etree.ElementTree as ET

import pytest

from eyespot.bundle.listing import listing
from eyespot.bundle.pareto import Point, front, plot, plotted
from eyespot.lower.sketch.svg import Box, text_width

SVG = "{http://www.w3.org/2000/svg}"


def points(count, seed=0):
    r = random.Random(seed)
    return [
        Point(f"net{i}.r", f"network_{i}", 224, f"family{i % 15}", int(10 ** r.uniform(7, 10)), r.uniform(50, 85))
        for i in range(count)
    ]


def test_the_front_is_what_nothing_beats():
    some = points(200)
    best = front(some)
    for p in some:
        beaten = any(q.cost <= p.cost and q.top1 >= p.top1 and q != p for q in some)
        assert (p in best) == (not beaten)
    assert [p.cost for p in best] == sorted(p.cost for p in best)


@pytest.mark.parametrize("drawn", [plotted(listing()), points(1), points(2), points(60), points(300, 1)], ids=len)
def test_labels_lie_alone(drawn):
    root = ET.fromstring(plot(drawn))
    names = {p.variant for p in front(drawn)}
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = []
    for text in root.iter(f"{SVG}text"):
        if re.sub(r" at \d+$", "", text.text) in names and text.get("font-size") == "11":
            wide = text_width(text.text, 11)
            left = float(text.get("x")) - (wide if text.get("text-anchor") == "end" else 0)
            boxes.append(Box(left, float(text.get("y")) - 9, wide, 11))
    assert len(boxes) >= 0.8 * len(front(drawn))
    page = Box(0, 0, width, height)
    for i, box in enumerate(boxes):
        assert box.inside(page)
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    assert not any(box.overlaps(Box(x - 3, y - 3, 6, 6)) for box in boxes for x, y in circles)


def test_every_point_is_drawn_with_its_name_to_point_at():
    drawn = points(40)
    tips = [t.text for t in ET.fromstring(plot(drawn)).iter(f"{SVG}title")]
    assert sum(tip.startswith("net") for tip in tips) == 40


def test_no_more_than_everything_is_right():
    near = [Point("a", "a", 224, "one", 1e6, 99.8), Point("b", "b", 224, "one", 2e6, 99.9)]
    texts = {text.text for text in ET.fromstring(plot(near)).iter(f"{SVG}text")}
    assert "100" in texts
    assert not texts & {"100.5", "101"}


def test_a_name_is_text_and_no_markup():
    hostile = Point("<script>", "<b>&", 1, "</svg>", 10**8, 70.0)
    root = ET.fromstring(plot([hostile]))
    assert {t.text for t in root.iter(f"{SVG}text")} >= {"<b>&", "</svg>"}
    assert not list(root.iter(f"{SVG}script"))
