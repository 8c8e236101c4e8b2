"""Published weights reach the cache from every place they may be in, and nothing else does."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import published_cards
from eyespot.bundle.cache import cache_directory
from eyespot.bundle.published import published
from eyespot.bundle.resolve import Errand, download_place, is_here, open_bundle
from eyespot.bundle.store import read
from eyespot.errors import EyespotError, FetchError, HashMismatch, UsageError, WeightsError
from published_cards import NAME, card, entry
from terminal import on_a_terminal

DEAD = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return published_cards.weights_file(tmp_path_factory.mktemp("weights") / "w.safetensors")


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "cache"))
    for name in ("EYESPOT_MIRROR", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def publish(monkeypatch):
    def publish(**changes):
        made = card(entry(**changes))
        monkeypatch.setitem(published()._entries, NAME, entry(**changes))
        monkeypatch.setitem(published()._cards, NAME, made)
        return made

    return publish


def sha(data):
    return hashlib.sha256(data).hexdigest()


def kept():
    """Every file in the cache but locks."""
    root = cache_directory()
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.parent.name != "locks")


def test_by_url_and_whole_hash(server, weights, publish):
    server.files["/w.safetensors"] = weights
    made = publish(url=f"{server.url}/w.safetensors", sha256=sha(weights))
    assert not is_here(NAME)
    bundle = open_bundle(NAME)
    assert bundle.card.name == NAME
    assert download_place(made).read_bytes() == weights
    assert not (cache_directory() / "pins").exists(), "a published hash needs no pin"
    assert is_here(NAME)
    assert open_bundle(NAME).path == bundle.path
    assert len(server.seen) == 1


def test_from_the_hub(server, weights, publish, monkeypatch):
    server.files["/cdn/google/net/model.safetensors"] = weights
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/")
    made = publish(hub={"repo": "google/net", "file": "model.safetensors"})
    assert made.published_at == "https://huggingface.co/google/net/resolve/main/model.safetensors"
    open_bundle(NAME)
    pin = json.loads((cache_directory() / "pins" / f"{NAME}.json").read_text())
    assert pin == {"url": made.published_at, "sha256": sha(weights)}


@pytest.mark.parametrize("prefix", [True, False])
def test_what_nobody_hashed_is_pinned_and_checked_ever_after(server, weights, publish, prefix, tmp_path):
    server.files["/w.safetensors"] = weights
    made = publish(url=f"{server.url}/w.safetensors", **({"sha256_prefix": sha(weights)[:8]} if prefix else {}))
    path = open_bundle(NAME).path
    server.files["/w.safetensors"] = published_cards.weights_file(tmp_path / "other.safetensors", seed=1)
    for place in (path / "card.json", download_place(made)):
        place.unlink()
    with pytest.raises(HashMismatch, match="was promised" if prefix else r"was fetched the first time \(if the pub"):
        open_bundle(NAME)
    assert not download_place(made).exists()
    server.files["/w.safetensors"] = weights
    assert open_bundle(NAME).path == path


def test_a_kept_file_that_was_changed_is_fetched_again(server, weights, publish):
    server.files["/w.safetensors"] = weights
    made = publish(url=f"{server.url}/w.safetensors")
    path = open_bundle(NAME).path
    (path / "card.json").unlink()
    download_place(made).write_bytes(weights[:-4] + b"evil")
    open_bundle(NAME)
    assert download_place(made).read_bytes() == weights


def test_keras_md5(server, weights, publish):
    server.files["/w.safetensors"] = weights
    publish(url=f"{server.url}/w.safetensors", md5="0" * 32)
    with pytest.raises(HashMismatch, match="md5"):
        open_bundle(NAME)
    assert kept() == []
    publish(url=f"{server.url}/w.safetensors", md5=hashlib.md5(weights).hexdigest())
    assert open_bundle(NAME).card.name == NAME


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><p>Please log in to the hotel's network", b"", b"PK\x03\x04 rubbish"]
)
def test_what_is_no_weights_is_neither_kept_nor_pinned(server, weights, publish, body):
    server.files["/w.safetensors"] = body
    publish(url=f"{server.url}/w.safetensors")
    with pytest.raises(WeightsError, match="is not the weights of") as caught:
        open_bundle(NAME)
    assert "\n" not in str(caught.value)
    assert kept() == []


@pytest.mark.parametrize(
    ("faults", "hash", "message"),
    [
        (["404"], "", "answered 404"),
        ([], "0" * 64, "000000000000… was promised"),
        (["cut 1000", "cut 0"], "", "broke off after 1,000"),
    ],
)
def test_what_failed_is_said_in_one_line_with_the_way_out(server, weights, publish, faults, hash, message):
    server.files["/w.safetensors"] = weights
    server.faults["/w.safetensors"] = list(faults)
    publish(url=f"{server.url}/w.safetensors", sha256=hash)
    with pytest.raises((FetchError, HashMismatch), match=message) as caught:
        open_bundle(NAME)
    assert "\n" not in str(caught.value)
    assert [name for name in kept() if ".part" not in name] == []


def test_offline(publish):
    publish(url=f"{DEAD}/w.safetensors")
    with pytest.raises(FetchError, match=r"is this machine online\?\)\. Without a network: bring .* and pass --from"):
        open_bundle(NAME)


@pytest.mark.parametrize("place", ["127.0.0.1:9/models/w.safetensors", f"{NAME}.safetensors", "w.safetensors"])
@pytest.mark.parametrize("way", ["--from", "mirror"])
def test_folders_serve_sites_without_internet(weights, publish, tmp_path, place, way, monkeypatch):
    publish(url=f"{DEAD}/models/w.safetensors", sha256=sha(weights))
    file = tmp_path / "folder" / place
    file.parent.mkdir(parents=True)
    file.write_bytes(weights)
    if way == "mirror":
        monkeypatch.setenv("EYESPOT_MIRROR", str(tmp_path / "folder"))
        assert open_bundle(NAME).card.name == NAME
    else:
        assert open_bundle(NAME, errand=Errand(tmp_path / "folder")).card.name == NAME
    assert not (cache_directory() / "downloads").exists()


def test_a_folder_with_another_file(weights, publish, tmp_path):
    publish(url=f"{DEAD}/w.safetensors", sha256_prefix=sha(weights)[:8])
    (tmp_path / "w.safetensors").write_bytes(weights[:-1] + b"x")
    with pytest.raises(HashMismatch, match="was published"):
        open_bundle(NAME, errand=Errand(tmp_path))
    assert (tmp_path / "w.safetensors").exists(), "it is not ours to remove"
    with pytest.raises(UsageError, match="not a folder"):
        open_bundle(NAME, errand=Errand(tmp_path / "none"))


def test_a_folder_without_it(publish, tmp_path):
    publish(hub={"repo": "a/b", "file": "model.safetensors"})
    (tmp_path / "model.safetensors").write_bytes(b"whose?")
    with pytest.raises(FetchError, match=r"put them there as huggingface.co/a/b/resolve/main/model.safetensors or mob"):
        open_bundle(NAME, errand=Errand(tmp_path))


def test_a_mirror_is_asked_first_and_the_publisher_next(server, weights, publish, monkeypatch):
    monkeypatch.setenv("EYESPOT_MIRROR", f"{server.url}/mirror/")
    publish(url="http://127.0.0.1:9/models/w.safetensors", sha256=sha(weights))
    with pytest.raises(FetchError, match=r"answered 404.*; then .*is this machine online"):
        open_bundle(NAME)
    path = "/mirror/127.0.0.1%3A9/models/w.safetensors"
    assert [seen for seen, _ in server.seen] == [path]
    server.files[path] = weights
    assert open_bundle(NAME).card.name == NAME


def test_a_mirror_with_another_file_is_not_passed_over_in_silence(server, weights, publish, monkeypatch):
    monkeypatch.setenv("EYESPOT_MIRROR", f"{server.url}/mirror")
    server.files["/mirror/127.0.0.1%3A9/w.safetensors"] = b"another file"
    publish(url=f"{DEAD}/w.safetensors", sha256=sha(weights))
    with pytest.raises(HashMismatch, match="/mirror/"):
        open_bundle(NAME)
    assert kept() == []


def test_a_cache_that_cannot_be_written(weights, publish, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EYESPOT_CACHE", str(tmp_path / "file" / "cache"))
    publish(url=f"{DEAD}/w.safetensors")
    with pytest.raises(EyespotError, match="set EYESPOT_CACHE"):
        open_bundle(NAME)


# -- The command


def eyespot(*cards, args, **env):
    program = str(Path(published_cards.__file__))
    return [sys.executable, program, *args], {**os.environ, "TEST_CARDS": json.dumps(cards), **env}


def test_two_processes_fetch_the_same_bundle_at_once(server, weights):
    server.files["/w.safetensors"] = weights
    made = entry(url=f"{server.url}/w.safetensors")
    command, env = eyespot(made, args=["fetch", NAME])
    running = [subprocess.Popen(command, env=env, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    answers = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], answers
    rows = [json.loads(out) for out, _ in answers]
    assert rows[0]["path"] == rows[1]["path"]
    assert read(rows[0]["path"]).card.name == NAME
    assert len(server.requests("/w.safetensors")) == 1, "the second waits for the first"


def test_a_killed_fetch_leaves_its_part_and_no_lock(server, weights):
    server.files["/w.safetensors"] = weights
    server.faults["/w.safetensors"] = ["stall"]
    command, env = eyespot(entry(url=f"{server.url}/w.safetensors"), args=["fetch", NAME])
    running = subprocess.Popen(command, env=env, stdout=-1, stderr=-1)
    for _ in range(200):
        if any(name.endswith(".part") for name in kept()) and part_size() == 1000:
            break
        time.sleep(0.05)
    running.kill()
    running.communicate()
    assert kept() == [f"downloads/{NAME}/w.safetensors.part", f"downloads/{NAME}/w.safetensors.part.json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [h.get("Range") for h in server.requests("/w.safetensors")] == [None, "bytes=1000-"]
    assert [name for name in kept() if ".part" in name] == []


def part_size():
    return (cache_directory() / "downloads" / NAME / "w.safetensors.part").stat().st_size


def test_the_bytes_are_shown_as_they_come(server, weights):
    server.files["/w.safetensors"] = weights
    server.faults["/w.safetensors"] = ["slow"]
    command, env = eyespot(entry(url=f"{server.url}/w.safetensors"), args=["fetch", NAME])
    code, text = on_a_terminal(command, env=env)
    assert code == 0
    assert re.search(r"1\.\d MB of 1\.9 MB, [\d.]+ MB a second, 0\.\d s left", text)


def test_in_a_pipe(server, weights):
    server.files["/w.safetensors"] = weights
    command, env = eyespot(entry(url=f"{server.url}/w.safetensors"), args=["fetch", NAME, "resnet20_cifar.akamaster"])
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    good, bad = map(json.loads, done.stdout.splitlines())
    assert (good["name"], good["was_here"]) == (NAME, False)
    assert good["bytes"] == read(good["path"]).size()
    assert bad["error"].endswith("run: eyespot import FILE --name resnet20_cifar.akamaster")


def test_on_a_terminal(server, weights):
    server.files["/w.safetensors"] = weights
    command, env = eyespot(entry(url=f"{server.url}/w.safetensors"), args=["fetch", NAME])
    for words in ("is here now", "was here already"):
        code, text = on_a_terminal(command, env=env)
        assert code == 0
        assert f"{NAME} {words}" in text
    code, text = on_a_terminal([*command, "nothing.at_all"], env=env)
    assert code == 2
    assert "there is no model called 'nothing.at_all'" in text
