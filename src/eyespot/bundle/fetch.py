"""Everything over HTTP: bounded, with a timeout, checked by sha256, resumed where it broke off."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO, TYPE_CHECKING

from eyespot.bundle.connection import BrokenOff, CannotResume, TooLarge, body, connect
from eyespot.core.whole import whole
from eyespot.errors import FetchError, HashMismatch

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK = 1 << 20
_ATTEMPTS = 5  # at a file whose connection breaks off; each must have brought something
_IMAGE_SECONDS = 600.0  # an image in all
_FILE_SECONDS = 24 * 3600.0

Watch = Callable[[int, "int | None"], None]  # told how many bytes are here, and of how many


def fetch_bytes(url: str, *, limit: int) -> bytes:
    """The body of ``url``, at most ``limit`` bytes. FetchError, in one line, for anything that goes wrong."""
    for is_last in (False, True):
        try:
            with connect(url) as answer:
                return b"".join(body(answer, url, limit, "nothing was kept, try again", _IMAGE_SECONDS))
        except BrokenOff as error:
            if is_last or not error.may_pass:
                raise
    raise AssertionError("the last attempt returns or raises")


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
        with connect(url) as answer:
            _room(to, answer.length)
            _write(
                body(answer, url, limit, "nothing was kept, try again", _FILE_SECONDS),
                file,
                digest,
                watch,
                answer.length,
                0,
            )
        _check(url, digest.hexdigest(), sha256, answer.announced)


def _fetch_in_parts(url: str, to: Path, sha256: str, limit: int, part: Path, watch: Watch | None) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        before = _size(part)
        try:
            digest, announced = _continue(url, to, part, limit, watch)
            break
        except (CannotResume, TooLarge) as error:
            _discard(part)
            if attempt == _ATTEMPTS or isinstance(error, TooLarge):
                raise
        except BrokenOff:
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
    with connect(url, headers) as answer:
        if answer.start not in (0, have):
            raise CannotResume(f"{url} sends bytes from {answer.start:,} on, {have:,} were asked for")
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
            _write(
                _flushed(body(answer, url, limit, advice, _FILE_SECONDS), file),
                file,
                digest,
                watch,
                answer.length,
                have,
            )
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
