"""Sources: which pictures a folder, a CSV or an archive holds, what they are called, and what is left out."""

import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from collections_made import fill, pack
from eyespot.core.labels import Labels
from eyespot.data import containers
from eyespot.data.source import Sample, open_source
from eyespot.errors import PictureError, UsageError

ROWS = {"rot/1.jpg": b"a", "rot/2.PNG": b"bb", "äpfel ok/deep/x.webp": b"ccc", "scab/日本 1.jpg": b"d"}


def names(source):
    return [sample.name for sample in source.samples]


def skipped(source):
    return {s.name: s.error for s in source.skipped}


def test_folders_are_classes(tmp_path):
    root = fill(tmp_path / "my leaves", ROWS | {".hidden/1.jpg": b"", "rot/.2.jpg": b"", "README.md": b""})
    source = open_source(root)
    assert (source.kind, source.labels.names, source.labels.ids) == (
        "folder",
        ("rot", "scab", "äpfel ok"),
        ("rot", "scab", "äpfel ok"),
    )
    assert names(source) == sorted(ROWS)
    assert source.samples[0] == Sample("rot/1.jpg", 0, None, None)
    assert [source.read(s) for s in source.samples] == [ROWS[n] for n in sorted(ROWS)]
    assert source.skipped == ()
    assert source.where(source.samples[0]) == str(root / "rot" / "1.jpg")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("outer", ["", "leaves-v2/", "a/b/"])
def test_an_archive_is_the_folder(tmp_path, suffix, outer):
    whole = open_source(fill(tmp_path / "x", ROWS))
    packed = pack(
        tmp_path / f"x{suffix}",
        {outer + n: d for n, d in ROWS.items()} | {"__MACOSX/._1.jpg": b"", f"{outer}empty/": b""},
    )
    source = open_source(packed)
    assert source.kind == suffix[1:]
    assert source.labels.names == whole.labels.names
    assert names(source) == [outer + n for n in names(whole)]
    assert [s.label for s in source.samples] == [s.label for s in whole.samples]
    assert [source.read(s) for s in source.samples] == [whole.read(s) for s in whole.samples]
    assert skipped(source) == {f"{outer}empty": "is a class without pictures; it is left out"}


def test_parts(tmp_path):
    files = {
        "Train/cat/1.jpg": b"1",
        "Train/dog/1.jpg": b"2",
        "valid/cat/1.jpg": b"3",
        "test/dog/1.jpg": b"4",
        "test/5.jpg": b"5",
    }
    source = open_source(fill(tmp_path, files | {"notes/a.txt": b""}))
    assert source.labels.names == ("cat", "dog")
    assert [(s.label, s.part) for s in source.samples] == [(0, "train"), (1, "train"), (1, "test"), (0, "val")]
    assert skipped(source) == {"test/5.jpg": "lies in no class folder"}


def test_a_class_may_be_called_train(tmp_path):
    source = open_source(fill(tmp_path, {"train/1.jpg": b"", "plane/1.jpg": b"", "test tube/2.jpg": b""}))
    assert source.labels.names == ("plane", "test tube", "train")
    assert {s.part for s in source.samples} == {None}


def test_one_class_alone_and_an_empty_one(tmp_path):
    source = open_source(fill(tmp_path, {"only/1.jpg": b"", "none/": b"", "other/a.txt": b""}))
    assert source.labels.names == ("only",)
    assert skipped(source) == {
        "none": "is a class without pictures; it is left out",
        "other": "is a class without pictures; it is left out",
        "other/a.txt": "is no image by its name or first bytes",
    }


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_names_beside_the_folders(tmp_path, kind):
    files = {"train/n2/1.jpg": b"", "train/n1/1.jpg": b"", "train/n3/1.jpg": b""}
    files["classes.tsv"] = b"wordnet_id\tname\nn2\tgoldfish\r\nn1\tgrey wolf\nn9\tother\n"
    path = (
        fill(tmp_path, files) if kind == "folder" else pack(tmp_path / "x.zip", {f"x/{n}": d for n, d in files.items()})
    )
    source = open_source(path)
    assert (source.labels.names, source.labels.ids) == (("grey wolf", "goldfish", "n3"), ("n1", "n2", "n3"))
    assert source.skipped == ()
    assert open_source(path, labels=Labels(("goldfish", "wolf", "x"), ("n2", "n1", "n3"))).samples[0].label == 1
    broken = pack(tmp_path / "y.zip", files | {"classes.tsv": b"n1\t\xff"})
    with pytest.raises(UsageError, match=r"classes\.tsv cannot be read"):
        open_source(broken)


def test_names_in_two_unicode_forms_are_one_class(tmp_path):
    files = {"train/e\u0301/1.jpg": b"", "val/é/1.jpg": b""}
    assert open_source(pack(tmp_path / "x.zip", files)).labels.names == ("é",)


def test_a_folder_without_permission(tmp_path, monkeypatch):
    root = fill(tmp_path, {"a/1.jpg": b"", "b/1.jpg": b""})
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(containers.os, "scandir", refuse)
    source = open_source(root)
    assert source.labels.names == ("a",)
    assert source.skipped == (containers.Skipped("b", "cannot be read: Permission denied", lost=True),)


def test_links(tmp_path):
    fill(tmp_path / "real", {"1.jpg": b"1"})
    root = fill(tmp_path / "x", {"dog/2.jpg": b"2"})
    (root / "cat").symlink_to(tmp_path / "real")  # a class may lie elsewhere
    (root / "dog" / "loop").symlink_to(root)  # deeper links are not followed
    (root / "dog" / "gone.jpg").symlink_to(root / "nothing")
    source = open_source(root)
    assert names(source) == ["cat/1.jpg", "dog/2.jpg"]
    assert skipped(source) == {"dog/gone.jpg": "is a link to nothing"}


def test_labels_given(tmp_path):
    labels = Labels(("red fox", "Grey-Wolf", "cat"), ("n1", "n2", "n3"))
    source = open_source(fill(tmp_path, {"n3/1.jpg": b"", "Red_Fox/1.jpg": b"", "grey wolf/1.jpg": b""}), labels=labels)
    assert source.labels is labels
    assert {s.name[:3]: s.label for s in source.samples} == {"n3/": 2, "Red": 0, "gre": 1}
    with pytest.raises(UsageError, match=r"'dog' \(1 of 4 folders\) is none of the model's 3 labels"):
        open_source(fill(tmp_path, {"dog/1.jpg": b""}), labels=labels)


@pytest.mark.parametrize("place", ["csv", "folder", "zip"])
def test_a_csv(tmp_path, place):
    table = "path;class;patient;split\na.jpg;Rot, brown;p1;train\nimages/b.jpg;scab;p1;val\n"
    table += ".\\images\\c.jpg;scab;p2;\ngone.jpg;scab;;\nd.jpg;;p3;\n"
    files = {
        "labels.csv": "\ufeff".encode() + table.encode(),
        "images/a.jpg": b"1",
        "images/b.jpg": b"2",
        "images/c.jpg": b"3",
    }
    path = (
        pack(tmp_path / "x.zip", {f"top/{n}": d for n, d in files.items()})
        if place == "zip"
        else fill(tmp_path / "x", files)
    )
    source = open_source(path / "labels.csv" if place == "csv" else path, group="patient")
    assert source.kind == ("zip" if place == "zip" else "csv")
    assert source.labels.names == ("Rot, brown", "scab")
    base = "top/" if place == "zip" else ""
    assert source.samples == (
        Sample(f"{base}images/a.jpg", 0, "p1", "train"),
        Sample(f"{base}images/b.jpg", 1, "p1", "val"),
        Sample(f"{base}images/c.jpg", 1, "p2", None),
    )
    assert [source.read(s) for s in source.samples] == [b"1", b"2", b"3"]
    assert [(s.name, s.lost) for s in source.skipped] == [(f"{base}d.jpg", False), (f"{base}gone.jpg", True)]
    assert source.where(source.samples[0]) == str(
        tmp_path / ("x.zip/top" if place == "zip" else "x") / "images" / "a.jpg"
    )


def test_a_csv_of_numbers(tmp_path):
    fill(tmp_path, {"a.jpg": b"", "b.jpg": b"", "x.csv": b"file,index,group\na.jpg,10,g\nb.jpg,02,\n"})
    source = open_source(tmp_path / "x.csv")
    assert (source.labels.names, source.labels.ids) == (("class 2", "class 10"), ("2", "10"))
    assert [(s.label, s.group) for s in source.samples] == [(1, "g"), (0, None)]
    assert [s.label for s in open_source(tmp_path / "x.csv", labels=Labels.numbered(11)).samples] == [10, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"name,label\na.jpg,x\n", "columns name, label; it needs file"),
        (b"file,label\na.jpg,x\na.jpg,y\n", "line 3: a.jpg is 'y', and 'x' in a line before"),
        (b"file,label\n,x\n", "line 2 names no file"),
        (b"file,index\na.jpg,-1\n", "line 2: index '-1' is not a number from 0 on"),
        (b"file,label,part\na.jpg,x,half\n", "'half' is none of the splits"),
        (b"file,label\na.jpg,\xff\n", "is not UTF-8"),
        (b"file,label\nb.jpg,x\n", "no labelled pictures.*listed in line 2 but not there"),
        (b"file,label\na.jpg,two\x85lines\n".replace(b"\x85", b"\xc2\x85"), "signs in its name"),
        (b'file,label\n"two\nlines.jpg",x\n', "no labelled pictures .1 passed over: two lines.jpg is listed in line 3"),
        (b"", "no labelled pictures|needs file"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path, table, message):
    fill(tmp_path, {"a.jpg": b"", "x.csv": table})
    with pytest.raises(UsageError, match=message) as caught:
        open_source(tmp_path / "x.csv")
    assert "\n" not in str(caught.value)


def test_groups_by_a_pattern(tmp_path):
    root = fill(tmp_path, {"a/p1_1.jpg": b"", "a/p1_2.jpg": b"", "b/p2_1.jpg": b""})
    assert [s.group for s in open_source(root, group=r"/(p\d+)_").samples] == ["p1", "p1", "p2"]
    for pattern, message in (
        ("(", "regular expression"),
        ("p", "0 groups"),
        (r"/(p1)_", "finds nothing in 'b/p2_1.jpg'"),
    ):
        with pytest.raises(UsageError, match=message):
            open_source(root, group=pattern)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("name", ["/etc/1.jpg", "a/../../1.jpg", "..\\1.jpg", "C:\\x\\1.jpg"])
def test_an_archive_whose_names_lead_out_is_refused(tmp_path, suffix, name):
    with pytest.raises(UsageError, match="leads out of the archive"):
        open_source(pack(tmp_path / f"x{suffix}", {"a/1.jpg": b"", name: b""}))


def test_links_in_archives_are_left_out(tmp_path):
    path = pack(tmp_path / "x.tar", {"a/1.jpg": b"1"})
    with tarfile.open(path, "a") as archive:
        for name, kind in (("a/2.jpg", tarfile.SYMTYPE), ("a/3.jpg", tarfile.LNKTYPE), ("a/4.jpg", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    zipped = pack(tmp_path / "x.zip", {"a/1.jpg": b"1"})
    with zipfile.ZipFile(zipped, "a") as archive:
        link = zipfile.ZipInfo("a/2.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert [s.name for s in open_source(path).skipped] == ["a/2.jpg", "a/3.jpg", "a/4.jpg"]
    for source in (open_source(path), open_source(zipped)):
        assert names(source) == ["a/1.jpg"]
        assert "link" in source.skipped[0].error


@pytest.mark.parametrize("flag", [0, 0x800])
def test_names_in_a_zip_that_are_utf_8_without_saying_so(tmp_path, flag):
    """As macOS writes them; ä and é in two signs each there, composed in the CSV."""
    path = pack(
        tmp_path / "x.zip",
        {"A\u0308rger/cafe\u0301.jpg": b"1", "labels.csv": "file,label\nÄrger/café.jpg,x\n".encode()},
    )
    data = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(signature) + offset
        data = data[:at] + flag.to_bytes(2, "little") + data[at + 2 :]
    path.write_bytes(data)
    (sample,) = open_source(path).samples
    assert sample.name == "A\u0308rger/cafe\u0301.jpg"
    assert open_source(path).read(sample) == b"1"


def test_a_zip_in_an_old_code_page_keeps_its_names(tmp_path):
    path = pack(tmp_path / "x.zip", {"grun/1.jpg": b"1"})
    path.write_bytes(path.read_bytes().replace(b"grun", b"gr\x81n"))
    assert open_source(path).labels.names == ("grün",)


def test_limits_of_archives(tmp_path, monkeypatch):
    """A bomb is not inflated: a member counts by what it would become, and an archive by its members."""
    path = pack(tmp_path / "x.zip", {"a/1.jpg": b"1", "a/bomb.jpg": bytes(5000)}, deflate=True)
    assert path.stat().st_size < 1000
    monkeypatch.setattr(containers, "MAX_FILE_BYTES", 4000)
    source = open_source(path)
    assert names(source) == ["a/1.jpg"]
    assert source.skipped[0].lost
    monkeypatch.setattr(containers, "MAX_MEMBERS", 1)
    for archive in (path, pack(tmp_path / "x.tar", {"a/1.jpg": b"", "a/2.jpg": b""})):
        with pytest.raises(UsageError, match="more than 1 files"):
            open_source(archive)


def test_damaged_archives(tmp_path):
    """A directory that lies about a member is found when that is read, in one line."""
    path = pack(tmp_path / "x.zip", {"a/1.jpg": b"picture one", "a/2.jpg": b"picture two"})
    data = path.read_bytes()
    source = open_source(path)
    path.write_bytes(data.replace(b"picture two", b"picture 2wo"))
    assert source.read(source.samples[0]) == b"picture one"
    with pytest.raises(PictureError, match=r"x.zip/a/2.jpg cannot be read: Bad CRC"):
        source.read(source.samples[1])
    path.write_bytes(data[:10])
    with pytest.raises(PictureError, match="cannot be read"):
        source.read(source.samples[0])
    with pytest.raises(UsageError, match="not a zip that can be read"):
        open_source(path)
    tar = pack(tmp_path / "x.tar", {"a/1.jpg": bytes(1000)})
    source = open_source(tar)
    tar.write_bytes(tar.read_bytes()[:800])
    with pytest.raises(PictureError, match="has 288 bytes, its header promises 1000"):
        source.read(source.samples[0])
    (tmp_path / "y.tar").write_bytes(b"junk" * 300)
    with pytest.raises(UsageError, match="not an uncompressed tar"):
        open_source(tmp_path / "y.tar")


def test_a_locked_zip_and_a_packed_tar(tmp_path):
    path = pack(tmp_path / "x.zip", {"a/1.jpg": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match="password"):
        open_source(path)
    (tmp_path / "x.tar.gz").write_bytes(b"")
    with pytest.raises(UsageError, match="compressed tar"):
        open_source(tmp_path / "x.tar.gz")


@pytest.mark.parametrize(
    "make",
    [fill, lambda p, f: pack(p.with_suffix(".zip"), f, deflate=True), lambda p, f: pack(p.with_suffix(".tar"), f)],
)
def test_many_threads_and_forked_processes_read(tmp_path, make):
    files = {f"{'ab'[i % 2]}/{i:03}.jpg": os.urandom(500 + i) for i in range(100)}
    source = open_source(make(tmp_path / "x", files))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, source.samples * 5)) == [files[s.name] for s in source.samples] * 5
    with get_context("spawn").Pool(1) as pool:  # a source can be sent to another process
        assert pool.map(source.read, source.samples[:3]) == [files[s.name] for s in source.samples[:3]]


def test_digest(tmp_path):
    first = open_source(fill(tmp_path / "x", ROWS)).digest
    assert open_source(fill(tmp_path / "y", ROWS)).digest == first
    others = [
        open_source(fill(tmp_path / "y", {"rot/1.jpg": b"aa"})).digest,
        open_source(fill(tmp_path / "y", {"rot/3.jpg": b""})).digest,
        open_source(tmp_path / "y", group="(.)").digest,
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    ("name", "message"), [("none", "does not exist: neither"), ("a.txt", "neither a folder of class")]
)
def test_what_is_no_source(tmp_path, name, message):
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(UsageError, match=message):
        open_source(tmp_path / name)
    with pytest.raises(UsageError, match=r"no labelled pictures \(1 passed over: 1.jpg lies in no class folder\)"):
        open_source(fill(tmp_path / "flat", {"1.jpg": b""}))


def test_tiny_imagenet_lies_in_a_zip(assets):
    source = open_source(assets / "datasets" / "tiny_imagenet_200.zip")
    assert (len(source), len(source.labels), source.skipped) == (84_000, 200, ())
    assert sum(s.part == "val" for s in source.samples) == 10_000
    assert source.labels.names[source.labels.ids.index("n01443537")] == "goldfish"
    assert source.read(source.samples[-1])[8:12] == b"WEBP"
