"""``check``: counts, what stands out, what crosses classes and parts, and what is said about it."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from collections_made import fill, pack, picture
from eyespot.data.check import check
from eyespot.data.look import look_at
from eyespot.data.odd import odd_ones
from eyespot.data.source import open_source
from eyespot.errors import UsageError
from eyespot.pages.data_page import check_page, page, write_page
from eyespot.run.predict import Model


def saved(image, format="PNG"):
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def opened(number, **options):
    return Image.open(io.BytesIO(picture(number, **options)))


def sound(count=12):
    return {f"{'ab'[i % 2]}/{i}.png": picture(i) for i in range(count)}


def odd(tmp_path, files):
    return {(o.name, o.kind) for o in odd_ones(look_at(open_source(fill(tmp_path / "x", files))))}


def test_pictures_that_stand_out(tmp_path):
    dark = Image.fromarray((np.asarray(opened(50)) // 6).astype(np.uint8))
    grey_16 = Image.fromarray(np.asarray(opened(51).convert("L")).astype(np.uint16) * 100)
    files = sound() | {
        "a/blank.png": saved(Image.new("RGB", (48, 40), (90, 120, 90))),
        "a/dark.png": saved(dark),
        "a/blurred.png": saved(opened(52).filter(ImageFilter.GaussianBlur(4))),
        "a/large.png": picture(53, size=(240, 200)),
        "a/small.png": picture(54, size=(20, 16)),
        "a/long.png": picture(55, size=(120, 20)),
        "a/16 bit.png": saved(grey_16),
    }
    assert odd(tmp_path, files) == {
        ("a/blank.png", "blank"),
        ("a/dark.png", "dark"),
        ("a/blurred.png", "blurred"),
        ("a/large.png", "size"),
        ("a/small.png", "size"),
        ("a/long.png", "shape"),
    }


def test_what_is_common_does_not_stand_out(tmp_path):
    """Sizes that vary in all pictures, and soft pictures among soft ones."""
    assert odd(tmp_path / "1", sound()) == set()
    many = {f"a/{i}.png": picture(i, size=(20 + 12 * i, 20 + 9 * i)) for i in range(12)}
    assert {kind for _, kind in odd(tmp_path / "2", many)} <= {"blurred"}
    soft = {f"a/{i}.png": saved(opened(i).filter(ImageFilter.GaussianBlur(3))) for i in range(12)}
    assert odd(tmp_path / "3", soft) == set()
    few = {"a/1.png": picture(1), "a/2.png": picture(2, size=(400, 10))}
    assert odd(tmp_path / "4", few) == set()


@pytest.fixture
def faulty(tmp_path):
    files = {f"train/{'ab'[i % 2]}/{i}.png": picture(i) for i in range(14)}
    files |= {f"test/{'ab'[i % 2]}/{i}.png": picture(i) for i in range(100, 104)}
    files |= {
        "train/b/copy of 0.png": picture(0),
        "test/a/copy of 2.png": picture(2),
        "train/a/same as 4.bmp": saved(opened(4), "BMP"),
        "train/a/broken <b>.png": picture(9)[:300],
        "test/b/notes.txt": b"",
        "train/c/": b"",
    }
    return fill(tmp_path / "faulty", files)


def test_a_report(faulty):
    steps = []
    report = check(open_source(faulty, group=r"/(\d+|copy of \d+|same as \d+|broken)"), step=lambda: steps.append(1))
    data = json.loads(json.dumps(report.to_json()))
    assert data["pictures"] == len(steps) == 22
    assert data["classes"] == [
        {"label": "a", "id": "a", "pictures": 12, "train": 9, "test": 3},
        {"label": "b", "id": "b", "pictures": 10, "train": 8, "test": 2},
    ]
    assert [u["name"] for u in data["unreadable"]] == ["train/a/broken <b>.png"]
    assert [u["name"] for u in data["left_out"]] == ["test/b/notes.txt", "train/c"]
    duplicates = data["duplicates"]
    assert duplicates["exact"] == [
        ["test/a/copy of 2.png", "train/a/2.png"],
        ["train/a/0.png", "train/b/copy of 0.png"],
        ["train/a/4.png", "train/a/same as 4.bmp"],
    ]
    assert duplicates["near"] == []
    assert duplicates["across_classes"] == duplicates["exact"][1:2]
    assert duplicates["across_parts"] == duplicates["exact"][:1]
    assert data["suspicious"] is None
    assert [line.split(":")[0] for line in data["advice"]] == [
        "1 file cannot be read",
        "1 set of duplicates with several labels",
        "1 set of duplicates across the split",
        "2 files or folders left out ('test/b/notes.txt' is no image by its name or first bytes).",
    ]


def test_groups_across_the_split(tmp_path):
    rows = "file,label,patient,split\n" + "".join(
        f"{i}.png,{'ab'[i % 2]},p{i // 4},{'train' if i < 10 else 'val'}\n" for i in range(20)
    )
    files = {f"{i}.png": picture(i) for i in range(20)} | {"labels.csv": rows.encode()}
    report = check(open_source(fill(tmp_path, files), group="patient"))
    assert report.groups_across_parts == ("p2",)
    assert report.advice == ["1 group on several sides of the split: its figures flatter; keep each on one side."]


def test_one_class_and_few_pictures(tmp_path):
    report = check(open_source(fill(tmp_path, {"only one/1.png": picture(1)})))
    assert report.advice[0].startswith("There is one class only, 'only one'")
    assert "1 class has fewer than 10 pictures ('only one')" in report.advice[1]


def test_nothing_to_say_and_imbalance(tmp_path):
    assert check(open_source(fill(tmp_path / "x", sound(24)))).advice == []
    uneven = {f"{'a' if i < 10 else 'b'}/{i}.png": picture(i, size=(16, 16)) for i in range(70)}
    report = check(open_source(fill(tmp_path / "y", uneven)))
    assert report.advice == ["The largest class has 6.0 times the smallest one's pictures: weigh the classes."]


def test_nothing_can_be_decoded(tmp_path, tiny):
    source = open_source(fill(tmp_path, {"a/1.jpg": b"", "b/1.jpg": b"x"}))
    with Model(tiny, threads=1) as model:
        report = check(source, model=model)
    assert len(report.unreadable) == 2
    assert "Files that cannot be read" in page(report, {})


def test_with_a_model(tmp_path, tiny):
    source = open_source(pack(tmp_path / "x.zip", sound(30)))
    steps = []
    with Model(tiny, threads=1) as model:
        report = check(source, model=model, workers=2, step=lambda: steps.append(1))
    assert len(steps) == 60
    found = report.to_json()["suspicious"]
    assert (found["model"], found["judged"]) == ("tiny.test", 30)


def test_the_page_stands_alone(tmp_path, faulty):
    """Every name is escaped, every picture is inside, nothing is fetched; anchors lead somewhere."""
    report = check(open_source(faulty))
    write_page(tmp_path / "page.html", report)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()].count("page.html") == 1
    assert "broken &lt;b&gt;.png" in text
    assert "<b>" not in text
    for outside in ("http:", "https:", "<script", "<link", "url("):
        assert outside not in text
    assert text.count("data:image/jpeg;base64,") == 6 + 21  # three sets of two, and the contact sheets
    for target in ("unreadable", "duplicates"):
        assert f'href="#{target}"' in text
        assert f'id="{target}"' in text


def test_where_no_page_can_be(tmp_path):
    for path, message in ((tmp_path / "x.txt", "ends in .html"), (tmp_path / "none" / "x.html", "does not exist")):
        with pytest.raises(UsageError, match=message):
            check_page(path)
