"""Small labelled pictures whose classes can be told apart, and what their runs look like, for tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def colours(
    folder: Path, *, classes: int = 3, each: int = 12, side: int = 36, noise: float = 0.35, seed: int = 0
) -> Path:
    """Folders ``class 0 ü``, …, of patchwork with more red, green or blue in it."""
    rng = np.random.default_rng(seed)
    for label in range(classes):
        place = folder / f"class {label} ü"
        place.mkdir(parents=True)
        for number in range(each):
            patches = noise * rng.integers(0, 256, (6, 6, 3))
            patches[..., label % 3] += 90
            image = Image.fromarray(patches.clip(0, 255).astype(np.uint8))
            image.resize((side, side + 4), Image.Resampling.NEAREST).save(place / f"{number} b.png")
    return folder


QUICK = ("size=32", "batch=8", "patience=0", "probe.steps=20", "probe.decays=[0.01]", "speed.precision=float32",
         "speed.channels_last=off", "speed.compile=off")  # fmt: skip


def same(a: Any, b: Any, *, but: tuple[str, ...] = ("seconds", "events")) -> bool:
    """Whether two checkpoints hold the same, bit for bit; times differ."""
    import torch

    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key], but=but) for key in a if key not in but)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y, but=but) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool(a == b)


def checkpoint(run: Path) -> Any:
    """What a run saved last."""
    import torch

    return torch.load(run / "last.pt", weights_only=True)
