"""Where pictures come from: paths, folders, URLs, standard input; and what to call each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eyespot.errors import PictureError

if TYPE_CHECKING:
    import PIL.Image

Picture: TypeAlias = "str | Path | bytes | bytearray | memoryview | PIL.Image.Image | NDArray[np.uint8]"

MAX_FILE_BYTES = 512 << 20
_SUFFIXES = """
    .jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .avifs .heic .heif .hif
    .ppm .pgm .pbm .pnm .jp2 .j2k .jpf .jpx .ico .psd .qoi .pcx .sgi .bw
"""
SUFFIXES = frozenset(_SUFFIXES.split())


def is_url(text: str) -> bool:
    """Whether a picture is to be fetched."""
    return text.startswith(("http://", "https://"))


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
        with open(picture, "rb") as file:  # noqa: PTH123
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise PictureError(f"{picture} has {size >> 20} MB, a picture may have {MAX_FILE_BYTES >> 20}")
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{picture} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a path with a NUL byte
        raise PictureError(f"{picture!r} is not a path: {error}") from None


def walk(folder: str, *, recursive: bool) -> Iterator[str]:
    """The picture files of a folder by their suffixes, in an order that is the same every time.

    Hidden files and folders are left out, links to folders are not followed; pipes and devices are no pictures. A
    folder that cannot be read is yielded itself, so that it fails in its place. Holds one folder's names at a time.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                (e.name, e.is_dir(follow_symlinks=False))
                for e in entries
                if not e.name.startswith(".") and (e.is_file() or e.is_dir(follow_symlinks=False) or e.is_symlink())
            )
    except OSError:
        yield folder
        return
    for name, is_folder in names:
        path = os.path.join(folder, name)  # noqa: PTH118 - millions of names: pathlib costs ten times as much
        if is_folder:
            if recursive:
                yield from walk(path, recursive=True)
        elif os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
            yield path
