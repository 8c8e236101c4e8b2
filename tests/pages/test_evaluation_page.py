"""The page: well-formed, on its own, with the figures of the JSON, and safe from every name that comes from outside."""

import json
import re
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from conftest import make_pictures
from evaluations import evaluation
from eyespot.accuracy.dataset import examples
from eyespot.accuracy.evaluation import evaluate
from eyespot.accuracy.mistakes import worst
from eyespot.core.labels import Labels
from eyespot.errors import UsageError
from eyespot.pages import tables
from eyespot.pages.about import about
from eyespot.pages.evaluation_page import check_page, page, write_page
from eyespot.pages.views import SIDE, View, overlay, views
from eyespot.run.many import Failure
from eyespot.run.predict import Model

VOID = {"meta", "img", "br"}
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\u202egpj.\udcff\x00"


class Reader(HTMLParser):
    """Reads a page strictly: every tag closed in its order, no id twice. Keeps its figures and what it refers to."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tags, self.figures, self.sections = [], set(), [], {}, {}
        self.references, self.words = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes), f"an attribute twice in {tag}"
        assert not [name for name in values if name.startswith("on")]
        self.tags.append(tag)
        self.references += [values[name] for name in ("src", "href", "xlink:href") if name in values]
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"])
        if tag == "data":
            within = next((i for t, i in reversed(self.open) if t == "section"), "head")
            self.sections.setdefault(within, []).append(float(values["value"]))
            if "data-figure" in values:
                self.figures[values["data-figure"]] = float(values["value"])
        if tag not in VOID:
            self.open.append((tag, values.get("id")))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def described(**bundle):
    preprocess = {"size": [32, 32], "rule": "crop"}
    return {
        "date": "2026-11-21T06:00:00+00:00",
        "data": {"path": "leaves", "pictures": 5, "classes": 3, "digest": "d" * 64},
        "bundle": {
            "name": "m.test", "sha256": "c" * 64, "files": {"model.onnx": "f" * 64}, "labels": 3, "labels_source": "",
            "precision": "float32", "licence": "Apache-2.0", "source": "", "description": "", "parent": None,
            "preprocess": preprocess, "temperature": 1.0, "threshold": None, **bundle,
        },
        "machine": {"processor": "CPU", "architecture": "x", "cores": 1, "memory_bytes": 2**31, "system": "Linux"},
        "runtime": "onnxruntime",
        "versions": {"eyespot": "0"},
    }  # fmt: skip


def nothing(result):
    return [View(None, None, None)] * len(worst(result))


def read(result, shown=None, **bundle):
    return Reader(page(result, described(**bundle), nothing(result) if shown is None else shown))


def at(data, key):
    for part in key.split("."):
        data = data[part]
    return data


RESULTS = {
    "three classes": evaluation([[3, 0, 0], [2, 0, 0], [0, 2, 1], [0, 0, 3], [0.2, 0, 0]], [0, 0, 1, 1, 2]),
    "calibrated": evaluation(np.eye(3)[[0, 1, 2, 0]], [0, 1, 2, 1], temperature=0.3, threshold=0.9, wanted=0.5),
    "two classes": evaluation([[1, 0], [0, 2], [3, 0], [1, 1.5]], [0, 1, 1, 0], labels=Labels(("sick", "well"))),
    "many classes": evaluation(np.eye(40) * 9, np.roll(np.arange(40), 1), labels=Labels.numbered(40)),
    "all right": evaluation(np.eye(3) * 9, [0, 1, 2]),
    "all wrong": evaluation(np.eye(3) * 9, [1, 2, 0]),
    "one picture": evaluation(np.eye(3)[:1], [0]),
    "nothing": evaluation([], [], failures=[Failure("a.jpg", "a.jpg is none")]),
}


@pytest.mark.parametrize("name", RESULTS)
def test_it_is_whole_and_its_figures_are_those_of_the_json(name):
    result = RESULTS[name]
    got, data = read(result), result.to_json()
    assert "script" not in got.tags
    assert all(reference.startswith(("#", "data:image/jpeg;base64,")) for reference in got.references)
    assert got.figures
    for key, value in got.figures.items():
        assert value == at(data, key), key
    if result.pictures:
        assert {"top1", "macro.f1", "ece", "pictures"} <= got.figures.keys()
    shown = [
        row[key] for row in data["classes"] for key in ("support", "precision", "recall", "f1") if row[key] is not None
    ]
    assert got.sections.get("classes", [])[-len(shown) :] == shown
    assert ("curves" in got.ids) == (name == "two classes")
    assert ("mistakes" in got.ids) == bool(data["mistakes"])
    assert ("unreadable" in got.ids) == (name == "nothing")
    for mistake in data["mistakes"]:
        assert mistake["probability"] in got.sections["mistakes"]


def test_many_classes_show_pairs_and_the_worst_first():
    got = read(RESULTS["many classes"])
    assert "All 40 classes" in got.text
    assert "20 most frequent of" in got.text
    assert "A row for each right label" not in got.text
    assert "A row for each right label" in read(RESULTS["three classes"]).text


def test_names_from_outside_cannot_write_html():
    labels = Labels((HOSTILE, HOSTILE + "2", "c"))
    result = evaluation(
        np.eye(3)[[0, 1, 2]], [1, 0, 2], labels=labels, name=HOSTILE, names=[HOSTILE] * 3,
        failures=[Failure(HOSTILE, HOSTILE)],
    )  # fmt: skip
    facts = described(licence=HOSTILE, source=HOSTILE, description=HOSTILE, labels_source=HOSTILE)
    facts["data"]["path"] = HOSTILE
    shown = [View(Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4)))] * 2
    text = page(result, facts, shown)
    got = Reader(text)
    assert "script" not in got.tags
    assert all(reference.startswith(("#", "data:image/jpeg;base64,")) for reference in got.references)
    assert got.tags.count("img") == 6
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "<script>alert(1)</script>" in got.text
    text.encode()


def test_two_labels_of_one_name_keep_their_figures():
    result = evaluation([[1, 0], [0, 2], [3, 0]], [0, 1, 1], labels=Labels(("same", "same")))
    assert len(result.to_json()["curves"]["average_precision"]) == 2
    read(result)


@pytest.fixture
def evaluated(tiny, tmp_path):
    """(model, examples, result): pictures whose labels the model never gives first."""
    paths = make_pictures(tmp_path / "all", 6)
    with Model(tiny, threads=1) as model:
        for path in paths:
            place = tmp_path / "data" / f"class {model(path).top(10)[4].index}"
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)
        (place / "broken.jpg").write_bytes(b"no picture")
        data = examples(tmp_path / "data", tiny.labels)
        yield model, data, evaluate(model, data)


def test_the_worst_mistakes_are_shown_with_what_spoke_for_them(evaluated, tmp_path):
    model, data, result = evaluated
    facts = about(model, tmp_path / "data", data)
    write_page(tmp_path / "r.html", result, facts, model=model, data=data)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    got = Reader(text)
    assert got.tags.count("img") == 18
    assert "spoke for the label" in got.text
    assert facts["bundle"]["sha256"] in text
    assert f"{tmp_path / 'data'}/class" not in got.text.split("Worst mistakes")[1].split("Pictures that")[0]
    assert "broken.jpg" in got.text
    assert [p.name for p in tmp_path.iterdir() if "r.html" in p.name] == ["r.html"]


def test_a_picture_that_is_gone_and_a_network_without_maps(evaluated, monkeypatch):
    model, data, result = evaluated
    mistakes = worst(result)
    (first, *_) = views(model, data, mistakes)
    assert (max(first.photograph.size), first.given.size, first.right.size) == (40, (SIDE, SIDE), (SIDE, SIDE))
    monkeypatch.setattr("eyespot.pages.views.open_maps", lambda bundle: None)
    (data_place,) = {data[mistakes[0].example].path}
    broken = list(data)
    broken[mistakes[0].example] = data[0]._replace(path=data_place + ".gone")
    shown = views(model, broken, mistakes)
    assert shown[0] == View(None, None, None)
    assert shown[1].photograph is not None
    assert shown[1].given is None
    text = Reader(page(result, described(), shown)).text
    assert "no map of what it looked at" in text
    assert "cannot be read again" in text


def test_what_spoke_is_bright_and_the_rest_is_dark():
    pixels = np.full((8, 8, 3), (200, 40, 40), np.uint8)
    drawn = np.asarray(overlay(pixels, np.array([[4.0, -9.0], [-9.0, -9.0]], np.float32)))
    assert drawn.shape == (SIDE, SIDE, 3)
    assert (drawn[:60, :60] == (200, 40, 40)).all(axis=2).any()
    grey = drawn[-10, -10]
    assert grey.max() - grey.min() == 0
    assert grey.max() < 60
    assert (drawn == (255, 176, 0)).all(axis=2).any()
    silent = np.asarray(overlay(pixels, np.full((2, 2), -1.0, np.float32)))
    assert len(np.unique(silent)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("r.txt", "ends in .html"), ("r", "ends in .html"), ("none/r.html", "does not exist"), ("d.html", "is a folder")],
)
def test_a_place_where_no_page_can_be(tmp_path, name, message):
    (tmp_path / "d.html").mkdir()
    with pytest.raises(UsageError, match=message):
        check_page(tmp_path / name)


def test_what_was_there_stays_when_something_goes_wrong(evaluated, tmp_path, monkeypatch):
    model, data, result = evaluated
    (tmp_path / "r.html").write_text("old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UsageError, match=r"cannot be written: No space left"):
        write_page(tmp_path / "r.html", result, described(), model=model, data=data)
    assert (tmp_path / "r.html").read_text() == "old"
    assert not list(tmp_path.glob(".r.html*"))


def test_what_it_is_of(evaluated, tmp_path):
    model, data, _ = evaluated
    facts = json.loads(json.dumps(about(model, tmp_path, data)))
    assert facts["data"]["pictures"] == 7
    assert facts["bundle"]["files"] == dict(model.bundle.card.files)
    assert {"eyespot", "python", "numpy", "onnxruntime", "pillow"} == facts["versions"].keys()
    assert about(model, tmp_path, data[::-1])["data"]["digest"] == facts["data"]["digest"]
    assert about(model, tmp_path, data[1:])["data"]["digest"] != facts["data"]["digest"]


def contrast(first, second):
    """Of two sRGB colours, 1 to 21 (WCAG 2.2)."""
    shares = np.array([first, second]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_letters_can_be_read_on_every_colour(mode):
    """WCAG asks for 4.5 for text (4 is let pass for the matrix' numbers in the middle of the scale), 3 for drawings."""
    style = (resources.files("eyespot.pages") / "page.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[mode]
    colours = {k: tuple(bytes.fromhex(v)) for k, v in re.findall(r"--([a-z]+): #([0-9a-f]{6})", block)}
    ground = {k: np.array(v.split(), float) for k, v in re.findall(r"--(\w+-rgb): ([\d ]+)", block)}
    for letters in ("ink", "quiet"):
        for paper in ("paper", "soft"):
            assert contrast(colours[letters], colours[paper]) > 4.5, (letters, paper)
    for line in ("good", "bad"):
        assert contrast(colours[line], colours["paper"]) > 3
        for strength in np.linspace(0.12, 1, 45):
            cell = np.array(colours["paper"]) * (1 - strength) + ground[f"{line}-rgb"] * strength
            letters = "deep" if strength > tables._DEEP else "ink"
            assert contrast(colours[letters], cell) > 4, (line, strength)
