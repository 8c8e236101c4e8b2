"""A job's output file: whole records only, nothing twice, nothing lost, whatever was cut off."""

import csv
import json

import pytest

from eyespot.errors import UsageError
from eyespot.run import sink as sink_module
from eyespot.run.sink import Sink, SinkError

MODEL = "m.test"
NAMES = ["a.jpg", 'quo"ted.jpg', "new\nline.jpg", "com,ma.jpg", "grün 犬.jpg", "byte\udcff.jpg", "broken.png"]
NAMES += ["carriage\rreturn.jpg", "crlf\r\n", "C:\\photos\\a.jpg", " spaces ", "cafe\u0301", "café", "\u2028.jpg"]
ALL = (".jsonl", ".csv", ".parquet")


def record(image, failing={}):  # noqa: B006
    if image == "broken.png":
        return {"image": image, "error": 'broken.png is not, "really",\na picture'}
    if image in failing:
        return {"image": image, "error": f"{image} cannot be read: {failing[image]}"}
    top = [{"index": i, "id": f"n{i}", "label": f'l"{i},', "probability": 0.5} for i in range(2)]
    return {"image": image, "model": MODEL, "top": top}


def opened(path, *, version="v1", top=2, **options):
    return Sink(path, model=MODEL, version=version, top=top, **options)


def run(path, names, *, stop=None, failing={}, **options):  # noqa: B006
    """A job; ``stop`` kills it after so many records. Returns how many pictures were classified."""
    with opened(path, **options) as sink:
        count = 0
        for name in sink.left(names):
            if count == stop:
                raise KeyboardInterrupt
            sink.write(record(name, failing))
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
        assert sorted(images(cut)) == sorted(NAMES), f"cut off after {end} bytes"
        assert sorted(cut.read_bytes().splitlines()) == sorted(data.splitlines())


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_goes_on_without_repeating(tmp_path, suffix, stop):
    path = tmp_path / f"out{suffix}"
    names = [n for n in NAMES if n != "broken.png"]
    with pytest.raises(KeyboardInterrupt):
        run(path, names, stop=stop)
    assert run(path, names) == len(names) - stop
    written = [n.replace("\udcff", "\\xff") if suffix == ".parquet" else n for n in names]
    assert images(path) == written
    assert run(path, names) == 0
    assert run(path, [*names, "more.jpg"]) == 1
    assert images(path) == [*written, "more.jpg"]
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


@pytest.mark.parametrize("suffix", ALL)
def test_answers_that_are_not_certain_say_so(tmp_path, suffix):
    """A picture that could not be read is neither; a job that was stopped goes on with the same columns."""
    path = tmp_path / f"o{suffix}"
    written = [{**record("a.jpg"), "certain": False}, record("broken.png"), {**record("b.jpg"), "certain": True}]
    for part in (written[:2], written[2:]):
        with opened(path, certain=True) as sink:
            for one in part:
                sink.write(one)
    if suffix == ".csv":
        with path.open(newline="") as file:
            assert [row["certain"] for row in csv.DictReader(file)] == ["false", "", "true"]
        with pytest.raises(UsageError, match="line 1 is not"):
            opened(path)
    elif suffix == ".jsonl":
        versions = [{} if "error" in one else {"model_version": "v1"} for one in written]
        expected = [one | version for one, version in zip(written, versions, strict=True)]
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert [{key: value for key, value in line.items() if key != "folder"} for line in lines] == expected
    else:
        import pyarrow.parquet

        assert pyarrow.parquet.read_table(path)["certain"].to_pylist() == [False, None, True]


@pytest.mark.parametrize("suffix", ALL)
def test_an_image_has_one_record_however_it_is_spelled(tmp_path, monkeypatch, suffix):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"o{suffix}"
    spellings = ["photos/a.jpg", "./photos/a.jpg", "photos//a.jpg", "link/a.jpg", f"{tmp_path}/x/../photos/a.jpg"]
    assert run(path, [*spellings, "photos/b.jpg", "http://h/ü b.jpg", "http://h/%C3%BC%20b.jpg"]) == 3
    assert images(path) == ["photos/a.jpg", "photos/b.jpg", "http://h/ü b.jpg"]
    for spelling in spellings:
        assert run(path, [spelling]) == 0
    with opened(path) as sink:
        assert list(sink.left([*spellings, "b.jpg"])) == ["b.jpg"]
        assert sink.skipped == len(spellings)


@pytest.mark.parametrize("suffix", ALL)
def test_relative_paths_are_those_of_their_folder(tmp_path, monkeypatch, suffix):
    """One file of results for several folders, each of which has a 1.jpg; they may move together."""
    path = tmp_path / "all" / f"o{suffix}"
    for name in ("all/day 1", "all/day 2"):
        (tmp_path / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        assert run(path, ["1.jpg", "./2.jpg"], failing={"./2.jpg": "busy"}) == 2
    assert run(path, ["1.jpg", "../day 1/1.jpg", f"{tmp_path}/all/day 2/1.jpg"]) == 0
    monkeypatch.chdir(tmp_path)
    assert run(path, ["all/day 1/1.jpg", "all/day 1/2.jpg"]) == 1
    assert sorted(images(path)) == ["./2.jpg", "1.jpg", "1.jpg", "all/day 1/2.jpg"]
    (tmp_path / "all").rename(tmp_path / "moved")
    assert run(tmp_path / "moved" / path.name, ["moved/day 2/1.jpg", "moved/day 1/1.jpg"]) == 0


def test_images_of_a_long_job_become_eight_bytes_each(tmp_path, monkeypatch):
    monkeypatch.setattr(sink_module, "_SEEN", 3)
    assert run(tmp_path / "o.jsonl", [f"{i % 10}.jpg" for i in range(40)]) == 10


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("stop", [None, 0, 1])
def test_failures_are_tried_again_and_replaced(tmp_path, suffix, stop):
    """Whether the second run is killed or not, and with failures of other images left as they are."""
    path = tmp_path / f"o{suffix}"
    run(path, ["other.jpg", "a.jpg", "b.jpg", "c.jpg"], failing={"other.jpg": "gone", "a.jpg": "busy", "c.jpg": "cut"})
    before = path.read_bytes()
    assert run(path, ["a.jpg", "c.jpg"], failing={"a.jpg": "busy", "c.jpg": "cut"}) == 2
    if suffix != ".parquet":
        assert path.read_bytes() == before
    with opened(path) as sink:
        assert (sink.results, sink.failures) == (1, 3)
    if stop is not None:
        with pytest.raises(KeyboardInterrupt):
            run(path, ["a.jpg", "b.jpg", "c.jpg"], stop=stop, failing={"c.jpg": "odd"})
    run(path, ["a.jpg", "b.jpg", "c.jpg"], failing={"c.jpg": "odd"})
    assert sorted(images(path)) == ["a.jpg", "b.jpg", "c.jpg", "other.jpg"]
    with opened(path) as sink:
        assert (sink.results, sink.failures) == (2, 2)
    assert b"busy" not in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ALL)
def test_results_of_a_retrained_model_do_not_mix(tmp_path, suffix):
    path = tmp_path / f"o{suffix}"
    run(path, ["a.jpg"])
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"another version of m.test \(v1, this one is v2\)"):
        run(path, ["b.jpg"], version="v2")
    with pytest.raises(UsageError, match=r"begun with --top 2, not 1|with --top 1"):
        run(path, ["b.jpg"], top=1)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ALL)
def test_a_file_of_an_earlier_eyespot_goes_on_and_says_so(tmp_path, suffix):
    """It does not say which version of the model its results are of."""
    path = tmp_path / f"o{suffix}"
    old = {k: v for k, v in record("a.jpg").items() if k != "model_version"}
    if suffix == ".jsonl":
        path.write_text(json.dumps(old) + "\n")
    elif suffix == ".csv":
        ranks = "label_1,probability_1,id_1,index_1,label_2,probability_2,id_2,index_2"
        path.write_text(f"image,model,error,{ranks}\na.jpg,m.test,,x,0.5,n0,0,y,0.5,n1,1\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet

        row = {"image": "a.jpg", "model": MODEL, "error": None, "top": old["top"]}
        schema = pa.schema([("image", pa.string()), ("model", pa.string()), ("error", pa.string())])
        table = pa.Table.from_pylist([row])
        pyarrow.parquet.write_table(
            table.set_column(2, "error", pa.nulls(1, pa.string())).select([*schema.names, "top"]), path
        )
    with opened(path) as sink:
        assert (sink.results, sink.unversioned) == (1, 1)
    assert run(path, ["a.jpg", "b.jpg"]) == 1
    assert images(path) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("last", [[], ['last "one",\n of two lines.jpg']])
def test_stray_quotes_are_named_and_nothing_is_cut(tmp_path, last):
    path = tmp_path / "o.csv"
    names = [f"{i}.jpg" for i in range(9)]
    run(path, [*names, *last])
    lines = path.read_bytes().splitlines(keepends=True)
    for at in (4, 9, len(lines) - 3):
        for damage in (
            b'"' + lines[at],
            lines[at].replace(b"m.test", b'"m" test'),
            lines[at].replace(b",", b";"),
            b"\n",
        ):
            path.write_bytes(b"".join([*lines[:at], damage, *lines[at + 1 :]]))
            before = path.read_bytes()
            with pytest.raises(UsageError, match=rf"line {at + 1} is not a result"):
                run(path, ["new.jpg"])
            assert path.read_bytes() == before
    path.write_bytes(b"".join(lines)[:-1])
    assert run(path, ["new.jpg"]) == 1


def test_a_csv_that_a_spreadsheet_saved_again_goes_on(tmp_path):
    """With a byte order mark and Windows' line ends."""
    path = tmp_path / "o.csv"
    run(path, ["a.jpg", "b.jpg"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    before = path.read_bytes()
    assert run(path, ["b.jpg", "c.jpg"]) == 1
    assert path.read_bytes().startswith(before)


def test_a_stray_quote_that_opens_a_field_to_the_end_of_the_file_is_damage(tmp_path):
    """Where no other quote follows; a name of two lines whose record was cut off there is none."""
    path = tmp_path / "o.csv"
    label = {"index": 0, "id": "n0", "label": "espresso", "probability": 0.5}
    with opened(path) as sink:
        for i in range(9):
            sink.write({"image": f"{i}.jpg", "top": [label, label]})
    lines = path.read_bytes().splitlines(keepends=True)
    for at in (1, 4, 8):
        path.write_bytes(b"".join([*lines[:at], b'"', *lines[at:]]))
        before = path.read_bytes()
        with pytest.raises(UsageError, match=rf"line {at + 1} is not a result"):
            opened(path)
        assert path.read_bytes() == before
    path.write_bytes(b"".join([*lines, b'"a name of\ntwo lines.jpg']))
    with opened(path) as sink:
        assert sink.results == 9


def test_damaged_lines_of_json_are_named_and_nothing_is_cut(tmp_path):
    path = tmp_path / "o.jsonl"
    run(path, ["a.jpg", "b.jpg", "c.jpg"])
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (b"\n", lines[1][:-9] + b"\n", b'["image"]\n', b'{"image": 3}\n', b"\xff\n", b"[" * 9999 + b"\n"):
        path.write_bytes(lines[0] + damage + lines[2])
        before = path.read_bytes()
        with pytest.raises(UsageError, match=r"line 2 is not a result"):
            run(path, ["new.jpg"])
        assert path.read_bytes() == before
    path.write_bytes(b"".join(lines)[:-1])  # an editor took the last line end
    assert run(path, ["c.jpg", "new.jpg"]) == 1
    assert images(path) == ["a.jpg", "b.jpg", "c.jpg", "new.jpg"]
    path.write_bytes(b"".join(lines) + bytes(4096))  # what a power cut leaves
    assert run(path, ["c.jpg"]) == 0
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("suffix", ALL)
def test_a_job_that_wrote_nothing_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"o{suffix}"
    with pytest.raises(KeyboardInterrupt):
        run(path, ["a.jpg"], stop=0)
    run(path, [])
    assert not list(tmp_path.iterdir())


def test_parquet_is_whole_at_every_moment(tmp_path, monkeypatch):
    """Killed while its rows are written anew, the old file and the new records are both there."""
    path = tmp_path / "o.parquet"
    run(path, [f"{i}.jpg" for i in range(20)])
    monkeypatch.setattr(sink_module, "merge", lambda *args, **options: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        run(path, ["new.jpg", "3.jpg"])
    assert images(path) == [f"{i}.jpg" for i in range(20)]
    monkeypatch.undo()
    with opened(path) as sink:
        assert sink.results == 21
    assert images(path) == [*(f"{i}.jpg" for i in range(20)), "new.jpg"]


def test_a_journal_that_became_parquet_already_adds_nothing(tmp_path):
    """A kill between the rename and the removal of the journal."""
    path = tmp_path / "o.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(path, ["a.jpg", "b.jpg"], stop=1)
    journal = tmp_path / "o.parquet.partial.jsonl"
    left = journal.read_bytes()
    assert run(path, ["a.jpg", "b.jpg"]) == 1
    journal.write_bytes(left)
    assert run(path, ["a.jpg", "b.jpg", "c.jpg"]) == 1
    assert images(path) == ["b.jpg", "a.jpg", "c.jpg"]
    with pytest.raises(KeyboardInterrupt):
        run(path, ["d.jpg", "e.jpg"], stop=1)
    path.unlink()
    with pytest.raises(UsageError, match=r"unfinished records in o.parquet.partial.jsonl\) was begun with --top 2"):
        opened(path, top=1)


@pytest.mark.parametrize("kind", ["timestamp", "bytes", "other names", "cut"])
def test_foreign_parquet_is_refused(tmp_path, kind):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "o.parquet"
    run(path, ["a.jpg", "b.jpg"])
    table = pyarrow.parquet.read_table(path)
    if kind == "timestamp":
        table = table.set_column(0, "image", pa.array([datetime.datetime(2026, 1, 1)] * 2))
    elif kind == "bytes":
        table = table.append_column("more", pa.array([b"\xff"] * 2))
    elif kind == "other names":
        table = table.rename_columns(["a", "b", "c", "d", "e", "f"])
    pyarrow.parquet.write_table(table, path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not Parquet of eyespot's results"):
        opened(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ALL)
def test_a_file_that_was_replaced_before_it_was_locked_is_opened_anew(tmp_path, monkeypatch, suffix):
    """Another job ended just then, and put its rewritten file, or Parquet, in the place of the one that was opened."""
    path = tmp_path / f"o{suffix}"
    run(path, ["a.jpg"])
    locked = tmp_path / "o.parquet.partial.jsonl" if suffix == ".parquet" else path
    take, left = sink_module.take, [1]

    def taken(file, *, wait):
        if left and left.pop():
            data = locked.read_bytes()
            locked.unlink()
            locked.write_bytes(data)
        return take(file, wait=wait)

    monkeypatch.setattr(sink_module, "take", taken)
    assert run(path, ["a.jpg", "b.jpg"]) == 1
    assert images(path) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("suffix", ALL)
def test_a_link_to_the_output_stays_one(tmp_path, suffix):
    (tmp_path / "disk").mkdir()
    path = tmp_path / f"o{suffix}"
    path.symlink_to(tmp_path / "disk" / f"real{suffix}")
    run(path, ["a.jpg"], failing={"a.jpg": "busy"})
    (tmp_path / "disk" / f"real{suffix}").chmod(0o600)
    run(path, ["a.jpg", "b.jpg"])
    assert path.is_symlink()
    assert sorted(images(path)) == ["a.jpg", "b.jpg"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.txt", None, "must end in"),
        ("none/o.jsonl", None, "does not exist"),
        ("o.jsonl", b"hello\n", "line 1 is not"),
        ("o.jsonl", b"hello", "line 1 is not"),
        ("o.csv", b"hello", "line 1 is not"),
        ("o.csv", b"image,model,note", "line 1 is not"),
        ("o.jsonl", b'{"image": "a", "model": "other", "top": []}\n', "results of other"),
        ("o.jsonl", b'{"image": "a", "model": "m.test", "top": [{}]}\n', "begun with --top 1"),
        ("o.csv", b"x,y\n", "line 1 is not .* columns depend on --top, and on whether"),
        ("o.parquet", b"no parquet", "not Parquet"),
    ],
)
def test_files_that_are_not_ours_are_refused_and_kept(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        opened(path)
    if content is not None:
        assert path.read_bytes() == content


@pytest.mark.parametrize("suffix", ALL)
def test_one_job_at_a_time(tmp_path, suffix):
    with (
        opened(tmp_path / f"o{suffix}"),
        pytest.raises(UsageError, match="another eyespot"),
    ):
        opened(tmp_path / f"o{suffix}")


@pytest.mark.parametrize("suffix", ALL)
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, suffix):
    """Whole records stay, none is half there, and the job resumes when there is room again."""
    resource = pytest.importorskip("resource")
    path = tmp_path / f"o{suffix}"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    names = [f"{i:03}.jpg" for i in range(100)]
    run(path, names[:10])
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        with pytest.raises(SinkError, match="File too large; the results written so far are kept"):
            run(path, names)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "o.parquet.partial.jsonl" if suffix == ".parquet" else path).read_bytes().endswith(b"\n")
    assert 0 < run(path, names) < 90
    assert images(path) == names
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ALL)
def test_what_a_kill_left_half_written_is_removed(tmp_path, suffix):
    path = tmp_path / f"o [1]{suffix}"
    (tmp_path / f".o [1]{suffix}.abcd_123.partial").write_bytes(b"half")
    (tmp_path / f".o [1]{suffix}.20260101").write_bytes(b"a backup of somebody's")
    run(path, ["a.jpg"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".o [1]{suffix}.20260101", path.name]


def test_parquet_that_has_no_room_keeps_its_journal(tmp_path, monkeypatch):
    path = tmp_path / "o.parquet"
    run(path, ["a.jpg"])

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sink_module, "merge", full)
    with pytest.raises(SinkError, match="No space left"):
        run(path, ["b.jpg"])
    monkeypatch.undo()
    assert images(path) == ["a.jpg"]
    assert run(path, ["b.jpg"]) == 0
    assert images(path) == ["a.jpg", "b.jpg"]


def test_a_spreadsheet_computes_nothing_when_asked_to_hold_text(tmp_path):
    names = ["=1+2.jpg", "+a.jpg", "-b.jpg", "@c.jpg", "'=d.jpg", "'e.jpg", "\tf.jpg", "g.jpg"]
    path = tmp_path / "o.csv"
    assert run(path, names, escape_formulas=True) == len(names)
    cells = images(path)
    assert cells == ["'=1+2.jpg", "'+a.jpg", "'-b.jpg", "'@c.jpg", "''=d.jpg", "''e.jpg", "'\tf.jpg", "g.jpg"]
    assert run(path, names, escape_formulas=True) == 0  # it knows them again
    run(tmp_path / "plain.csv", names)
    assert images(tmp_path / "plain.csv") == names
    with pytest.raises(UsageError, match="--escape-formulas is for spreadsheets"):
        run(tmp_path / "o.jsonl", names, escape_formulas=True)
