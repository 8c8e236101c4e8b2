"""Addresses as people write them, and servers that are busy, slow, or say what they should not."""

import email.utils
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eyespot.bundle import connection
from eyespot.bundle.connection import encoded
from eyespot.bundle.fetch import fetch_bytes, fetch_file
from eyespot.errors import FetchError

BODY = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("http://h/a space.jpg", "http://h/a%20space.jpg"),
        ("http://h/ü/犬.jpg?größe=ä b", "http://h/%C3%BC/%E7%8A%AC.jpg?gr%C3%B6%C3%9Fe=%C3%A4%20b"),
        ("https://bücher.example:8443/x", "https://xn--bcher-kva.example:8443/x"),
        ("HTTP://Example.ORG/A%20b%C3%BC", "http://example.org/A%20b%C3%BC"),
        ("http://h/100%.jpg?q=50%&r=%41", "http://h/100%25.jpg?q=50%25&r=%41"),
        ("http://h/a+b(1),'x'!*~@:$&;=.jpg", "http://h/a+b(1),'x'!*~@:$&;=.jpg"),
        ('http://h/[1]|<2>\\3^`{}".jpg', "http://h/%5B1%5D%7C%3C2%3E%5C3%5E%60%7B%7D%22.jpg"),
        (" http://h/x.jpg\r", "http://h/x.jpg"),
        ("http://h/\x1b\x7f.jpg#part", "http://h/%1B%7F.jpg"),
        ("http://h/\udcff.jpg", "http://h/%FF.jpg"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://h", "http://h"),
    ],
)
def test_addresses_are_escaped_once(address, sent):
    assert encoded(address) == sent
    assert encoded(sent) == sent


@pytest.mark.parametrize(
    "address", ["http://", "http:///x", "http://h:port/x", "http://h:99999/", "http://[::1/x", f"http://{'a' * 64}.de/"]
)
def test_what_is_no_address_does_not_doubt_the_network(address):
    with pytest.raises(FetchError, match="is not an") as caught:
        fetch_bytes(address, limit=10)
    assert "online" not in str(caught.value)


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's next step says: (status, headers)."""

    def do_GET(self):
        self.server.paths.append((self.path, time.monotonic()))
        status, headers = self.server.steps.pop(0) if self.server.steps else (200, {})
        self.send_response_only(status, "a phrase\x1b[2J of the server's own")
        for name, value in {"Content-Length": str(len(BODY)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.steps, server.paths = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(connection.time, "sleep", slept.append)
    return slept


def test_escaped_addresses_arrive(server):
    assert fetch_bytes(f"{server.url}/a b/ü.jpg?x=ä", limit=1 << 20) == BODY
    assert server.paths[0][0] == "/a%20b/%C3%BC.jpg?x=%C3%A4"
    server.steps = [(302, {"Location": "/c d"})]
    assert fetch_bytes(f"{server.url}/x", limit=1 << 20) == BODY
    assert server.paths[-1][0] == "/c%20d"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, pauses, tmp_path, status):
    server.steps = [(status, {}), (status, {"Retry-After": "7"})]
    assert fetch_bytes(f"{server.url}/x", limit=1 << 20) == BODY
    assert pauses == [0.5, 7]
    server.steps = [(status, {"Retry-After": "soon"})]
    assert fetch_file(f"{server.url}/x", tmp_path / "f", sha256="").read_bytes() == BODY
    assert pauses == [0.5, 7, 0.5]


def test_a_server_that_stays_busy_is_given_up(server, pauses):
    server.steps = [(503, {})] * 9
    with pytest.raises(FetchError, match="answered 503 Service Unavailable; it was asked 4 times, try again later"):
        fetch_bytes(f"{server.url}/x", limit=1 << 20)
    assert (len(server.paths), pauses) == (4, [0.5, 2, 8])


def test_retry_after_may_be_a_date(server, pauses):
    server.steps = [(429, {"Retry-After": email.utils.formatdate(time.time() + 20, usegmt=True)})]
    assert fetch_bytes(f"{server.url}/x", limit=1 << 20) == BODY
    assert 10 < pauses[0] <= 20
    for too_long in ("3600", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"):
        server.steps = [(429, {"Retry-After": too_long})]
        with pytest.raises(FetchError, match="answered 429"):
            fetch_bytes(f"{server.url}/x", limit=1 << 20)
    assert len(pauses) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_what_will_not_change_is_asked_once(server, pauses, status):
    server.steps = [(status, {})]
    with pytest.raises(FetchError, match=rf"answered {status} [A-Z][\w ]+$"):
        fetch_bytes(f"{server.url}/x", limit=1 << 20)
    assert (len(server.paths), pauses) == (1, [])


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Content-Length": "9" * 5000}),
        (200, {"Content-Length": "-5"}),
        (200, {"Content-Length": "²³"}),
        (200, {"Content-Encoding": "\xff\xfe"}),
        (200, {"Transfer-Encoding": "chunked"}),
        (200, {"X": "y" * 70_000}),
        (206, {"Content-Range": "bytes " + "9" * 5000 + "-1/1"}),
        (206, {"Content-Range": "bytes ٣-٤/٥"}),
        (302, {"Location": "http://[/"}),
        (302, {"Location": "http://h:port/"}),
        (302, {"Location": "gopher://h/\x1b"}),
        (302, {"Location": "/x"}),
        (302, {}),
        (599, {}),
        (103, {}),
    ],
)
def test_whatever_a_server_says_is_one_line_or_the_body(server, pauses, status, headers):
    server.steps = [(status, {k: v.encode().decode("latin-1") for k, v in headers.items()})] * 20
    message = ""
    try:
        assert fetch_bytes(f"{server.url}/x", limit=1 << 20) in (BODY, BODY[:5])
    except FetchError as error:
        message = str(error)
    assert "\n" not in message


def raw_server(answer):
    """A socket on loopback and the thread that gives the connections to ``answer``."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)

    def serve():
        try:
            with listening.accept()[0] as connected:
                connected.recv(65536)
                answer(connected)
        except OSError:
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    return listening, thread


def dribble(text):
    def answer(connected):
        for sign in text * 200:
            connected.sendall(sign)
            time.sleep(0.02)

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (dribble([b"H"]), "no answer came in time"),
        (dribble([b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"]), "no answer came in time"),
        (dribble([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 900, *[b"y"] * 100]), "less than 1,000,000 bytes a second"),
    ],
)
def test_a_server_that_sends_byte_by_byte_is_left(monkeypatch, answer, message):
    """Each piece comes in time, the whole does not."""
    monkeypatch.setattr(connection, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(connection, "_LEAST_RATE", 1e6)
    listening, thread = raw_server(answer)
    with listening, pytest.raises(FetchError, match=message):
        fetch_bytes(f"http://127.0.0.1:{listening.getsockname()[1]}/x", limit=1 << 20)
    thread.join()


def test_a_download_has_a_limit_of_time(server, monkeypatch):
    from eyespot.bundle import fetch

    monkeypatch.setattr(fetch, "_IMAGE_SECONDS", -1.0)
    server.steps = [(200, {"Content-Length": str(2 * len(BODY))})]
    with pytest.raises(FetchError, match="took longer than"):
        fetch_bytes(f"{server.url}/x", limit=1 << 20)


def test_a_connection_that_is_reset_is_tried_again(pauses):
    import struct

    def reset(connected):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    listening, thread = raw_server(reset)
    with listening:
        thread_2 = threading.Thread(target=lambda: (thread.join(), listening.close()))
        thread_2.start()
        with pytest.raises(FetchError):
            fetch_bytes(f"http://127.0.0.1:{listening.getsockname()[1]}/x", limit=10)
        thread_2.join()
    assert pauses[0] == 0.5
