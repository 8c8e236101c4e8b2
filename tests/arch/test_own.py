"""Networks in a person's own file: drawn like the catalogue's, and every mistake in the file told in one line."""

import textwrap

import pytest

from eyespot.arch.catalogue import draw, variant
from eyespot.core.card import Card
from eyespot.core.graph import Graph
from eyespot.core.pixels import Preprocess
from eyespot.errors import BundleError, GraphError, UsageError

FILE = """
from __future__ import annotations
from dataclasses import dataclass
from eyespot import Graph, Sketch
from eyespot.arch.blocks import Style, classify, conv_norm_act

@dataclass
class Row:
    channels: int

def tiny(*, size: int = 32, classes: int = 10, widths=(8, 16), scale=1.0) -> Graph:
    s = Sketch((3, size, size))
    x = s.input
    for i, width in enumerate(widths):
        x = conv_norm_act(s, f"block{i}", x, Row(int(width * scale)).channels, Style(), kernel=3, stride=2)
    return s.graph(classify(s, x, classes, 0.0))

def plain():
    return tiny()

def needs(classes):
    return tiny(classes=classes)

def wrong():
    return {}["nothing"]

def nothing():
    pass

def too_small():
    s = Sketch((3, 1, 1))
    return s.graph(s.conv("conv", s.input, 1, kernel=3, padding="valid"))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_nets.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def test_it_is_drawn_with_its_arguments(file):
    graph = draw(f"{file}:tiny")
    assert isinstance(graph, Graph)
    assert (graph.input, graph.shape("classifier")) == ((3, 32, 32), (10,))
    other = draw(f"{file}:tiny", {"size": 48, "classes": 3, "widths": (4, 4, 4), "scale": 2})
    assert (other.input, other.shape("classifier")) == ((3, 48, 48), (3,))
    assert other.shape("block2.act") == (8, 6, 6)
    assert draw(f"{file}:plain") == graph


def test_the_file_is_named_relative_to_the_working_directory(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert draw("my_nets.py:tiny") == draw(f"{file}:tiny")
    found = variant("my_nets.py:tiny")
    assert (found.name, found.family) == ("my_nets.py:tiny", "my_nets")


def test_a_changed_file_is_run_again(file):
    before = draw(f"{file}:tiny")
    file.write_text(file.read_text().replace("(8, 16)", "(8, 24)"))
    assert draw(f"{file}:tiny") != before


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        ("tinny", {}, r"no function 'tinny'; say which: .*my_nets.py:tiny"),
        ("Row", {}, "no function 'Row'"),
        ("Sketch", {}, "no function 'Sketch'"),
        ("tiny", {"depth": 2}, "takes no argument 'depth'; it takes classes, scale, size, widths"),
        ("plain", {"size": 2}, "takes no argument 'size'; it takes none"),
        ("tiny", {"size": "large"}, "size is 'large'; it must be an integer"),
        ("tiny", {"classes": -1}, "classes is -1; it must be a positive integer"),
        ("needs", {}, r"cannot be drawn: .*TypeError: .*'classes'"),
        ("wrong", {}, r"cannot be drawn: line \d+: KeyError: 'nothing'"),
        ("nothing", {}, "returns a NoneType"),
    ],
)
def test_a_mistake_is_one_line(file, function, arguments, says):
    with pytest.raises(UsageError, match=says) as caught:
        draw(f"{file}:{function}", arguments)
    assert "\n" not in str(caught.value)


def test_a_required_argument_can_be_given(file):
    assert draw(f"{file}:needs", {"classes": 4}).shape("classifier") == (4,)


def test_a_network_that_cannot_be_is_a_graph_error(file):
    with pytest.raises(GraphError, match="does not fit"):
        draw(f"{file}:too_small")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def tiny(:\n", r"cannot be run: line 1: SyntaxError"),
        ("import nothing_that_exists\n", r"line 1: ModuleNotFoundError"),
        ("x = 1\nraise SystemExit(0)\n", r"line 2: SystemExit"),
        ("x = 1\n", r"no function 'tiny'; write one that returns a Graph"),
        ("\0", r"cannot be run: "),
    ],
)
def test_a_file_that_cannot_be_run(tmp_path, text, says):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        draw(f"{path}:tiny")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        draw(f"{tmp_path / 'absent.py'}:tiny")


def test_without_a_function_the_file_says_what_it_holds(file):
    with pytest.raises(UsageError, match=r"say which: .*:tiny or .*:plain"):
        draw(str(file))


@pytest.mark.parametrize("name", ["my_nets.py:tiny", "../my_nets.py:tiny", "a/b", "a\\b"])
def test_no_card_can_name_a_file(name):
    card = Card("x", name, {}, draw("mobilenet_v1_0.25", {"size": 32}), Preprocess((32, 32)))
    with pytest.raises(BundleError, match="only a person may name a file"):
        Card.from_text(card.to_text())
