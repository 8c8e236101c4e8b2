"""Replays a bundle's goldens on this machine: does it give here what it gave where it was made?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eyespot.bundle.store import Bundle
from eyespot.image.prepare import decode_and_prepare
from eyespot.run.open import open_session

# Shares of the logits' range. The runtime sums float32 in its own order; a few more layers or another instruction set
# move the last digits, a wrong layer moves the first.
LOGITS_BUDGET = 1e-4
# Grey levels, mean over the picture: decoders and resizers of other versions round differently, no more.
PIXELS_BUDGET = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: what was found against what was allowed."""

    name: str
    passed: bool
    found: str


def verify(bundle: Bundle, *, runtime: str = "onnxruntime") -> list[Check]:
    """All checks of an opened bundle (whose hashes were checked when it was opened).

    At three depths: the logits of the stored pixels, the pixels of the stored photograph, the photograph's label.
    """
    goldens = bundle.goldens()
    checks = [Check("files", True, f"{len(bundle.card.files)} files have the sha256 that the card promises")]
    with open_session(bundle, runtime=runtime) as session:
        logits = session.run(goldens.pixels)
        pixels = decode_and_prepare(goldens.jpeg, bundle.card.preprocess)
        from_jpeg = session.run(pixels[None])[0]
    spread = float(np.ptp(goldens.logits)) or 1.0
    error = float(np.abs(logits - goldens.logits).max()) / spread
    same = bool((logits.argmax(1) == goldens.logits.argmax(1)).all())
    checks.append(
        Check(
            "logits",
            error <= LOGITS_BUDGET and same,
            f"differ by {error:.1e} of their range from the reference's (allowed {LOGITS_BUDGET:.0e})",
        )
    )
    grey = float(np.abs(pixels.astype(np.int16) - goldens.pixels[0]).mean())
    checks.append(
        Check("pixels", grey <= PIXELS_BUDGET, f"differ by {grey:.3f} grey levels (allowed {PIXELS_BUDGET:g})")
    )
    label = int(from_jpeg.argmax())
    expected = int(goldens.logits[0].argmax())
    names = bundle.labels.names
    first = int(bundle.labels.background)
    found = f"the stored photograph is {names[label - first] if label >= first else 'background'}"
    checks.append(Check("label", label == expected, found))
    return checks
