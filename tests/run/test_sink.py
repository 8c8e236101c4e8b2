"""A job's output file: whole records only, nothing twice, nothing lost, whatever was cut off."""

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyespot.errors import UsageError
from eyespot.run.sink import Done, Sink, SinkError

MODEL = "m.test"
NAMES = ["a.jpg", 'quo"ted.jpg', "new\nline.jpg", "com,ma.jpg", "grün 犬.jpg", "byte\udcff.jpg", "broken.png"]


def record(image):
    if image == "broken.png":
        return {"image": image, "error": 'broken.png is not, "really",\na picture'}
    top = [{"index": i, "id": f"n{i}", "label": f'l"{i},', "probability": 0.5} for i in range(2)]
    return {"image": image, "model": MODEL, "top": top}


def run(path, names, *, stop=None):
    """A job; ``stop`` kills it after so many records. Returns how many pictures were classified."""
    with Sink(path, model=MODEL, top=2) as sink:
        count = 0
        for name in names:
            if not sink.done.take(name):
                if count == stop:
                    raise KeyboardInterrupt
                sink.write(record(name))
                count += 1
    return count


def images(path):
    if path.suffix == ".jsonl":
        return [json.loads(line)["image"] for line in path.read_bytes().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [row["image"] for row in csv.DictReader(file)]
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path)["image"].to_pylist()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_cut_off_at_every_byte(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    assert run(whole, NAMES) == len(NAMES)
    assert images(whole) == NAMES
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for end in range(len(data) + 1):
        cut.write_bytes(data[:end])
        run(cut, NAMES)
        assert cut.read_bytes() == data, f"cut off after {end} bytes"


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_goes_on_without_repeating(tmp_path, suffix, stop):
    path = tmp_path / f"out{suffix}"
    names = [n for n in NAMES if "\udcff" not in n or suffix != ".parquet"]
    with pytest.raises(KeyboardInterrupt):
        run(path, names, stop=stop)
    assert run(path, names) == len(names) - stop
    assert images(path) == names
    assert run(path, names) == 0
    assert run(path, [*names, "more.jpg"]) == 1
    assert images(path) == [*names, "more.jpg"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_csv_and_parquet_hold_the_figures(tmp_path):
    run(tmp_path / "o.csv", ["a.jpg", "broken.png"])
    with (tmp_path / "o.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["label_1"], first["probability_1"], first["id_2"], first["index_2"]) == ('l"0,', "0.5", "n1", "1")
    assert second["error"] == 'broken.png is not, "really",\na picture'
    import pyarrow.parquet

    run(tmp_path / "o.parquet", ["a.jpg", "broken.png"])
    first, second = pyarrow.parquet.read_table(tmp_path / "o.parquet").to_pylist()
    assert first["top"] == record("a.jpg")["top"]
    assert (first["error"], second["error"], second["top"]) == (None, record("broken.png")["error"], None)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_answers_that_are_not_certain_say_so(tmp_path, suffix):
    """A picture that could not be read is neither; a job that was stopped goes on with the same columns."""
    path = tmp_path / f"o{suffix}"
    written = [{**record("a.jpg"), "certain": False}, record("broken.png"), {**record("b.jpg"), "certain": True}]
    for part in (written[:2], written[2:]):
        with Sink(path, model=MODEL, top=2, certain=True) as sink:
            for one in part:
                sink.write(one)
    if suffix == ".csv":
        with path.open(newline="") as file:
            assert [row["certain"] for row in csv.DictReader(file)] == ["false", "", "true"]
        with pytest.raises(UsageError, match="line 1 is not"):
            Sink(path, model=MODEL, top=2)
    elif suffix == ".jsonl":
        assert [json.loads(line) for line in path.read_bytes().splitlines()] == written
    else:
        import pyarrow.parquet

        assert pyarrow.parquet.read_table(path)["certain"].to_pylist() == [False, None, True]


def test_a_picture_given_twice_has_two_records(tmp_path):
    path = tmp_path / "o.jsonl"
    names = ["a.jpg", "b.jpg", "a.jpg"]
    with pytest.raises(KeyboardInterrupt):
        run(path, names, stop=2)
    assert run(path, names) == 1
    assert sorted(images(path)) == ["a.jpg", "a.jpg", "b.jpg"]


def test_earlier_failures_are_counted(tmp_path):
    run(tmp_path / "o.jsonl", ["broken.png"])
    with Sink(tmp_path / "o.jsonl", model=MODEL, top=2) as sink:
        assert (sink.failed, sink.done.count) == (1, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.txt", None, "must end in"),
        ("none/o.jsonl", None, "does not exist"),
        ("o.jsonl", b"hello\n", "line 1 is not"),
        ("o.jsonl", b'{"image": "a", "model": "other", "top": []}\n', "results of other"),
        ("o.jsonl", b'{"image": "a", "model": "m.test", "top": [{}]}\n', "begun with --top 1"),
        ("o.csv", b"x,y\n", "line 1 is not"),
        ("o.parquet", b"no parquet", "not Parquet"),
    ],
)
def test_files_that_are_not_ours_are_refused_and_kept(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        Sink(path, model=MODEL, top=2)
    if content is not None:
        assert path.read_bytes() == content


def test_one_job_at_a_time(tmp_path):
    with (
        Sink(tmp_path / "o.jsonl", model=MODEL, top=2),
        pytest.raises(UsageError, match="another eyespot"),
    ):
        Sink(tmp_path / "o.jsonl", model=MODEL, top=2)


def test_a_full_disk_is_one_line():
    from pathlib import Path

    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    import os

    sink = Sink.__new__(Sink)
    sink.path, sink._format, sink._file, sink.failed = (
        Path("o.jsonl"),
        ".jsonl",
        os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb"),
        0,
    )
    with pytest.raises(SinkError, match="No space left"):
        sink.write(record("a.jpg"))
    with pytest.raises(OSError, match="No space left"):
        sink._file.close()


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), max_size=30), st.lists(st.text(max_size=3), max_size=30))
def test_done_is_a_multiset(had, asked):
    from eyespot.run.sink import _hash

    done = Done([_hash(name) for name in had])
    left = list(had)
    for name in asked:
        assert done.take(name) == (name in left)
        if name in left:
            left.remove(name)
