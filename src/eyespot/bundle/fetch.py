"""Fetches over HTTP: bounded, with a timeout, checked by sha256, and written so that a half file is never seen."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eyespot.errors import FetchError, HashMismatch

TIMEOUT_SECONDS = 30
_CHUNK = 1 << 20


def fetch_bytes(url: str, *, limit: int) -> bytes:
    """The body of ``url``, at most ``limit`` bytes. FetchError, in one line, for anything that goes wrong."""
    return b"".join(_chunks(url, limit))


def fetch_file(url: str, to: Path, *, sha256: str, limit: int = 2 << 30) -> Path:
    """Downloads ``url`` to the file ``to``; nothing is left there unless its sha256 is right.

    Raises FetchError, or HashMismatch when the server sends another file than the published one.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    handle, staging = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in _chunks(url, limit):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise HashMismatch(
                f"{url} sent a file with sha256 {digest.hexdigest()[:12]}…, {sha256[:12]}… was promised; "
                "it was removed: try again, or get the file from its publisher and use `eyespot import`"
            )
        Path(staging).replace(to)
    except OSError as error:
        raise FetchError(f"{to} cannot be written: {error.strerror or error}; nothing was kept") from None
    finally:
        Path(staging).unlink(missing_ok=True)
    return to


def _chunks(url: str, limit: int) -> Iterator[bytes]:
    received = 0
    with _opened(url) as response:
        while chunk := response.read(_CHUNK):
            received += len(chunk)
            if received > limit:
                raise FetchError(f"{url} sends more than {limit >> 20} MB; nothing was kept")
            yield chunk
        promised = response.headers.get("Content-Length", "")
    if promised.isdecimal() and received != int(promised):
        raise FetchError(f"{url} broke off after {received:,} of {int(promised):,} bytes; nothing was kept, try again")


@contextmanager
def _opened(url: str) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, headers={"User-Agent": "eyespot"})  # noqa: S310 - http(s) checked below
    if request.type not in ("http", "https"):
        raise FetchError(f"{url} is not an http or https address")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"{url} answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError, OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"{url} cannot be fetched: {reason}; is this machine online?") from None
