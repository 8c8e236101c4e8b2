"""Where the files of a collection lie: a folder, a zip or a tar, each listed once and read file by file, in place.

Nothing is ever extracted to disk, and nothing is shared between reads: every read opens the container anew, so threads
and forked processes may read at the same time. A name in an archive that is absolute or climbs with ``..`` refuses the
whole archive; links, devices and members above MAX_FILE_BYTES are left out and named. Reading a directory costs memory
in proportion to the archive's own size; an archive of more than MAX_MEMBERS files is refused.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, NamedTuple, Protocol

from eyespot.data.split_names import PARTS
from eyespot.errors import PictureError, UsageError
from eyespot.run.pictures import HEAD_BYTES, MAX_FILE_BYTES, is_hidden, read_bytes, read_head

MAX_MEMBERS = 5_000_000
_TAR_SUFFIXES = (".tar",)
_PACKED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_LOCAL_HEADER = 30  # bytes of a zip's local header before its name, APPNOTE 4.3.7


class Skipped(NamedTuple):
    """A file or folder that is not used, and why. ``lost``: a picture was meant to be there, and cannot be had."""

    name: str
    error: str
    lost: bool = False


@dataclass
class Listing:
    """What a container holds: sizes in bytes by name ('/' between folders), folders, and what was left out."""

    sizes: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)


class Files(Protocol):
    """A container of files. ``listing`` is taken when it is opened."""

    listing: Listing

    def size(self, name: str) -> int | None:
        """The bytes of a file; None when there is none of that name."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes of a file; PictureError when they cannot be had. Safe among threads and after a fork."""
        ...

    def head(self, name: str) -> bytes:
        """The first HEAD_BYTES of a file; PictureError when they cannot be had."""
        ...


class FolderFiles:
    """A folder. Hidden files are left out; links to files are followed, links to folders only where classes lie."""

    def __init__(self, root: Path, *, listed: bool = True) -> None:
        self.root = root
        self.listing = Listing()
        if listed:
            self._scan("", 0)

    def size(self, name: str) -> int | None:
        try:
            status = os.stat(os.path.join(self.root, name))  # noqa: PTH116, PTH118
        except (OSError, ValueError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str) -> bytes:
        return read_bytes(os.path.join(self.root, name))  # noqa: PTH118 - keeps names that are no Unicode

    def head(self, name: str) -> bytes:
        return read_head(os.path.join(self.root, name))  # noqa: PTH118

    def _scan(self, folder: str, depth: int) -> None:
        try:
            with os.scandir(os.path.join(self.root, folder)) as entries:  # noqa: PTH118
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise UsageError(
                    f"{self.root} cannot be read: {error.strerror or error}; change its permissions"
                ) from None
            self.listing.skipped.append(Skipped(folder, f"cannot be read: {error.strerror or error}", lost=True))
            return
        # A link to a folder may stand for a class or a part. Deeper ones could lead back and put one class in another.
        follow = depth == 0 or (depth == 1 and folder.casefold() in PARTS)
        for entry in found:
            if is_hidden(entry.name):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=follow):
                self.listing.folders.add(name)
                self._scan(name, depth + 1)
            elif entry.is_file():
                self.listing.sizes[name] = entry.stat().st_size
            elif entry.is_symlink() and not entry.is_dir():
                self.listing.skipped.append(Skipped(name, "is a link to nothing", lost=True))


class ZipFiles:
    """A zip; its members may be compressed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.listing = Listing()
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            with zipfile.ZipFile(root) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UsageError(f"{root} is not a zip that can be read ({_line(error)}); copy or make it again") from None
        _check_count(root, len(infos))
        for info in infos:
            name = _checked(root, _unicode_name(info))
            if name is None:
                continue
            if info.is_dir():
                self.listing.folders.add(name)
            elif stat.S_ISLNK(info.external_attr >> 16):
                self.listing.skipped.append(Skipped(name, "is a link, which is not followed in an archive", lost=True))
            elif info.flag_bits & 1:
                raise UsageError(f"{root} is locked with a password; unpack it and give the folder")
            elif _fits(self.listing, name, info.file_size):
                self.listing.sizes[name] = info.file_size
                self._members[name] = info

    def size(self, name: str) -> int | None:
        return self.listing.sizes.get(name)

    def read(self, name: str) -> bytes:
        info = self._members[name]
        data = self._read(info, info.file_size + 1, name)
        if len(data) != info.file_size:
            raise PictureError(f"{self.root}/{name} has {len(data)} bytes, its directory promises {info.file_size}")
        return data

    def head(self, name: str) -> bytes:
        return self._read(self._members[name], HEAD_BYTES, name)

    def _read(self, info: zipfile.ZipInfo, count: int, name: str) -> bytes:
        try:
            with self.root.open("rb") as file:
                _to_data(file, info)
                with zipfile.ZipExtFile(file, "r", info) as member:
                    return member.read(count)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError, zlib.error) as error:
            raise PictureError(f"{self.root}/{name} cannot be read: {_line(error)}") from None


class TarFiles:
    """A tar that is not compressed: its members lie in it as they are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.listing = Listing()
        self._members: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(root, "r:") as archive:
                for count, member in enumerate(archive, 1):
                    _check_count(root, count)
                    self._add(member)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise UsageError(
                f"{root} is not an uncompressed tar that can be read ({_line(error)}); copy or make it again"
            ) from None

    def _add(self, member: tarfile.TarInfo) -> None:
        name = _checked(self.root, member.name)
        if name is None:
            return
        if member.isdir():
            self.listing.folders.add(name)
        elif not member.isreg() or member.issparse():
            kind = "a link" if member.issym() or member.islnk() else "no plain file"
            self.listing.skipped.append(Skipped(name, f"is {kind}, which is not followed in an archive", lost=True))
        elif _fits(self.listing, name, member.size):
            self.listing.sizes[name] = member.size
            self._members[name] = member.offset_data, member.size

    def size(self, name: str) -> int | None:
        return self.listing.sizes.get(name)

    def read(self, name: str) -> bytes:
        size = self._members[name][1]
        data = self._read(name, size)
        if len(data) != size:
            raise PictureError(f"{self.root}/{name} has {len(data)} bytes, its header promises {size}")
        return data

    def head(self, name: str) -> bytes:
        return self._read(name, HEAD_BYTES)

    def _read(self, name: str, count: int) -> bytes:
        offset, size = self._members[name]
        try:
            with self.root.open("rb") as file:
                file.seek(offset)
                return file.read(min(count, size))
        except OSError as error:
            raise PictureError(f"{self.root}/{name} cannot be read: {_line(error)}") from None


def archive_kind(path: Path) -> Literal["zip", "tar"] | None:
    """ "zip" or "tar" by the file's name; UsageError for a compressed tar, whose members cannot be read singly."""
    name = path.name.lower()
    if name.endswith(_PACKED_TAR):
        raise UsageError(
            f"{path} is a compressed tar, whose pictures cannot be read one by one; unpack it, or make it a zip"
        )
    if name.endswith(".zip"):
        return "zip"
    return "tar" if name.endswith(_TAR_SUFFIXES) else None


def parents(name: str) -> Iterator[str]:
    """The folders that a file lies in, innermost first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _unicode_name(info: zipfile.ZipInfo) -> str:
    """A member's name; macOS and others write UTF-8 without the flag that says so, which is read as code page 437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _to_data(file: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Moves to where a member's bytes begin, behind its local header, whose lengths differ from the directory's."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) != _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("its header is not where the directory says")
    file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)


_MAX_NAME, _MAX_DEPTH = 4096, 100  # what file systems hold; every folder of a name is noted


def _checked(root: Path, raw: str) -> str | None:
    """A member's name with '/' between folders; None for hidden ones. UsageError for one that leaves the archive."""
    name = raw.replace("\\", "/")
    pieces = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in pieces:
        raise UsageError(f"{root} holds {raw!r}, a name that leads out of the archive; it is not read")
    if len(name) > _MAX_NAME or len(pieces) > _MAX_DEPTH:
        raise UsageError(f"{root} holds a name of {len(pieces)} folders, {name[:40]!r}…; it is not read")
    pieces = [piece for piece in pieces if piece not in ("", ".")]
    return None if not pieces or any(is_hidden(piece) for piece in pieces) else "/".join(pieces)


def _fits(listing: Listing, name: str, size: int) -> bool:
    if size <= MAX_FILE_BYTES:
        return True
    error = f"would have {size >> 20} MB, a picture may have {MAX_FILE_BYTES >> 20}"
    listing.skipped.append(Skipped(name, error, lost=True))
    return False


def _check_count(root: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise UsageError(f"{root} holds more than {MAX_MEMBERS:,} files; unpack it, or split it into several")


def _line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:160]
