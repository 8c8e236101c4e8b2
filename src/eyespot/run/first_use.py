"""The first use of an int8 bundle on a processor and a runtime: its reference answers are replayed, once."""

from __future__ import annotations

import hashlib
import platform
from importlib import import_module

from eyespot.bundle.cache import cache_directory
from eyespot.bundle.store import GOLDENS, MODEL, Bundle
from eyespot.core.processor import cpu_fields
from eyespot.errors import RuntimeFailure
from eyespot.run.answers import check_answers
from eyespot.run.ort import saturates
from eyespot.run.session import Session

# What kernels are chosen by, as /proc/cpuinfo names it on x86 and on Arm.
_FIELDS = ("model name", "flags", "features", "cpu implementer", "cpu variant", "cpu part")


def check_first_use(bundle: Bundle, session: Session, *, runtime: str) -> None:
    """Compares the session's answers with the bundle's goldens, unless they were equal here before.

    Kernels for integers are many, and some saturate: a network in 8 bits may be served only where it was seen to be
    right. An empty file in the cache folder remembers that, by the digests of model and goldens, the runtime's version
    and the processor. Where the folder cannot be written the check is made at each opening, and nothing else changes.

    Raises:
        RuntimeFailure: The answers differ; the message says what the processor lacks and what to do.
    """
    mark = cache_directory() / "verified" / _key(bundle, runtime)
    try:
        if mark.exists():
            return
    except OSError:
        pass
    check = check_answers(bundle, session.run(bundle.goldens().pixels), runtime=runtime)
    if not check.passed:
        parent = bundle.card.parent or "it was made of"
        other = "--runtime onnxruntime" if runtime != "onnxruntime" else f"another version of it or the bundle {parent}"
        lack = "; this processor has no VNNI, so products may have been added in 16 bits" if saturates() else ""
        raise RuntimeFailure(
            f"{bundle.card.name} in 8 bits is wrong on {runtime} {_version(runtime)} here: logits {check.found}{lack}; "
            f"use {other}"
        )
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        pass


def refuse_overflow(bundle: Bundle, *, runtime: str) -> None:
    """RuntimeFailure for a bundle in int8 on a runtime whose sums overflow on this processor: OpenVINO without VNNI.

    It cannot be told to do otherwise. (EfficientNet-Lite0 on 100 images: up to 0.17 of the logits' range, 93 % of the
    labels. LiteRT and ncnn give the same values with and without VNNI, bit for bit.)
    """
    if bundle.card.precision == "int8" and runtime == "openvino" and saturates():
        raise RuntimeFailure(
            f"{bundle.card.name} in 8 bits would be wrong on OpenVINO here: this processor has no VNNI, and OpenVINO's "
            "sums of products overflow 16 bits without; use ONNX Runtime, or a processor with VNNI"
        )


def _key(bundle: Bundle, runtime: str) -> str:
    files = bundle.card.files
    facts = (files[MODEL], files[GOLDENS], runtime, _version(runtime), str(saturates()), _processor())
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _version(runtime: str) -> str:
    return str(import_module(runtime).__version__)  # a runtime is called as its module is


def _processor() -> str:
    fields = cpu_fields()
    return "\n".join(fields.get(name, "") for name in _FIELDS) if fields else platform.processor() or platform.machine()
