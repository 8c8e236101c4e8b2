"""Where pictures come from: paths, folders, URLs, standard input; and what to call each of them."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import FetchError, PictureError
from eyespot.image.formats import AVIF, BMP, GIF, HEIC, JPEG, JPEG2000, PNG, PSD, QOI, TIFF, WEBP, sniff

if TYPE_CHECKING:
    import PIL.Image

Picture: TypeAlias = "str | Path | bytes | bytearray | memoryview | PIL.Image.Image | NDArray[np.uint8]"

MAX_FILE_BYTES = 512 << 20
_SUFFIXES = """
    .jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .avifs .heic .heif .hif
    .ppm .pgm .pbm .pnm .jp2 .j2k .jpf .jpx .ico .psd .qoi .pcx .sgi .bw
"""
SUFFIXES = frozenset(_SUFFIXES.split())
HEAD_BYTES = 512  # by which a file whose suffix says nothing is known
# What Windows, macOS, Synology and file systems leave behind unseen.
_LITTER = frozenset((
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found", "__macosx",
    "icon\r", "@eadir",
))  # fmt: skip
_PICTURES_ALONE = frozenset((JPEG, PNG, GIF, WEBP, AVIF, HEIC))
_PICTURES = frozenset((BMP, TIFF, JPEG2000, PSD, QOI))  # TIFF is also what many cameras and scanners call otherwise
_USUAL_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,4}")


def is_url(text: str) -> bool:
    """Whether a picture is to be fetched."""
    return text[:8].lower().startswith(("http://", "https://"))


def identity(image: str) -> str:
    """What is the same for every spelling of an image's place: its folder's real path and its name, or its address."""
    if is_url(image):
        from eyespot.bundle.connection import encoded

        try:
            return encoded(image)
        except FetchError:
            return image
    folder, name = os.path.split(image)
    try:
        return os.path.join(_real(os.path.join(os.getcwd(), folder)), name)  # noqa: PTH109, PTH118 - keeps names that are no Unicode
    except ValueError:  # a NUL byte
        return image


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over without a word."""
    return name.startswith(".") or name.lower() in _LITTER


def is_picture(name: str, head: Callable[[], bytes]) -> bool:
    """Whether a file is a picture: by its suffix, or where that is none of a picture by its first bytes.

    head: gives the first HEAD_BYTES, or raises PictureError. Under a suffix such as ``.nef`` or ``.txt`` only
    signatures count that are a picture's alone; none, or an odd one (``.jpg_large``, ``.jpg?w=640``), says nothing.
    """
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in SUFFIXES:
        return True
    try:
        data = head()
        format = sniff(data)
    except PictureError:
        return False
    if format == BMP and data[6:10] != bytes(4):
        return False  # a text that begins with BM
    return format in _PICTURES_ALONE or (format in _PICTURES and not _USUAL_SUFFIX.fullmatch(suffix))


def name_of(picture: object) -> str:
    """What a result calls its picture: the path or URL as it was given, or what kind of thing it was."""
    if isinstance(picture, str | os.PathLike):
        return os.fspath(picture) if isinstance(picture, str) else str(picture)
    return f"<{'bytes' if isinstance(picture, bytes | bytearray | memoryview) else type(picture).__name__}>"


def read_bytes(picture: str | Path | bytes | bytearray | memoryview) -> bytes:
    """The encoded bytes of a picture. PictureError when they cannot be read, FetchError when a URL fails."""
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str) and is_url(picture):
        from eyespot.bundle.fetch import fetch_bytes

        return fetch_bytes(picture, limit=MAX_FILE_BYTES)
    try:
        with _regular(picture) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise PictureError(f"{picture} has {size >> 20} MB, a picture may have {MAX_FILE_BYTES >> 20}")
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        if "://" in str(picture):
            raise PictureError(f"expected http:// or https://, got {picture}; download the image first") from None
        raise PictureError(f"{picture} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a path with a NUL byte
        raise PictureError(f"{picture!r} is not a path: {error}") from None


def walk(folder: str, *, recursive: bool, passed_over: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """The picture files of a folder (see ``is_picture``), in an order that is the same every time.

    Links to folders are not followed; pipes and devices are no pictures. A folder that cannot be read is yielded
    itself, so that it fails in its place. Holds one folder's names at a time. passed_over: told each file that is no
    picture, and with a '/' at its end each folder that is not looked into; hidden ones are left out without a word.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted((e.name, e.is_dir(follow_symlinks=False), _may_be_file(e)) for e in entries)
    except OSError:
        yield folder
        return
    for name, is_folder, may_be_file in names:
        path = os.path.join(folder, name)  # noqa: PTH118 - millions of names: pathlib costs ten times as much
        if is_hidden(name):
            continue
        if is_folder and recursive:
            yield from walk(path, recursive=True, passed_over=passed_over)
        elif may_be_file and is_picture(name, partial(read_head, path)):
            yield path
        else:
            passed_over(f"{path}/" if os.path.isdir(path) else path)  # noqa: PTH112


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link to one or to nothing, which fails in its place."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110


def _regular(path: str | Path) -> BinaryIO:
    """Opens a file for reading; PictureError for a pipe, a device or a socket, which may never end."""
    # Opening a pipe waits for whoever writes into it, unless it is asked not to.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise PictureError(f"{path} is a pipe or a device, expected a file; pipe one image into `eyespot classify -`")
    return os.fdopen(number, "rb")


def read_head(path: str) -> bytes:
    """The first HEAD_BYTES of a file; PictureError when it cannot be read."""
    try:
        with _regular(path) as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}") from None
