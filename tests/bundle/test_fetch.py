"""Fetching against a server on loopback that misbehaves in every way the real ones do."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eyespot.bundle.fetch import fetch_bytes, fetch_file
from eyespot.errors import FetchError, HashMismatch

BODY = bytes(range(256)) * 400
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
        elif self.path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path == "/file":
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[:1000])
        else:
            self.send_error(404)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["/file", "/moved"])
def test_fetches(server, tmp_path, path):
    assert fetch_bytes(server + path, limit=1 << 20) == BODY
    assert fetch_file(server + path, tmp_path / "f", sha256=DIGEST).read_bytes() == BODY


def test_the_wrong_file_is_removed(server, tmp_path):
    with pytest.raises(HashMismatch, match="was promised"):
        fetch_file(f"{server}/file", tmp_path / "f", sha256="0" * 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "message"),
    [("/missing", "404"), ("/short", "broke off after 1,000 of 102,400"), ("/to-a-file", "302|not allowed")],
)
def test_failures_are_one_line_and_leave_nothing(server, tmp_path, path, message):
    with pytest.raises(FetchError, match=message) as caught:
        fetch_file(server + path, tmp_path / "f", sha256=DIGEST)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_too_large(server, tmp_path):
    with pytest.raises(FetchError, match="more than"):
        fetch_bytes(f"{server}/file", limit=1000)
    with pytest.raises(FetchError, match="more than"):
        fetch_file(f"{server}/file", tmp_path / "f", sha256=DIGEST, limit=1000)
    assert not list(tmp_path.iterdir())


def test_nobody_answers():
    with pytest.raises(FetchError, match="is this machine online"):
        fetch_bytes("http://127.0.0.1:9/x", limit=10)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_only_http(url):
    with pytest.raises(FetchError, match="not an http"):
        fetch_bytes(url, limit=10)


def test_no_room_is_not_called_a_network_fault(server, tmp_path, monkeypatch):
    import errno
    import os

    real = os.fdopen

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.file.close()

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def tell(self):
            return 0

    monkeypatch.setattr(os, "fdopen", lambda *args: Full(real(*args)))
    with pytest.raises(FetchError, match=r"No space left on device") as caught:
        fetch_file(f"{server}/file", tmp_path / "f", sha256=DIGEST)
    assert "online" not in str(caught.value)
    assert not list(tmp_path.iterdir())
