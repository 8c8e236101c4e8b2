"""Everything over HTTP: bounded, with a timeout, checked by sha256, resumed where it broke off."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from eyespot.core.whole import whole
from eyespot.errors import FetchError, HashMismatch

if TYPE_CHECKING:
    from hashlib import _Hash

TIMEOUT_SECONDS = 30
_CHUNK = 1 << 20
_ATTEMPTS = 5  # at a file whose connection breaks off; each must have brought something
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')

Watch = Callable[[int, "int | None"], None]  # told how many bytes are here, and of how many


class _BrokenOff(FetchError):
    """The connection ended before the body did."""


class _CannotResume(FetchError):
    """The server has another file than the one that was begun."""


class _TooLarge(FetchError):
    """The file is larger than the caller allows."""


def fetch_bytes(url: str, *, limit: int) -> bytes:
    """The body of ``url``, at most ``limit`` bytes. FetchError, in one line, for anything that goes wrong."""
    with _open(url) as answer:
        return b"".join(_body(answer, url, limit, "nothing was kept, try again"))


def fetch_file(
    url: str,
    to: Path,
    *,
    sha256: str,
    limit: int = 2 << 30,
    part: Path | None = None,
    watch: Watch | None = None,
) -> Path:
    """Downloads ``url`` to the file ``to``; nothing is left there unless its sha256 is right.

    sha256: the whole hash, its first digits where no more is published, or '' where nothing is. part: where an
    unfinished download waits for the next call, which goes on with it if the server still has the same file (its ETag
    or date lies beside it); None keeps nothing. One process at a time may use a part.

    Raises FetchError, or HashMismatch when the server sends another file than the published one.
    """
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        if part is None:
            _fetch_at_once(url, to, sha256, limit, watch)
        else:
            _fetch_in_parts(url, to, sha256, limit, part, watch)
    except OSError as error:
        if part is not None:
            _discard(part)  # a full disk should not stay full of half a file
        raise FetchError(f"{to} cannot be written: {error.strerror or error}; nothing was kept") from None
    return to


def _fetch_at_once(url: str, to: Path, sha256: str, limit: int, watch: Watch | None) -> None:
    digest = hashlib.sha256()
    with whole(to) as file:
        with _open(url) as answer:
            _room(to, answer.length)
            _write(_body(answer, url, limit, "nothing was kept, try again"), file, digest, watch, answer.length, 0)
        _check(url, digest.hexdigest(), sha256, answer.announced)


def _fetch_in_parts(url: str, to: Path, sha256: str, limit: int, part: Path, watch: Watch | None) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        before = _size(part)
        try:
            digest, announced = _continue(url, to, part, limit, watch)
            break
        except (_CannotResume, _TooLarge) as error:
            _discard(part)
            if attempt == _ATTEMPTS or isinstance(error, _TooLarge):
                raise
        except _BrokenOff:
            if attempt == _ATTEMPTS or _size(part) <= before:
                raise
    try:
        _check(url, digest, sha256, announced)
        part.replace(to)
    finally:
        _discard(part)


def _continue(url: str, to: Path, part: Path, limit: int, watch: Watch | None) -> tuple[str, str]:
    """(sha256 of the whole file, what the server announced), the file being whole in ``part`` then."""
    validator = _validator_beside(part, url)
    have = _size(part) if validator else 0
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
    with _open(url, headers) as answer:
        if answer.start not in (0, have):
            raise _CannotResume(f"{url} sends bytes from {answer.start:,} on, {have:,} were asked for")
        have = answer.start
        _room(to, None if answer.length is None else answer.length - have)
        digest = hashlib.sha256()
        with part.open("r+b" if have else "wb") as file:
            if have:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            else:
                _note_validator(part, url, answer.headers)
            advice = "what came is kept, run it again to go on" if _beside(part).is_file() else "try again"
            _write(_flushed(_body(answer, url, limit, advice), file), file, digest, watch, answer.length, have)
            os.fsync(file.fileno())
    return digest.hexdigest(), answer.announced


def _write(
    chunks: Iterator[bytes], file: IO[bytes], digest: _Hash, watch: Watch | None, total: int | None, have: int
) -> None:
    for chunk in chunks:
        digest.update(chunk)
        file.write(chunk)
        have += len(chunk)
        if watch is not None:
            watch(have, total)


def _flushed(chunks: Iterator[bytes], file: IO[bytes]) -> Iterator[bytes]:
    """So that a process that is killed leaves everything that came."""
    for chunk in chunks:
        yield chunk
        file.flush()


def _check(url: str, digest: str, promised: str, announced: str) -> None:
    promised = promised or announced
    if not digest.startswith(promised) or not digest.startswith(announced):
        raise HashMismatch(
            f"{url} sent a file with sha256 {digest[:12]}…, {promised[:12]}… was promised; "
            "it was removed: try again, or get the file from its publisher and use `eyespot import`"
        )


def _room(to: Path, wanted: int | None) -> None:
    free = shutil.disk_usage(to.parent).free
    if wanted is not None and wanted > free:
        raise FetchError(f"{to} needs {wanted / 1e6:,.1f} MB, its disk has {free / 1e6:,.1f} MB left; make room first")


# -- What lies beside an unfinished file


def _beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _validator_beside(part: Path, url: str) -> str:
    """What the server called the file that ``part`` is the beginning of; '' when it is another's or unknown."""
    try:
        noted = json.loads(_beside(part).read_text(encoding="utf-8"))
        return str(noted["validator"]) if noted["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _note_validator(part: Path, url: str, headers: Message) -> None:
    _beside(part).unlink(missing_ok=True)
    tag = headers.get("ETag", "")
    validator = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    if validator:
        _beside(part).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _discard(part: Path) -> None:
    _beside(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


# -- The connection


class _Answer(NamedTuple):
    """An opened response. start: the file's byte it begins with; length: bytes of the whole file.

    announced: the sha256 that the Hugging Face hub sends along when it redirects to the file; '' elsewhere.
    """

    response: http.client.HTTPResponse
    headers: Message
    start: int
    length: int | None
    announced: str

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()


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
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: Mapping[str, str] | None = None) -> _Answer:
    redirects = _Redirects()
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "eyespot", **(headers or {})})  # noqa: S310
        if request.type not in ("http", "https"):
            raise FetchError(f"{url} is not an http or https address")
        opener = urllib.request.build_opener(redirects)
        response: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        kind = _CannotResume if error.code == 416 else FetchError
        raise kind(f"{url} answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"{url} cannot be fetched: {reason} (is this machine online?)") from None
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        response.close()
        raise FetchError(f"{url} sends the file packed ({encoding}), though it was asked not to; nothing was kept")
    length = response.headers.get("Content-Length", "")
    start, total = 0, int(length) if length.isdecimal() else None
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None:
            response.close()
            raise _CannotResume(f"{url} sends a piece of the file and does not say which")
        start, total = int(span[1]), int(span[2]) + 1 if span[3] == "*" else int(span[3])
    return _Answer(response, response.headers, start, total, redirects.announced)


def _body(answer: _Answer, url: str, limit: int, advice: str) -> Iterator[bytes]:
    """The pieces as they come; _BrokenOff when they are fewer than was said."""
    received, total = answer.start, answer.length
    if total is not None and total > limit:
        raise _TooLarge(f"{url} sends more than {limit >> 20} MB; nothing was kept")
    reason = ""
    while total is None or received < total:
        try:
            chunk = answer.response.read1(_CHUNK if total is None else min(_CHUNK, total - received))
        except TimeoutError:
            reason = f" (nothing came for {TIMEOUT_SECONDS} seconds)"
            break
        except (OSError, http.client.HTTPException) as error:
            reason = f" ({type(error).__name__})"
            break
        if not chunk:
            break
        received += len(chunk)
        if received > limit:
            raise _TooLarge(f"{url} sends more than {limit >> 20} MB; nothing was kept")
        yield chunk
    if reason or (total is not None and received != total):
        whole = "" if total is None else f" of {total:,}"
        raise _BrokenOff(f"{url} broke off after {received:,}{whole} bytes{reason}; {advice}")
