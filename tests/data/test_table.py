"""CSVs as people have them: columns, signs between values, encodings, labels that are no classes."""

import pytest

from collections_made import fill, pack, picture
from eyespot.core.labels import Labels
from eyespot.data.check import check
from eyespot.data.source import open_source
from eyespot.errors import UsageError


def table(tmp_path, text, *, images="abcd", labels=None, **options):
    """The source of a CSV beside ``a.jpg``, ``b.jpg``, …"""
    data = text if isinstance(text, bytes) else text.encode()
    fill(tmp_path, {f"{name}.jpg": b"" for name in images} | {"x.csv": data})
    return open_source(tmp_path / "x.csv", labels=labels, **options)


def labelled(source):
    return {sample.name: source.labels.names[sample.label] for sample in source.samples}


def test_labels_are_compared_exactly_first(tmp_path):
    names = ("a", "A", "-1", "1")
    text = "file,label\na.jpg,a\nb.jpg,A\nc.jpg,-1\nd.jpg,1\n"
    expected = dict(zip(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), names, strict=True))
    assert labelled(table(tmp_path, text)) == expected
    assert labelled(table(tmp_path, text, labels=Labels(names))) == expected
    folders = fill(tmp_path / "f", {f"{name}/1.jpg": b"" for name in names})
    assert labelled(open_source(folders, labels=Labels(names))) == {f"{name}/1.jpg": name for name in names}


@pytest.mark.parametrize(("known", "asked"), [(("1", "2"), "-1"), (("a b", "A_B"), "A-b"), (("x", "y"), "X Y")])
def test_a_label_is_not_guessed(tmp_path, known, asked):
    with pytest.raises(UsageError, match="is none of the model's 2 labels"):
        table(tmp_path, f"file,label\na.jpg,{asked}\n", labels=Labels(known))


def test_two_spellings_of_which_the_model_knows_one_are_not_one_label(tmp_path):
    labels = Labels(("a", "x"))
    with pytest.raises(UsageError, match=r"line 3: expected labels that the model tells apart, got 'a' and 'A'"):
        table(tmp_path, "file,label\na.jpg,a\nb.jpg,A\nc.jpg,x\n", labels=labels)
    with pytest.raises(UsageError, match="expected classes that the model tells apart, got 'a' and 'A'"):
        open_source(fill(tmp_path / "f", {f"{name}/1.jpg": b"" for name in ("a", "A", "x")}), labels=labels)
    only = table(tmp_path, "file,label\na.jpg,A\nb.jpg,x\n", labels=labels)
    assert labelled(only) == {"a.jpg": "a", "b.jpg": "x"}


def test_spelling_does_not_matter_where_it_means_one_label(tmp_path):
    source = table(
        tmp_path, "file,label\na.jpg,grey_WOLF\nb.jpg,n1\n", labels=Labels(("Grey-wolf", "fox"), ("n0", "n1"))
    )
    assert [sample.label for sample in source.samples] == [0, 1]


def test_a_row_number_is_not_the_label(tmp_path):
    text = "index,file,label\n0,a.jpg,fox\n1,b.jpg,wolf\n"
    labels = Labels(("wolf", "fox"))
    assert [s.label for s in table(tmp_path, text, labels=labels).samples] == [1, 0]
    assert labelled(table(tmp_path, text)) == {"a.jpg": "fox", "b.jpg": "wolf"}
    assert labelled(table(tmp_path, ",file,label\n0,a.jpg,fox\n1,b.jpg,wolf\n")) == {"a.jpg": "fox", "b.jpg": "wolf"}
    with pytest.raises(
        UsageError, match=r"'1' is none of the model's 2 labels; a column of outputs' numbers is called"
    ):
        table(tmp_path, "file,label\na.jpg,1\n", labels=labels)


@pytest.mark.parametrize(
    ("head", "first", "second"),
    [
        ("filename,class", "a.jpg,x", "b.jpg,y"),
        ("image_id,label", "a,x", "b,y"),
        ("file_name,class_name", "a.jpg,x", "b.jpg,y"),
        ("Image_Path,Category", "./a.jpg,x", "sub/../b.jpg,y"),
        ("id;target", "a;x", "b;y"),
        ("fname\tlabels", "a.jpg\tx", ".\\b.jpg\ty"),
        ("image|label|width, height", "a.jpg|x|3,4", "b.jpg|y|3,4"),
        ("sep=;\nfile;label", "a.jpg;x", "b.jpg;y"),
        ("\nfile,label", "a.jpg,x", "b.jpg,y"),
        ('"file","label"', '"a.jpg","x"', '"b.jpg","y"'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_columns_signs_and_encodings(tmp_path, head, first, second, encoding, end):
    data = end.join((head, first, second, "")).encode(encoding)
    assert labelled(table(tmp_path, data)) == {"a.jpg": "x", "b.jpg": "y"}


@pytest.mark.parametrize(
    ("column", "values", "parts"),
    [
        ("split", ["train", "Val", "test", ""], ["train", "val", "test", None]),
        ("is_valid", ["True", "false", "1", "0"], ["val", "train", "val", "train"]),
        ("set", ["train", "validation", "dev", "test"], ["train", "val", "val", "test"]),
        ("fold", ["train", "train", "test", "test"], ["train", "train", "test", "test"]),
        ("set", ["base", "train", "x", "y"], [None] * 4),
    ],
)
def test_columns_that_split(tmp_path, column, values, parts):
    rows = "".join(
        f"{name}.jpg,{'xy'[i % 2]},{value}\n" for i, (name, value) in enumerate(zip("abcd", values, strict=True))
    )
    source = table(tmp_path, f"file,label,{column}\n{rows}")
    assert [sample.part for sample in source.samples] == parts
    assert {sample.group for sample in source.samples} == {None}


def test_folds_stay_together_and_that_is_said(tmp_path):
    text = "file,label,fold\na.jpg,x,0\nb.jpg,y,0\nc.jpg,x,1\nd.jpg,y,1\n"
    source = table(tmp_path, text)
    assert [sample.group for sample in source.samples] == ["0", "0", "1", "1"]
    assert "column fold" in source.notes[0]
    with_patients = table(tmp_path, "file,label,fold,group\na.jpg,x,0,p\nb.jpg,y,0,q\n")
    assert ([s.group for s in with_patients.samples], with_patients.notes) == (["p", "q"], ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.jpg,Rot, brown\nb.jpg,x\n", "line 2 has 3 values, the header names 2; put values with ','"),
        ('file,label\n"a.jpg,x\nb.jpg,y\nc.jpg,z\n', "is not valid CSV"),
        ('file,label\n"a"b.jpg,x\n', "line 2 is not valid CSV"),
        ("file,label,is_valid\na.jpg,x,maybe\n", "line 2: 'maybe' is neither true nor false"),
        ("file,label,split\na.jpg,x,train\na.jpg,x,test\n", "line 3: a.jpg is 'test', and 'train' in a line before"),
        ("file,label,label\na.jpg,x,y\n", "has the column label 2 times; name one of them otherwise"),
        ("", "has no columns; it needs file, and index or label"),
        ("file,label\n./a.jpg,x\nb/../a.jpg,y\n", r"line 3: b/../a.jpg is 'y', and 'x' in a line before"),
        ("file,label\n/home/x/gone.jpg,x\nC:\\d\\a.jpg,y\n", "listed in line 2 but not there"),
        (b"file,label\na.jpg,\xff\n", "is not UTF-8"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        table(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_names_in_two_unicode_forms_are_found(tmp_path):
    fill(
        tmp_path,
        {
            "cafe\u0301.jpg": b"",
            "caf\u00e8.jpg": b"",
            "x.csv": "file,label\ncaf\u00e9.jpg,x\ncafe\u0300.jpg,y\n".encode(),
        },
    )
    assert len(open_source(tmp_path / "x.csv")) == 2


def ages(step, count, *, each=1):
    rows = [(f"{i}.jpg", f"{20 + step * (i // each):g}") for i in range(count)]
    return {name: b"" for name, _ in rows} | {
        "x.csv": ("file,label\n" + "".join(f"{n},{a}\n" for n, a in rows)).encode()
    }


def test_a_measure_is_no_class(tmp_path):
    with pytest.raises(UsageError, match=r"the labels are 24 numbers from 20 to 51.05 for 24 images, a measure"):
        open_source(fill(tmp_path / "a", ages(1.35, 24)) / "x.csv")
    folders = {f"{i / 4}/1.jpg": b"" for i in range(9)}
    with pytest.raises(UsageError, match="a measure"):
        open_source(fill(tmp_path / "b", folders))
    (line,) = open_source(fill(tmp_path / "c", ages(0.5, 60, each=6)) / "x.csv").notes
    assert line.startswith("The labels are 10 numbers from 20 to 24.5: if they measure something")
    (line,) = open_source(fill(tmp_path / "d", ages(1, 40, each=2)) / "x.csv").notes
    assert "20 numbers from 20 to 39" in line
    for labels in (range(10), range(1, 31), ("1.0", "2.0", "3.0"), (5, 7), ("nan2", "3")):
        files = {f"{label}/{i}.jpg": b"" for label in labels for i in range(2)}
        assert open_source(pack(tmp_path / "e.zip", files)).notes == ()


def test_labels_that_are_no_single_class_are_said(tmp_path):
    labels = ["scab", "rust", "scab rust", "scab;rust", "x|y", "nan", "null", "Cat", "cat", "New York"]
    rows = "".join(f'{name}.jpg,"{label}"\n' for name, label in zip("abcdefghij", labels, strict=True))
    source = table(tmp_path, f"file,label\n{rows}", images="abcdefghij")
    assert "nan" not in source.labels.names
    assert source.skipped[0].error == "has no label in line 7 ('nan' is what pandas writes for a missing value)"
    assert source.notes == (
        "3 labels ('scab rust', 'scab;rust', 'x|y') look like several labels in one: eyespot learns one label per "
        "image.",
        "The label 'null' looks like a missing value: take these images out, or rename it.",
        "2 labels ('Cat', 'cat') differ only in case or spaces, and are classes of their own.",
    )


def test_a_csv_beside_one_folder_is_not_passed_over_in_silence(tmp_path):
    files = {
        "pictures/a.jpg": b"",
        "pictures/b.jpg": b"",
        "meta.csv": b"file,label\npictures/a.jpg,x\npictures/b.jpg,y\n",
    }
    (line,) = open_source(fill(tmp_path / "x", files)).notes
    assert line == "'meta.csv' lies beside the only class and is not read: give it, if it names the classes."
    assert labelled(open_source(tmp_path / "x" / "meta.csv")) == {"pictures/a.jpg": "x", "pictures/b.jpg": "y"}


def test_data_check_gives_advice_about_them(tmp_path):
    files = {f"train/{label}/{i}.png": picture(10 * i + len(label)) for label in ("cat", "fox") for i in range(10)}
    files |= {"test/owl/1.png": picture(1000), "train/cat/notes.txt": b"x", "test/cat|fox/1.png": picture(1001)}
    advice = check(open_source(fill(tmp_path / "x", files))).advice
    assert "The label 'cat|fox' looks like several labels in one: eyespot learns one label per image." in advice
    assert "1 file or folder left out ('train/cat/notes.txt' is no image by its name or first bytes)." in advice
    assert "2 classes have no images in train ('cat|fox'): nothing to learn from; split anew, or add images." in advice


@pytest.mark.parametrize("kind", ["folder", ".zip", ".tar"])
def test_images_are_known_by_their_first_bytes(tmp_path, kind):
    names = ("00000000", "1.jpg_large", "2.jpeg~", "3.jpg?x=1", "4.png!w", "5.001", "6.html", "7.jpg")
    files = {f"a/{name}": picture(i, format="JPEG") for i, name in enumerate(names)}
    others = {"a/readme": b"BM, a text", "a/x.nef": b"II*\0", "a/Thumbs.db": b"", "a/._7.jpg": b"", "a/y.xml": b"<a/>"}
    others |= {"a/clip": b"\0\0\0\x14ftypisom\0\0\0\0isom", "__MACOSX/a/._7.jpg": b"", ".DS_Store": b""}
    files |= {
        "b/tiff": picture(20, format="TIFF"),
        "b/bmp": picture(21, format="BMP"),
        "b/gif": picture(22, format="GIF"),
    }
    path = fill(tmp_path / "x", files | others) if kind == "folder" else pack(tmp_path / f"x{kind}", files | others)
    source = open_source(path)
    assert {sample.name for sample in source.samples} == set(files)
    assert sorted(s.name for s in source.skipped) == ["a/clip", "a/readme", "a/x.nef", "a/y.xml"]
