"""Whether a bundle's model.onnx computes what its card and weights say: they are one network, not two.

Hashes and goldens only say that nothing changed since somebody wrote them. The file is written anew from card and
weights, and compared byte for byte; where an older eyespot wrote it in other bytes, by what both answer to noise.
"""

from __future__ import annotations

import hashlib

import numpy as np

from eyespot.bundle.cache import cache_directory
from eyespot.bundle.store import CARD, MODEL, Bundle
from eyespot.errors import BundleError
from eyespot.run.answers import Check
from eyespot.run.ort import OrtSession

_IMAGES = 4
_BUDGET = 1e-3  # of the logits' range: another order of the same arithmetic


def same_network(bundle: Bundle) -> Check:
    """Compares a bundle's network with the one that its card and weights give."""
    from eyespot.bundle.build import model_of

    written = model_of(bundle)
    if hashlib.sha256(written).hexdigest() == bundle.card.files[MODEL]:
        return Check("network", True, f"{MODEL} is what the card's graph and the weights give, byte for byte")
    noise = np.random.default_rng().integers(0, 256, (_IMAGES, *bundle.card.preprocess.size, 3), np.uint8)
    with OrtSession(bundle.model, threads=1) as given, OrtSession(written, threads=1) as anew:
        got, want = given.run(noise), anew.run(noise)
    if got.shape == want.shape and np.abs(got - want).max() <= _BUDGET * np.ptp(want):
        return Check(
            "network", True, f"{MODEL} answers as the card's graph and the weights do; another eyespot wrote it"
        )
    return Check(
        "network", False, f"{MODEL} is not what the card's graph and the weights give; import the weights again"
    )


def check_network_once(bundle: Bundle) -> None:
    """Raises BundleError for a bundle whose network is not that of its card and weights.

    An empty file in the cache folder remembers the bundles that were right, by the digest of their cards; where it
    cannot be written, the comparison (hundredths of a second) is made at each opening.
    """
    try:
        digest = hashlib.sha256((bundle.path / CARD).read_bytes()).hexdigest()
        mark = cache_directory() / "networks" / digest
        if mark.exists():
            return
    except OSError:
        mark = None
    check = same_network(bundle)
    if not check.passed:
        raise BundleError(f"{bundle.card.name}: {check.found}")
    try:
        if mark is not None:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    except OSError:
        pass
