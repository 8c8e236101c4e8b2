"""Files of labels as people have them, and what is no list of labels."""

import codecs
import json

import pytest

from eyespot.bundle.label_file import read_labels
from eyespot.errors import UsageError

CATS = ("cat", "dog", "sea lion")


def labels(tmp_path, text: str | bytes, name: str = "labels.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labels(path)


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\nsea lion\n",
        "cat\r\ndog\r\nsea lion\r\n\r\n",
        codecs.BOM_UTF8 + b"cat\ndog\nsea lion\n",
        "cat\ndog\nsea lion\n".encode("utf-16"),
        "label\ncat\ndog\nsea lion\n",
        "index,label\n0,cat\n1,dog\n2,sea lion\n",
        'id;name\n2;"sea lion"\n0;"cat"\n1;dog\n',
        "0 cat\n1 dog\n2 sea lion\n",
        "1: cat\n2: dog\n3: sea lion\n",
        "cat,0\nsea lion,2\ndog,1\n",
        "names:\n  0: cat\n  1: dog\n  2: sea lion\n",
        "- cat\n- dog\n- 'sea lion'\n",
        json.dumps(["cat", "dog", "sea lion"]),
        json.dumps({"0": "cat", "2": "sea lion", "1": "dog"}),
        json.dumps({"sea lion": 2, "cat": 0, "dog": 1}),
        json.dumps({"cat": "0", "dog": "1", "sea lion": "2"}),
        json.dumps({"model_type": "resnet", "id2label": {"0": "cat", "1": "dog", "2": "sea lion"}, "label2id": {}}),
        json.dumps({"names": {"0": "cat", "1": "dog", "2": "sea lion"}}),
    ],
)
def test_every_form_gives_the_names_in_the_order_of_the_outputs(tmp_path, text):
    assert labels(tmp_path, text).names == CATS


def test_ids_stay_beside_names(tmp_path):
    for text in ("n02123045 tabby, cat\nn02110341 dalmatian\n", "n02123045\ttabby, cat\nn02110341\tdalmatian\n"):
        found = labels(tmp_path, text)
        assert (found.ids, found.names) == (("n02123045", "n02110341"), ("tabby, cat", "dalmatian"))
    keras = {"0": ["n02123045", "tabby"], "1": ["n02110341", "dalmatian"]}
    assert labels(tmp_path, json.dumps(keras)).ids == ("n02123045", "n02110341")


@pytest.mark.parametrize(
    "names",
    [
        ("class 0", "class 1"),  # eyespot's own, where nobody named the classes
        ("7", "8"),
        ("0", "1"),
        ("1 euro", "5 euro"),
        ("5, used", "7, new"),
        ("a, b", "c"),
    ],
)
def test_names_that_only_look_like_a_form_stay_as_they_are(tmp_path, names):
    assert labels(tmp_path, "\n".join(names)).names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"0": "cat", "2": "dog"}', "does not name the classes 0, 1, …"),
        ('{"cat": 0, "dog": 0}', "does not name the classes"),
        ('[["a"], 3.5]', "does not name the classes"),
        (b"caf\xe9\n", "is not UTF-8 text"),
    ],
)
def test_what_is_no_list_of_labels(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        labels(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_sets_that_eyespot_brings(tmp_path, monkeypatch):
    from pathlib import Path

    assert len(read_labels(Path("imagenet_1k"))) == 1000
    with pytest.raises(UsageError, match=r"cannot be read \(No such file.*one of imagenet_1k, cifar10"):
        read_labels(Path("imagenet"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").write_text("mine\n")
    assert read_labels(Path("cifar10")).names == ("mine",)
