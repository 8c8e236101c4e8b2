"""A download that breaks off goes on where it stopped, with the same file or not at all."""

import hashlib
import os

import pytest

from eyespot.bundle import connection
from eyespot.bundle.fetch import fetch_file
from eyespot.errors import FetchError, HashMismatch

BODY = bytes(range(256)) * 400
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def get(server, tmp_path):
    """Fetches /f into tmp_path/f, its unfinished part beside it."""
    server.files["/f"] = BODY

    def get(sha256=DIGEST, **options):
        return fetch_file(f"{server.url}/f", tmp_path / "f", sha256=sha256, part=tmp_path / "f.part", **options)

    return get


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def begun(server, get, count=30_000, sha256=DIGEST):
    """A part of so many bytes: the connection broke off, and the next one brought nothing."""
    server.faults["/f"] = [f"cut {count}", "cut 0"]
    with pytest.raises(FetchError, match="broke off after 30,000 of 102,400 bytes; what came is kept, run it again"):
        get(sha256)


def test_goes_on_within_one_call(server, get, tmp_path):
    server.faults["/f"] = ["cut 30000", "cut 30000"]
    steps = []
    assert get(watch=lambda *step: steps.append(step)).read_bytes() == BODY
    assert names(tmp_path) == ["f"]
    assert [h.get("Range") for h in server.requests("/f")] == [None, "bytes=30000-", "bytes=60000-"]
    assert all(total == len(BODY) for _, total in steps)
    counts = [count for count, _ in steps]
    assert counts == sorted(counts)
    assert counts[-1] == len(BODY)


def test_goes_on_in_the_next_call(server, get, tmp_path):
    begun(server, get)
    assert names(tmp_path) == ["f.part", "f.part.json"]
    server.seen.clear()
    assert get().read_bytes() == BODY
    (headers,) = server.requests("/f")
    assert headers["Range"] == "bytes=30000-"
    assert headers["If-Range"] == f'"{DIGEST[:16]}"'
    assert names(tmp_path) == ["f"]


def test_a_file_that_changed_meanwhile_is_begun_anew(server, get, tmp_path):
    begun(server, get)
    other = BODY[::-1]
    server.files["/f"] = other
    assert get(hashlib.sha256(other).hexdigest()).read_bytes() == other
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("fault", ["ignore range", "wrong piece", "no length"])
def test_servers_that_know_no_ranges(server, get, fault, tmp_path):
    begun(server, get)
    server.faults["/f"] = [fault]
    assert get().read_bytes() == BODY
    assert names(tmp_path) == ["f"]


def test_without_a_validator_nothing_is_resumed(server, get, tmp_path):
    server.faults["/f"] = ["no validator", "cut 0"]
    (tmp_path / "f.part").write_bytes(b"somebody's")
    assert get().read_bytes() == BODY
    assert "Range" not in server.requests("/f")[0]


def test_a_part_that_is_longer_than_the_file(server, get, tmp_path):
    begun(server, get)
    with (tmp_path / "f.part").open("ab") as part:
        part.write(BODY)
    assert get().read_bytes() == BODY


def test_a_damaged_part_is_found_and_removed(server, get, tmp_path):
    begun(server, get)
    with (tmp_path / "f.part").open("r+b") as part:
        part.write(b"xx")
    with pytest.raises(HashMismatch, match="it was removed: try again"):
        get()
    assert names(tmp_path) == []
    assert get().read_bytes() == BODY


def test_first_digits_and_no_digits(get, tmp_path):
    assert get(DIGEST[:8]).read_bytes() == BODY
    assert get("").read_bytes() == BODY
    with pytest.raises(HashMismatch, match=r"00000000… was promised"):
        get("00000000")
    assert names(tmp_path) == ["f"], "the good one from before"


def test_a_stall_ends(server, get, monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "TIMEOUT_SECONDS", 0.3)
    server.faults["/f"] = ["stall", "stall", "cut 0"]
    with pytest.raises(FetchError, match="broke off after 2,000 of 102,400 bytes") as caught:
        get()
    assert "\n" not in str(caught.value)
    server.faults["/f"] = ["stall"] * 9
    with pytest.raises(FetchError, match=r"nothing came for 0.3 seconds"):
        get()
    assert (tmp_path / "f.part").stat().st_size == 7000
    server.stop.set()


def test_packed_bodies_are_refused(server, get):
    server.faults["/f"] = ["packed"]
    with pytest.raises(FetchError, match="packed"):
        get()


def test_too_large_keeps_nothing(server, get, tmp_path):
    with pytest.raises(FetchError, match="more than 0 MB"):
        get(limit=1000)
    server.faults["/f"] = ["no length"]
    with pytest.raises(FetchError, match="more than 0 MB"):
        get(limit=1000)
    assert names(tmp_path) == []


def test_no_room(server, get, monkeypatch, tmp_path):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(FetchError, match=r"needs 0.1 MB, its disk has 0.0 MB left; make room"):
        get()
    assert "f" not in names(tmp_path)


def test_a_disk_that_fills_up_is_not_left_full(server, get, monkeypatch, tmp_path):
    import errno

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    begun(server, get)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FetchError, match=r"No space left on device; nothing was kept"):
        get()
    assert names(tmp_path) == []


def test_redirects(server, get, tmp_path):
    server.files["/g"] = BODY
    server.faults["/f"] = ["to /g"]
    assert get().read_bytes() == BODY
    server.faults["/f"] = ["to /f"] * 20
    with pytest.raises(FetchError, match=r"302|redirect"):
        get()
    server.faults["/f"] = ["to ftp://127.0.0.1/f"]
    with pytest.raises(FetchError, match="not allowed"):
        get()


def test_no_way_out_of_https():
    from email.message import Message
    from urllib.request import Request

    request = Request("https://example.org/f")
    handler = connection._Redirects()
    with pytest.raises(FetchError, match="https to http"):
        handler.redirect_request(request, None, 302, "Found", Message(), "http://example.org/f")
    assert handler.redirect_request(request, None, 302, "Found", Message(), "https://cdn.example.org/f")


def test_the_hub_says_the_hash(server, tmp_path):
    server.files["/cdn/google/net/model.safetensors"] = BODY
    path = "/google/net/resolve/main/model.safetensors"
    assert fetch_file(server.url + path, tmp_path / "f", sha256="").read_bytes() == BODY
    server.faults[path] = ["announce another"]
    with pytest.raises(HashMismatch, match="000000000000… was promised"):
        fetch_file(server.url + path, tmp_path / "g", sha256="")
    assert names(tmp_path) == ["f"]
