"""Bundles in one file, to be carried on a stick: a zip whose every entry is checked before anything is put in place.

``NAME/card.json NAME/weights.safetensors …`` for each bundle, and nothing else. The same bundles give the same bytes.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace as replace_fields
from pathlib import Path

from eyespot.bundle.cache import bundle_directory
from eyespot.bundle.fit import Say
from eyespot.bundle.resolve import unclaimed
from eyespot.bundle.store import CARD, MODEL, REQUIRED, Bundle, check_free, put_in_place, read
from eyespot.core.card import Card
from eyespot.core.whole import whole
from eyespot.errors import BundleError, UsageError

SUFFIX = ".eyespot"

_DATE = (1980, 1, 1, 0, 0, 0)
_TEXT = (".json", ".txt", ".onnx")  # deflated; weights hardly shrink
_MAX_ENTRIES = 4096
_MAX_CARD = 64 << 20  # bytes
_BESIDES_WEIGHTS = 64 << 20  # bytes of a file that are no numbers: names, shapes, pictures, labels
_MAX_RATIO = 200  # unpacked to packed, of an entry above a megabyte
_NAME = re.compile(r"([A-Za-z0-9][\w.+-]*)/([A-Za-z0-9][\w.+-]*)", re.ASCII)
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows opens these wherever they lie


def pack(bundles: Sequence[Bundle], out: Path, *, replace: bool = False) -> Path:
    """Writes opened bundles into the file ``out``, whole or not at all. UsageError when it is there, BundleError."""
    names = [bundle.card.name for bundle in bundles]
    for name in names:
        if _NAME.fullmatch(f"{name}/{CARD}") is None or _DEVICES.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a folder everywhere; import the weights again with another --name")
    if len({name.lower() for name in names}) < len(names):
        raise UsageError(f"two of the bundles have one name ({', '.join(names)}); pack them into two files")
    if out.exists() and (out.is_dir() or not replace):
        raise UsageError(f"{out} exists; choose another file, or pass --replace")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole(out) as file, zipfile.ZipFile(file, "w") as archive:
            for bundle in bundles:
                for name in (CARD, *bundle.card.files):
                    _add(archive, bundle.path / name, f"{bundle.card.name}/{name}")
    except OSError as error:
        raise BundleError(f"{out} cannot be written: {error.strerror or error}; nothing was kept") from None
    return out


def unpack(file: Path, out: Path | None = None, *, replace: bool = False, say: Say = lambda _: None) -> list[Bundle]:
    """Puts the bundles of a pack into the folder ``out``, each under its name; None puts them into the cache.

    There a bundle with the name of a built-in or published one gets ``.unpacked`` behind it, which ``say`` is told.

    Nothing is put in place before every file of every bundle has the sha256 that its card promises. Raises UsageError
    when a place is taken, BundleError (HashMismatch) in one line for a file that is damaged or is no pack.
    """
    with _opened(file) as archive:
        entries = _entries(archive, file)
        names = {name: name if out else unclaimed(name, "unpacked") for name in entries}
        places = {name: (out or bundle_directory("x").parent) / names[name] for name in entries}
        for place in places.values():
            check_free(place, replace=replace)
        root = out or bundle_directory("x").parent
        try:
            root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(root).free
            staging = Path(tempfile.mkdtemp(prefix=".unpack.", dir=root))
        except OSError as error:
            raise BundleError(f"{root} cannot be written: {error.strerror or error}") from None
        try:
            wanted = sum(info.file_size for inside in entries.values() for info in inside.values())
            if wanted > free:
                raise BundleError(f"{file.name} needs {wanted / 1e6:,.1f} MB, {root} has {free / 1e6:,.1f} MB left")
            for name, inside in entries.items():
                _extract(archive, file.name, inside, staging / name, name)
                if names[name] != name:
                    _rename(staging / name, names[name])
                    say(f"{name} is the name of a built-in or published model; this one is called {names[name]} here")
            for name, place in places.items():
                put_in_place(staging / name, place, replace=replace)
        except OSError as error:
            raise BundleError(f"{root} cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return [read(place) for place in places.values()]


def _rename(place: Path, name: str) -> None:
    """Gives a bundle that was read already another name, which stands in its network's file too."""
    from eyespot.bundle.build import model_of

    bundle = read(place)
    card = replace_fields(bundle.card, name=name)
    model = model_of(replace_fields(bundle, card=card))
    (place / MODEL).write_bytes(model)
    card = card.with_files({**card.files, MODEL: hashlib.sha256(model).hexdigest()})
    (place / CARD).write_text(card.to_text(), encoding="utf-8")


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED if path.suffix in _TEXT else zipfile.ZIP_STORED
    info.file_size = path.stat().st_size  # decides about 64-bit sizes before the first byte
    with path.open("rb") as source, archive.open(info, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except FileNotFoundError:
        raise UsageError(f"{file} is not a file; pass what `eyespot pack` wrote") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{file.name} is damaged or no pack of bundles ({why[:200]}); copy it again") from None


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, dict[str, zipfile.ZipInfo]]:
    """The entries by bundle and file, each one's name and kind found harmless; their contents are not looked at yet."""
    file, infos = path.name, archive.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise BundleError(f"{file} has {len(infos):,} entries, a pack at most {_MAX_ENTRIES:,}; nothing was unpacked")
    total = sum(info.file_size for info in infos)
    if total > 1 << 20 and total > _MAX_RATIO * path.stat().st_size:  # entries may share their bytes
        raise BundleError(f"{file} would grow to {total / 1e6:,.0f} MB; nothing was unpacked")
    found: dict[str, dict[str, zipfile.ZipInfo]] = {}
    seen: set[str] = set()
    for info in infos:
        fault = _fault(info, seen)
        if fault:
            raise BundleError(f"{file}: the entry {_shown(info.orig_filename)} {fault}; nothing was unpacked")
        seen.add(info.filename.lower())
        bundle, name = info.filename.split("/")
        found.setdefault(bundle, {})[name] = info
    if not found or any(CARD not in inside for inside in found.values()):
        raise BundleError(f"{file} holds no bundle with a {CARD}; pass what `eyespot pack` wrote")
    return found


def _fault(info: zipfile.ZipInfo, seen: Iterable[str]) -> str:
    """What an entry has that none of ours has; '' for nothing."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link, a folder or a device"
    if info.orig_filename != info.filename or _NAME.fullmatch(info.filename) is None:
        return "does not lie in a bundle's folder"
    if any(_DEVICES.fullmatch(part) for part in info.filename.split("/")):
        return "has the name of a device"
    if info.filename.lower() in seen:
        return "is there twice"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that packs are not"
    if info.file_size > 1 << 20 and info.file_size > _MAX_RATIO * max(info.compress_size, 1):
        return f"would grow to {info.file_size / 1e6:,.0f} MB out of {info.compress_size / 1e6:,.3f}"
    return ""


def _extract(archive: zipfile.ZipFile, file: str, inside: dict[str, zipfile.ZipInfo], to: Path, name: str) -> None:
    """One bundle into a new folder, verified there."""
    to.mkdir(mode=0o755)
    card_entry = inside[CARD]
    if card_entry.file_size > _MAX_CARD:
        raise BundleError(f"{file}: {name}/{CARD} has {card_entry.file_size >> 20} MB; it is not a card")
    _copy(archive, card_entry, to / CARD)
    try:
        card = Card.from_text((to / CARD).read_text(encoding="utf-8"))
    except (BundleError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: {name}: {error}") from None
    if card.name != name:
        raise BundleError(f"{file}: the folder {name} holds a card of {_shown(card.name)}; nothing was unpacked")
    wanted = {CARD, *card.files}
    if inside.keys() != wanted or not wanted.issuperset(REQUIRED):
        odd = ", ".join(sorted(inside.keys() ^ wanted)) or ", ".join(REQUIRED)
        raise BundleError(f"{file}: {name} and its card do not name the same files ({odd}); nothing was unpacked")
    numbers = sum(math.prod(parameter.shape) for parameter in card.graph.parameters.values())
    promised = 8 * numbers + _BESIDES_WEIGHTS
    for info in inside.values():
        if info.file_size > promised:
            raise BundleError(
                f"{file}: {info.filename} has {info.file_size >> 20} MB, {numbers:,} parameters need less than "
                f"{promised >> 20}; nothing was unpacked"
            )
    for entry, info in inside.items():
        if entry != CARD:
            _copy(archive, info, to / entry)
    try:
        read(to)
    except BundleError as error:
        raise type(error)(str(error).replace(str(to), f"{file}: {name}")) from None


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, to: Path) -> None:
    # zipfile reads no more than the size that the entry states, which was held against its limit, and checks its CRC.
    with archive.open(info) as source, to.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else name[:60] + "…")
