"""Which images a network was trained on: short digests of their files, so that evaluation can keep them apart.

A bundle that eyespot trained holds them in ``training_images.safetensors``: the first eight bytes of each file's
sha256, and nothing else of an image. Whoever has an image can tell whether it was used; the digests tell nothing about
those that one does not have. They hold wherever the images lie and whatever they are called, not for images that were
written anew in another format or size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eyespot.errors import BundleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRAINING_IMAGES = "training_images.safetensors"
DIGEST_BYTES = 8
MOST = 1_000_000  # images in all, 8 MB; of a larger dataset none are kept


@dataclass(frozen=True)
class TrainingImages:
    """Digests of the images whose labels a network learned (train) and those that only chose among its epochs and its
    temperature (validation)."""

    train: frozenset[bytes] = field(default=frozenset(), repr=False)
    validation: frozenset[bytes] = field(default=frozenset(), repr=False)

    def __or__(self, other: TrainingImages | None) -> TrainingImages:
        """Those of both: of a network that started from another. What either learned from counts as learned."""
        if other is None:
            return self
        train = self.train | other.train
        return TrainingImages(train, (self.validation | other.validation) - train)

    def to_bytes(self) -> bytes | None:
        """The file; None when there is nothing to keep, or too much."""
        import numpy as np
        from safetensors.numpy import save

        if not 0 < len(self.train) + len(self.validation) <= MOST:
            return None

        def rows(digests: Iterable[bytes]) -> NDArray[np.uint8]:
            return np.frombuffer(b"".join(sorted(digests)), np.uint8).reshape(-1, DIGEST_BYTES)

        return save({"train": rows(self.train), "validation": rows(self.validation)})

    @classmethod
    def read(cls, path: Path) -> TrainingImages:
        """The file that ``to_bytes`` gave. BundleError for anything else."""
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            if path.stat().st_size > MOST * DIGEST_BYTES + 65536:
                raise ValueError(f"it is larger than {MOST:,} digests")
            tensors = load_file(path)
            for rows in (tensors["train"], tensors["validation"]):
                if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != DIGEST_BYTES:
                    raise ValueError(f"expected rows of {DIGEST_BYTES} bytes")
            return cls(*(frozenset(row.tobytes() for row in tensors[name]) for name in ("train", "validation")))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise BundleError(f"{path} cannot be read: {error}; train or import the bundle again") from None


def digest(data: bytes) -> bytes:
    """What is kept of an image's file."""
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]
