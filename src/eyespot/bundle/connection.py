"""One HTTP download: an address as people write it, a response that comes in time, its body within bounds.

A server that is busy (429, 5xx) is asked again after a pause, as long as it says or longer each time. Nothing that a
server sends, or does not send, holds the caller longer than the limits below.
"""

from __future__ import annotations

import contextlib
import email.utils
import http
import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import IO, Any, NamedTuple

from eyespot.errors import FetchError

TIMEOUT_SECONDS = 30  # for anything to come; for the whole of the response's head
_LEAST_RATE = 1000.0  # bytes a second, of the whole body, once TIMEOUT_SECONDS are over
_PAUSES = (0.5, 2.0, 8.0)  # seconds before a busy server is asked again
_LONGEST_PAUSE = 60.0  # a server that wants more is given up
_BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))
_CHUNK = 1 << 20
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_DIGITS = 18  # of a length that a header may name
# Signs that keep their meaning in an address (RFC 3986); % where it begins an escape.
_PATH_SIGNS = "/:@!$&'()*+,;=~%"
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class BrokenOff(FetchError):
    """The connection ended before the body did. may_pass: another attempt may do better."""

    may_pass = True


class _TooSlow(BrokenOff):
    """The body came more slowly than the limits allow."""

    may_pass = False


class CannotResume(FetchError):
    """The server has another file than the one that was begun."""


class TooLarge(FetchError):
    """The file is larger than the caller allows."""


class Answer(NamedTuple):
    """An opened response. start: the file's byte it begins with; length: bytes of the whole file.

    announced: the sha256 that the Hugging Face hub sends along when it redirects to the file; '' elsewhere.
    """

    response: http.client.HTTPResponse
    headers: Message
    start: int
    length: int | None
    announced: str

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()


def encoded(url: str) -> str:
    """An address as it is sent: spaces, umlauts and control signs escaped, a host in other scripts as IDNA.

    What is escaped already stays as it is. FetchError for what is no http or https address.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise FetchError(f"{url} is not an http or https address")
        host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    except ValueError as error:  # of which UnicodeError is one
        raise FetchError(f"{url} is not an address: {error}") from None
    place = host if port is None else f"{host}:{port}"
    return urllib.parse.urlunsplit((parts.scheme, place, _escaped(parts.path), _escaped(parts.query, "?"), ""))


def _escaped(text: str, more: str = "") -> str:
    data = _LONE_PERCENT.sub("%25", text).encode("utf-8", "surrogateescape")
    return urllib.parse.quote(data, safe=_PATH_SIGNS + more)


def connect(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Opens an address; a busy server is asked again. FetchError, in one line, for anything that goes wrong."""
    target = encoded(url)
    for pause in (*_PAUSES, None):
        redirects = _Redirects()
        try:
            request = urllib.request.Request(target, headers={"User-Agent": "eyespot", **(headers or {})})  # noqa: S310
            opener = urllib.request.build_opener(redirects, _Http, _Https)
            response: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            wait = None if pause is None or error.code not in _BUSY else _pause(error.headers, pause)
            if wait is None:
                raise _refused(url, error.code) from None
            time.sleep(wait)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if pause is None or not isinstance(getattr(error, "reason", error), ConnectionResetError):
                raise _unreachable(url, error) from None
            time.sleep(pause)
        else:
            return _answer(url, response, redirects.announced)
    raise AssertionError("the last attempt returns or raises")


def _pause(headers: Message, usual: float) -> float | None:
    """Seconds to wait, by Retry-After (seconds or a date) if it is there; None when that is too long."""
    text = headers.get("Retry-After", "").strip()
    wait = usual
    if text.isascii() and text.isdecimal():
        wait = float(text[:_DIGITS])
    elif text:
        try:
            wait = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            wait = usual
    return max(wait, 0.0) if wait <= _LONGEST_PAUSE else None


def _refused(url: str, code: int) -> FetchError:
    known = code in set(http.HTTPStatus)
    text = f"{url} answered {code}{f' {http.HTTPStatus(code).phrase}' if known else ''}"
    kind = CannotResume if code == 416 else FetchError
    return kind(f"{text}; it was asked {len(_PAUSES) + 1} times, try again later" if code in _BUSY else text)


def _unreachable(url: str, error: Exception) -> FetchError:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError | ConnectionResetError | http.client.HTTPException):
        text = "no answer came in time" if isinstance(reason, TimeoutError) else type(reason).__name__
        return FetchError(f"{url} cannot be fetched: {text}; try again later")
    online = " (is this machine online?)" if isinstance(reason, OSError) else ""
    return FetchError(f"{url} cannot be fetched: {' '.join(str(reason).split())}{online}")


def _answer(url: str, response: http.client.HTTPResponse, announced: str) -> Answer:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        response.close()
        raise FetchError(f"{url} sends the file packed ({encoding}), though it was asked not to; nothing was kept")
    start, total = 0, _number(response.headers.get("Content-Length", ""))
    if response.status == 206:
        span = re.fullmatch(
            r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", response.headers.get("Content-Range", ""), re.ASCII
        )
        if span is None:
            response.close()
            raise CannotResume(f"{url} sends a piece of the file and does not say which")
        start, total = int(span[1]), int(span[2]) + 1 if span[3] == "*" else int(span[3])
    return Answer(response, response.headers, start, total, announced)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def body(answer: Answer, url: str, limit: int, advice: str, seconds: float) -> Iterator[bytes]:
    """The pieces as they come, in ``seconds`` at most; BrokenOff when they are fewer than was said, or come too slowly.

    limit: the most bytes. advice: the end of BrokenOff's message.
    """
    received, total = answer.start, answer.length
    if total is not None and total > limit:
        raise TooLarge(f"{url} sends more than {limit >> 20} MB; nothing was kept")
    begun = time.monotonic()
    reason, kind = "", BrokenOff
    while total is None or received < total:
        try:
            chunk = answer.response.read1(_CHUNK if total is None else min(_CHUNK, total - received))
        except TimeoutError:
            reason, kind = f" (nothing came for {TIMEOUT_SECONDS} seconds)", _TooSlow
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = f" ({type(error).__name__})"
            break
        if not chunk:
            break
        received += len(chunk)
        if received > limit:
            raise TooLarge(f"{url} sends more than {limit >> 20} MB; nothing was kept")
        yield chunk
        elapsed = time.monotonic() - begun
        if (reason := _too_slow(received - answer.start, elapsed, seconds)) and received != total:
            kind = _TooSlow
            break
        reason = ""
    if reason or (total is not None and received != total):
        whole = "" if total is None else f" of {total:,}"
        raise kind(f"{url} broke off after {received:,}{whole} bytes{reason}; {advice}")


def _too_slow(received: int, elapsed: float, seconds: float) -> str:
    if elapsed > seconds:
        return f" (it took longer than {seconds:,.0f} seconds)"
    if elapsed > TIMEOUT_SECONDS and received < _LEAST_RATE * elapsed:
        return f" (it came with less than {_LEAST_RATE:,.0f} bytes a second)"
    return ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of https, nor to anything but http(s)."""

    announced = ""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        after = newurl.partition(":")[0].lower()
        if after not in ("http", "https") or (req.type == "https" and after == "http"):
            raise FetchError(f"{req.full_url} redirects to {newurl}, which is not allowed: {req.type} to {after}")
        if tag := _SHA256.fullmatch(headers.get("X-Linked-ETag", "")):
            self.announced = tag[1]
        return super().redirect_request(req, fp, code, msg, headers, encoded(newurl))


class _InTime:
    """A connection whose response's head must be there within TIMEOUT_SECONDS, not only each piece of it."""

    sock: socket.socket

    def getresponse(self) -> http.client.HTTPResponse:
        """The response; TimeoutError when its head takes too long."""
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            with contextlib.suppress(OSError):  # it is over already
                sock.shutdown(socket.SHUT_RDWR)

        sock = self.sock
        timer = threading.Timer(TIMEOUT_SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            response: http.client.HTTPResponse = super().getresponse()  # type: ignore[misc]
        except (OSError, http.client.HTTPException):
            if is_late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
        if is_late.is_set():  # the head was cut off, which looks like its end
            raise TimeoutError
        return response


class _HttpConnection(_InTime, http.client.HTTPConnection):
    """See _InTime."""


class _HttpsConnection(_InTime, http.client.HTTPSConnection):
    """See _InTime."""


class _Http(urllib.request.HTTPHandler):
    """Opens http with connections that are in time."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_HttpConnection, req)


class _Https(urllib.request.HTTPSHandler):
    """Opens https with connections that are in time."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        given: dict[str, Any] = {"context": self._context}  # type: ignore[attr-defined]
        return self.do_open(_HttpsConnection, req, **given)
