"""The diagram is well-formed, stays on its page, and names what is in the network."""

import xml.etree.ElementTree as ET

import pytest

from eyespot.arch.catalogue import draw, variants
from eyespot.lower.sketch.diagram import diagram
from eyespot.lower.sketch.svg import Box, text_width

SVG = "{http://www.w3.org/2000/svg}"
ONE_OF_EACH = list({v.family: name for name, v in variants().items()}.values())


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0", "resnet50", "squeezenet_1.1", *ONE_OF_EACH])
def test_everything_stays_on_the_page(name):
    root = ET.fromstring(diagram(draw(name), name))
    page = Box(0, 0, float(root.get("width")), float(root.get("height")))
    assert page.width <= 1000
    assert page.height <= 5000
    for rect in root.iter(f"{SVG}rect"):
        box = Box(*(float(rect.get(key) or 0) for key in ("x", "y", "width", "height")))
        assert box.inside(page)
    for text in root.iter(f"{SVG}text"):
        width = 0.85 * text_width(text.text, float(text.get("font-size")))  # the estimate is on the wide side
        x = float(text.get("x")) - {"start": 0, "middle": width / 2, "end": width}[text.get("text-anchor")]
        assert Box(x, float(text.get("y")) - 8, width, 8).inside(page), text.text


def test_it_names_blocks_shapes_and_cost():
    texts = [t.text for t in ET.fromstring(diagram(draw("mobilenet_v2_1.0"), "mine")).iter(f"{SVG}text")]
    assert {"mine", "stem", "stage3.block2 – block3", "2 alike", "picture 3 × 224 × 224", "1280 × 7 × 7"} <= set(texts)
    assert {"112 × 112", "stride 2", "7 × 7", "stride 32", "dw 3×3 /2"} <= set(texts)
    assert any(text.startswith("3,504,872 parameters · 301 M MACs") for text in texts)


def test_a_shortcut_is_an_arc_and_a_plain_stack_has_none():
    def arcs(name):
        root = ET.fromstring(diagram(draw(name), name))
        return sum("C" in path.get("d") for path in root.iter(f"{SVG}path"))

    assert arcs("mobilenet_v2_1.0") == 5  # stages 2 to 6, the repeats of a stage drawn once
    assert arcs("mobilenet_v1_1.0") == 0


def test_a_hostile_name_is_text():
    root = ET.fromstring(diagram(draw("mobilenet_v1_0.25"), "</text><script>"))
    assert not list(root.iter(f"{SVG}script"))
