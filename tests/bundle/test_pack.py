"""Bundles go through one file and come out the same; a hostile file puts nothing anywhere."""

import json
import os
import stat
import subprocess
import sys
import zipfile

import pytest

from conftest import make_bundle
from eyespot.bundle import pack as packing
from eyespot.bundle.pack import pack, unpack
from eyespot.bundle.resolve import open_bundle, open_default
from eyespot.bundle.store import REQUIRED, read
from eyespot.errors import BundleError, EyespotError, HashMismatch, UsageError

FILES = ("card.json", *REQUIRED)


@pytest.fixture
def packed(tiny, tmp_path):
    return pack([tiny], tmp_path / "stick" / "tiny.eyespot")


@pytest.fixture
def target(tmp_path):
    """The folder to unpack into, one below another that must stay empty but for it."""
    return tmp_path / "around" / "target"


def test_round_trip(tiny, packed, target):
    (bundle,) = unpack(packed, target)
    assert bundle.path == target / "tiny.test"
    for name in FILES:
        assert (bundle.path / name).read_bytes() == (tiny.path / name).read_bytes()
    assert [p.name for p in target.iterdir()] == ["tiny.test"]
    assert [p.name for p in packed.parent.iterdir()] == ["tiny.eyespot"]


def test_several_bundles_and_the_cache(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    other = make_bundle(tmp_path / "other", name="other.test", seed=1)
    stick = pack([tiny, other], tmp_path / "stick.eyespot")
    assert [bundle.card.name for bundle in unpack(stick)] == ["tiny.test", "other.test"]
    assert open_bundle("other.test").card == other.card


def test_the_same_bundle_gives_the_same_bytes(tiny, packed, tmp_path):
    again = pack([tiny], tmp_path / "again.eyespot")
    assert again.read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("name", ["efficientnet_lite0.in1k", "efficientnet_lite0.in1k-int8", "eyelet_1.0.tiny200"])
def test_nobody_takes_the_name_of_a_known_model(name, tmp_path, monkeypatch):
    """A stick would otherwise decide what the default model answers."""
    from importlib import metadata

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(metadata, "distribution", absent)
    stick = pack([make_bundle(tmp_path / "b", name=name)], tmp_path / "stick.eyespot")
    before, said = open_default().card.name, []
    [bundle] = unpack(stick, say=said.append)
    assert bundle.card.name == bundle.path.name == f"{name}.unpacked"
    assert open_bundle(f"{name}.unpacked").card.name == f"{name}.unpacked"
    assert said == [f"{name} is the name of a built-in or published model; this one is called {name}.unpacked here"]
    assert open_default().card.name == before
    assert unpack(stick, tmp_path / "elsewhere")[0].card.name == name  # opened by its folder only


def test_names_differ_by_more_than_case(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    stick = pack([make_bundle(tmp_path / "b", name="EfficientNet_Lite0.IN1K")], tmp_path / "stick.eyespot")
    assert unpack(stick)[0].path.name == "EfficientNet_Lite0.IN1K.unpacked"


def test_places_that_are_taken(tiny, packed, target):
    with pytest.raises(UsageError, match="exists; choose another"):
        pack([tiny], packed)
    pack([tiny], packed, replace=True)
    unpack(packed, target)
    with pytest.raises(UsageError, match="already holds a bundle"):
        unpack(packed, target)
    unpack(packed, target, replace=True)
    assert [p.name for p in target.iterdir()] == ["tiny.test"]
    with pytest.raises(UsageError, match="one name"):
        pack([tiny, tiny], packed.parent / "two.eyespot")


def test_one_of_two_is_bad_and_neither_is_put_in_place(tiny, tmp_path, target):
    other = make_bundle(tmp_path / "other", name="other.test", seed=1)
    stick = pack([tiny, other], tmp_path / "stick.eyespot")
    rewritten(stick, lambda name, data: data[:-1] + b"x" if name == "other.test/labels.txt" else data)
    with pytest.raises(HashMismatch, match=r"stick.eyespot: other.test/labels.txt has sha256"):
        unpack(stick, target)
    assert list(target.iterdir()) == []


def rewritten(path, change):
    """The pack with its entries' contents changed."""
    with zipfile.ZipFile(path) as archive:
        entries = [(info, change(info.filename, archive.read(info))) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in entries:
            archive.writestr(info, data)


def added(name, data=b"harm", *, mode=stat.S_IFREG | 0o644, compress=zipfile.ZIP_STORED):
    def add(path):
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = compress
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(info, data)

    return add


def card_changed(change):
    def edit(name, data):
        if not name.endswith("card.json"):
            return data
        card = json.loads(data)
        change(card)
        return json.dumps(card).encode()

    return lambda path: rewritten(path, edit)


def encrypted(path):
    """The encryption flag set in the directory's first entry."""
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def nul_in_a_name(path):
    """Python's zipfile cuts names there."""
    added("tiny.test/x!y.txt")(path)
    path.write_bytes(path.read_bytes().replace(b"x!y.txt", b"x\0y.txt"))


def flipped(path):
    """One bit, inside the weights."""
    data = bytearray(path.read_bytes())
    data[data.index(b"weights.safetensors") + 100_000] ^= 1
    path.write_bytes(data)


def overlapping(path):
    """Three hundred entries that are all the same megabyte: 300 MB out of one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/0", bytes(1 << 20))
        first = archive.infolist()[0]
        for i in range(1, 300):
            twin = zipfile.ZipInfo(f"a/{i}")
            twin.file_size, twin.compress_size, twin.CRC = first.file_size, first.compress_size, first.CRC
            twin.header_offset = first.header_offset
            archive.filelist.append(twin)
            archive._didModify = True


HOSTILE = {
    "parent": (added("../evil"), "does not lie in a bundle's folder"),
    "parent inside": (added("tiny.test/../../evil"), "does not lie in"),
    "parent as a bundle": (added("../card.json"), "does not lie in"),
    "absolute": (added("/tmp/evil"), "does not lie in"),
    "drive": (added("C:/evil"), "does not lie in"),
    "backslash": (added("tiny.test\\..\\evil"), "does not lie in"),
    "deep": (added("tiny.test/a/b"), "does not lie in"),
    "top": (added("evil"), "does not lie in"),
    "hidden": (added("tiny.test/.bashrc"), "does not lie in"),
    "control characters": (added("tiny.test/a\x1b[2J\nb"), "does not lie in"),
    "nul": (nul_in_a_name, "does not lie in"),
    "folder": (added("tiny.test/", b"", mode=stat.S_IFDIR | 0o755), "a link, a folder"),
    "link": (added("tiny.test/link", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "is a link"),
    "device": (added("tiny.test/tape", mode=stat.S_IFCHR | 0o666), "a device"),
    "pipe": (added("tiny.test/pipe", mode=stat.S_IFIFO | 0o666), "a device"),
    "windows device": (added("tiny.test/NUL.txt"), "name of a device"),
    "windows device as a bundle": (added("con/card.json"), "name of a device"),
    "twice": (added("tiny.test/Card.json"), "is there twice"),
    "left over": (added("tiny.test/run.py"), r"do not name the same files \(run.py\)"),
    "no card": (added("other/labels.txt"), "holds no bundle"),
    "other compression": (added("tiny.test/x", compress=zipfile.ZIP_LZMA), "compressed in a way"),
    "encrypted": (encrypted, "is encrypted"),
    "bomb": (added("tiny.test/zeros", bytes(64 << 20), compress=zipfile.ZIP_DEFLATED), "would grow to 6"),
    "overlapping bomb": (overlapping, "would grow to 31"),
    "card with a path": (card_changed(lambda c: c["files"].update({"../evil": "0" * 64})), "beside its card"),
    "card of another name": (card_changed(lambda c: c.update(name="../evil")), "holds a card of"),
    "card without weights": (card_changed(lambda c: c["files"].pop("weights.safetensors")), "weights.safetensors"),
    "card that is none": (lambda p: rewritten(p, lambda n, d: b"[]" if "card" in n else d), "card.json"),
    "changed weights": (
        lambda p: rewritten(p, lambda n, d: d[:-1] + b"\x7f" if "weights" in n else d),
        r"tiny.eyespot: tiny.test/weights.safetensors has sha256",
    ),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "damaged or no pack"),
    "no zip": (lambda p: p.write_bytes(b"no zip at all"), "damaged or no pack"),
    "empty": (lambda p: p.write_bytes(b""), "damaged or no pack"),
    "flipped": (flipped, r"damaged or no pack of bundles \(Bad CRC-32"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_packs_leave_nothing(packed, target, kind):
    change, message = HOSTILE[kind]
    change(packed)
    before = {p: p.stat().st_mtime_ns for p in packed.parent.rglob("*")}
    with pytest.raises(EyespotError, match=message) as caught:
        unpack(packed, target)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400
    left = [p for p in target.parent.rglob("*") if p != target] if target.parent.exists() else []
    assert left == []
    assert {p: p.stat().st_mtime_ns for p in packed.parent.rglob("*")} == before


def test_more_than_the_card_promises(packed, target, monkeypatch):
    monkeypatch.setattr(packing, "_BESIDES_WEIGHTS", 0)
    added("tiny.test/more.bin", os.urandom(3 << 20))(packed)
    card_changed(lambda card: card["files"].update({"more.bin": "0" * 64}))(packed)
    with pytest.raises(BundleError, match="parameters need less than"):
        unpack(packed, target)


def test_too_many_entries(packed, target, monkeypatch):
    monkeypatch.setattr(packing, "_MAX_ENTRIES", 4)
    with pytest.raises(BundleError, match="has 5 entries, a pack at most 4"):
        unpack(packed, target)


def test_every_truncation_is_one_line(packed, target):
    data = packed.read_bytes()
    for cut in [*range(0, 200, 7), *range(200, len(data), max(1, len(data) // 60))]:
        packed.write_bytes(data[:cut])
        with pytest.raises(BundleError) as caught:
            unpack(packed, target)
        assert "\n" not in str(caught.value)
    assert not target.exists()


def test_no_room(packed, target, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(BundleError, match="left"):
        unpack(packed, target)
    assert list(target.iterdir()) == []


def test_commands(tiny, tmp_path):
    def eyespot(*args):
        env = {**os.environ, "EYESPOT_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "eyespot", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)

    done = eyespot("pack", tiny.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tiny.test.eyespot holds tiny.test, ")
    done = eyespot("unpack", "tiny.test.eyespot")
    assert (done.returncode, done.stderr) == (0, "")
    assert read(tmp_path / "cache" / "bundles" / "tiny.test").card == tiny.card
    (tmp_path / "x.eyespot").write_bytes(b"PK")
    for args, code in (
        (["unpack", "tiny.test.eyespot"], 2),
        (["unpack", "x.eyespot"], 1),
        (["unpack", "none.eyespot"], 2),
        (["pack", tiny.path, tiny.path], 2),
        (["pack", "no.such"], 2),
    ):
        done = eyespot(*args)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("eyespot: ")
        assert done.stderr.count("\n") == 1
