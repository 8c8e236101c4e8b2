"""Files that mean harm, brought by the verbs that read files: one line, nothing run, nothing written."""

import json
import os
import pickle
import shutil
import stat
import struct
import subprocess
import sys
import zipfile

import pytest

import published_cards
from published_cards import NAME, entry


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def pickle_with_a_payload(folder, canary, tiny):
    path = folder / "net.pth"
    path.write_bytes(pickle.dumps(Payload(canary), protocol=2))
    return ["import", path]


def torch_zip_with_a_payload(folder, canary, tiny):
    path = folder / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({"a": Payload(canary)}, protocol=2))
        archive.writestr("net/version", "3")
    return ["import", path]


def safetensors_header_of_2_gb(folder, canary, tiny):
    path = folder / "net.safetensors"
    path.write_bytes(struct.pack("<Q", 2 << 30) + b"{}" + bytes(100))
    return ["import", path]


def h5_with_an_external_link(folder, canary, tiny):
    h5py = pytest.importorskip("h5py")
    path = folder / "net.h5"
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink("/etc/passwd", "/")
    return ["import", path]


def card_with_paths(folder, canary, tiny):
    path = shutil.copytree(tiny.path, folder / "bundle")
    card = json.loads((path / "card.json").read_text())
    card["files"]["../../secret"] = "0" * 64
    (path / "card.json").write_text(json.dumps(card))
    return ["classify", "--model", path, folder]


def zip_bomb(folder, canary, tiny):
    path = folder / "stick.eyespot"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/card.json", bytes(64 << 20))
    return ["unpack", path]


def _zip_with(folder, info):
    path = folder / "stick.eyespot"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/card.json", "{}")
        archive.writestr(info, "harm")
    return ["unpack", path]


def zip_with_a_parent(folder, canary, tiny):
    return _zip_with(folder, f"../{canary.name}")


def zip_with_an_absolute_path(folder, canary, tiny):
    return _zip_with(folder, str(canary))


def zip_with_a_link(folder, canary, tiny):
    info = zipfile.ZipInfo("net/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return _zip_with(folder, info)


HOSTILE = (
    pickle_with_a_payload,
    torch_zip_with_a_payload,
    safetensors_header_of_2_gb,
    h5_with_an_external_link,
    card_with_paths,
    zip_bomb,
    zip_with_a_parent,
    zip_with_an_absolute_path,
    zip_with_a_link,
)


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_refused_in_one_line(tiny, tmp_path, make):
    folder, canary = tmp_path / "folder", tmp_path / "canary"
    folder.mkdir()
    arguments = make(folder, canary, tiny)
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "eyespot", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EYESPOT_CACHE": str(tmp_path / "cache")},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eyespot: ")
    assert done.stderr.count("\n") == 1
    assert not canary.exists()
    assert sorted(folder.rglob("*")) == before
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_fetched_payload_is_refused_and_removed(server, tmp_path):
    canary = tmp_path / "canary"
    server.files["/net.pth"] = pickle.dumps(Payload(canary), protocol=2)
    done = subprocess.run(
        [sys.executable, published_cards.__file__, "fetch", NAME],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "EYESPOT_CACHE": str(tmp_path / "cache"),
            "TEST_CARDS": json.dumps([entry(url=f"{server.url}/net.pth")]),
        },
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "is not the weights of" in json.loads(done.stdout)["error"]
    assert not canary.exists()
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [NAME], "but the lock"
