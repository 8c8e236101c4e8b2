"""Small collections of labelled pictures for the tests: folders, and archives of them."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, size: tuple[int, int] = (48, 40), format: str = "PNG") -> bytes:
    """A smooth picture of many colours (width, height), another for each seed, sharp enough to be no blur."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
    image = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).astype(int)
    noisy = np.clip(image + random.integers(-20, 21, image.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, format)
    return file.getvalue()


def fill(root: Path, files: dict[str, bytes]) -> Path:
    """Writes files by their names below ``root``; a name that ends in '/' is an empty folder."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    return root


def pack(path: Path, files: dict[str, bytes], *, deflate: bool = False) -> Path:
    """The same files as a zip or a tar, by the suffix of ``path``."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.size = len(data)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            archive.addfile(member, io.BytesIO(data))
    return path
