"""Whether a network gives the logits that travel with its weights; needs no Pillow, so it holds wherever one runs."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eyespot.bundle.store import Bundle, Goldens

# Shares of the logits' range. The runtime sums float32 in its own order; a few more layers or another instruction set
# move the last digits, a wrong layer moves the first.
LOGITS_BUDGET = 1e-4
# Where everything is whole numbers from the pixels to the last sums, ONNX Runtime on x86 gives the reference's levels,
# and its logits but for one multiplication in float32. (Measured on eleven families: all equal to the last bit.)
INTEGER_BUDGET = 1e-6
# Behind a layer in float a sum that lies between two levels may go to either, and what follows takes the step along,
# which mostly moves answers by less than 1e-2, for one image in forty by up to 4e-2. So the nearest answer must be
# within the first, all within the second. Where sums overflow 16 bits, answers differ by tenths.
INT8_BUDGET, INT8_FARTHEST = 2e-2, 1e-1
# OpenVINO moves and merges the roundings between layers (measured on six networks: 3e-3 to 5e-2 of the range).
_OPENVINO = 1e-1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: what was found against what was allowed."""

    name: str
    passed: bool
    found: str


def check_answers(bundle: Bundle, logits: NDArray[np.float32], *, runtime: str) -> Check:
    """A bundle's answers (n, outputs) to its goldens on a runtime, held as near to them as this runtime can come.

    Where all is whole numbers and the runtime is ONNX Runtime on x86, level by level: to the goldens, or, where those
    are of an eyespot that rounded sums otherwise, to what the integers mean now, which takes seconds.
    """
    goldens, precision = bundle.goldens(), bundle.card.precision
    check = check_logits(logits, goldens, precision=precision, runtime=runtime)
    x86 = platform.machine() in ("x86_64", "AMD64")
    if not check.passed or precision != "int8" or runtime != "onnxruntime" or not x86:
        return check
    equal = check_logits(logits, goldens, precision=precision, equal_levels=True)
    if equal.passed:
        return equal
    from eyespot.bundle.build import normalise
    from eyespot.lower.int8.run import run_quantized
    from eyespot.lower.int8.to_onnx import is_all_integer

    network = bundle.quantized()
    if not is_all_integer(network, bundle.card.preprocess):
        return check
    meant = run_quantized(network, normalise(goldens.pixels, bundle.card.preprocess))[network.graph.outputs[0]]
    return check_logits(logits, replace(goldens, logits=meant), precision=precision, equal_levels=True)


def check_logits(
    logits: NDArray[np.float32],
    goldens: Goldens,
    *,
    precision: str = "float32",
    runtime: str = "onnxruntime",
    equal_levels: bool = False,
) -> Check:
    """Logits (n, outputs) of the stored pixels, held against the reference's: near enough, and the same label.

    precision: the card's. In int8 a label may also be one that the reference finds as likely, within the budget.
    equal_levels: of a network in int8 that computes whole numbers alone.
    """
    if logits.shape != goldens.logits.shape:
        return Check("logits", False, f"have the shape {logits.shape}, the reference's {goldens.logits.shape}")
    int8 = precision == "int8" and not equal_levels
    nearest = _OPENVINO if runtime == "openvino" else INT8_BUDGET
    exact = INTEGER_BUDGET if equal_levels else LOGITS_BUDGET
    budget, farthest = (nearest, INT8_FARTHEST) if int8 else (exact, exact)
    spread = float(np.ptp(goldens.logits)) or 1.0
    errors = np.abs(logits - goldens.logits).max(1) / spread
    labels = logits.argmax(1)
    short = goldens.logits.max(1) - goldens.logits[np.arange(len(labels)), labels]
    same = short <= (farthest * spread if int8 else 0)
    within = float(errors.min()) <= budget and float(errors.max()) <= farthest
    allowed = f"{budget:.0e} for the nearest picture, {farthest:.0e} for all" if int8 else f"{budget:.0e}"
    found = f"differ by {errors.max():.1e} of their range from the reference's (allowed {allowed})"
    return Check("logits", within and bool(same.all()), found)
