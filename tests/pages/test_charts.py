"""Drawings: what stands in them lies where the figures say."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from eyespot.accuracy.abstain import at_threshold, curve, for_precision
from eyespot.accuracy.calibrate import reliability
from eyespot.pages.charts import Axes, coverage_chart, curve_chart, reliability_chart, whisker
from tolerances import DRAWN


def drawing(text):
    return ElementTree.fromstring(text)


def points(path):
    return [tuple(map(float, pair.split())) for pair in re.split("[MLZ]", path.get("d")) if pair]


def of_class(root, css):
    return [element for element in root.iter() if element.get("class") == css]


def test_columns_are_as_high_as_their_accuracy():
    right = np.array([True, True, False, False])
    bins = reliability(np.array([0.95, 0.95, 0.95, 0.1]), right)
    chart, counts = (
        drawing(part) for part in reliability_chart(bins).replace("</svg><svg", "</svg>\n<svg").split("\n")
    )
    first, last = of_class(chart, "column")
    full = Axes().y(0) - Axes().y(1)
    assert float(last.get("height")) == pytest.approx(full * 2 / 3, abs=DRAWN)
    assert float(first.get("height")) == 0
    tall = [float(column.get("height")) for column in of_class(counts, "column")]
    assert (max(tall), tall[1], sum(height > 0 for height in tall)) == (48, 16, 2)


def test_a_curve_keeps_its_ends_and_its_corners():
    steps = [(0, 0), (0, 0.5), *((x / 1000, 0.5) for x in range(501)), (0.5, 1), (1, 1)]
    (path,) = of_class(drawing(curve_chart("ROC", steps, across="a", upwards="b")), "first")
    got, axes = points(path), Axes()
    assert len(got) == 5
    corners = [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    assert np.array(got) == pytest.approx(np.array([(axes.x(x), axes.y(y)) for x, y in corners]), abs=DRAWN)


def test_a_noisy_curve_of_many_points_stays_small_and_near():
    random = np.random.default_rng(0)
    y = np.abs(np.sin(np.arange(20_000) / 3000)) + random.normal(0, 1e-4, 20_000)
    steps = [(i / 20_000, float(v)) for i, v in enumerate(y)]
    (path,) = of_class(drawing(curve_chart("x", steps, [(0, 1), (1, 0)], across="a", upwards="b")), "first")
    got = np.array(points(path))
    assert len(got) < 3000
    axes = Axes()
    exact = np.array([(axes.x(a), axes.y(b)) for a, b in steps])
    assert np.abs(np.interp(exact[:, 0], got[:, 0], got[:, 1]) - exact[:, 1]).max() < 1


def test_marks_lie_on_the_curve():
    random = np.random.default_rng(0)
    sure = random.random(300).astype(np.float32)
    right = random.random(300) < sure
    chosen, stored = for_precision(sure, right, 0.8), at_threshold(sure, right, 0.5)
    root = drawing(coverage_chart(curve(sure, right), chosen=chosen, stored=stored))
    marks = [(float(c.get("cx")), float(c.get("cy"))) for c in (*of_class(root, "mark"), *of_class(root, "mark open"))]
    labels = [e.text for e in root.iter() if e.tag == "text" and e.get("text-anchor") == "end"]
    axes = Axes(min(float(text.rstrip("%")) for text in labels) / 100)
    across = [axes.x(kept.coverage) for kept in (chosen, stored)]
    assert [x for x, _ in marks] == pytest.approx(across, abs=DRAWN)
    assert marks[0][1] < marks[1][1], "the stricter is more often right, so higher"


@pytest.mark.parametrize("low", [0.0, 0.35, 0.6, 0.85, 0.95])
def test_ticks_are_few_and_round(low):
    ticks = Axes(low).ticks()
    assert 4 <= len(ticks) <= 8
    assert max(ticks) == 1
    assert min(ticks) >= low - DRAWN
    assert all(round(100 * tick, 6) == round(100 * tick) for tick in ticks)


def test_a_whisker_shows_the_interval():
    root = drawing(whisker(0.5, 0.25, 0.75))
    assert float(of_class(root, "filled")[0].get("width")) == 100
    assert [float(x) for x in re.findall(r"M([\d.]+)", of_class(root, "spread")[0].get("d"))] == [50, 150, 50]
