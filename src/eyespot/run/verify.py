"""Replays a bundle's goldens on this machine: does it give here what it gave where it was made?"""

from __future__ import annotations

import numpy as np

from eyespot.bundle.store import Bundle
from eyespot.image.prepare import decode_and_prepare
from eyespot.run.answers import Check, check_answers
from eyespot.run.open import open_unchecked
from eyespot.run.same_network import same_network

__all__ = ["Check", "verify"]

# Grey levels, mean over the picture: decoders and resizers of other versions round differently, no more.
PIXELS_BUDGET = 1.0


def verify(bundle: Bundle, *, runtime: str = "onnxruntime") -> list[Check]:
    """All checks of an opened bundle (whose hashes were checked when it was opened).

    The network's file is what card and weights give when it is written anew. Then at three depths: the logits of the
    stored pixels, the pixels of the stored photograph, the photograph's label.
    """
    goldens = bundle.goldens()
    checks = [Check("files", True, f"{len(bundle.card.files)} files have the sha256 that the card promises")]
    checks.append(same_network(bundle))
    with open_unchecked(bundle, runtime=runtime) as session:
        logits = session.run(goldens.pixels)
        pixels = decode_and_prepare(goldens.jpeg, bundle.card.preprocess).pixels
        from_jpeg = session.run(pixels[None])[0]
    checks.append(check_answers(bundle, logits, runtime=runtime))
    grey = float(np.abs(pixels.astype(np.int16) - goldens.pixels[0]).mean())
    checks.append(
        Check("pixels", grey <= PIXELS_BUDGET, f"differ by {grey:.3f} grey levels (allowed {PIXELS_BUDGET:g})")
    )
    label = int(from_jpeg.argmax())
    expected = int(goldens.logits[0].argmax())
    names = bundle.labels.names
    first = int(bundle.labels.background)
    name = "background" if label < first else names[label - first] if label - first < len(names) else f"class {label}"
    found = f"the stored photograph is {name}"
    checks.append(Check("label", label == expected, found))
    return checks
