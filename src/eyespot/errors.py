"""Every exception that eyespot raises on purpose.

    EyespotError            the base: catch it to catch all of them; its text is one line for a person
    ├── UsageError          the caller asked for something that cannot be (exit code 2)
    │   └── UnknownName     no architecture, model, bundle or label has that name; says the nearest ones
    ├── GraphError          a network that cannot be drawn: shapes that do not meet, names that repeat
    ├── WeightsError        a weights file that is damaged, unsafe, or does not fit the network
    │   └── UnsafeFile      the file asks for something that a file of tensors has no business with
    ├── BundleError         a bundle that is damaged, incomplete or from a newer eyespot
    │   └── HashMismatch    a file is not the one that its card promises
    ├── PictureError        bytes that are not a picture we can (or will) decode
    ├── FetchError          something could not be fetched: offline, not found, too large
    ├── MissingExtra        an optional dependency is needed; says which extra brings it
    ├── RuntimeFailure      the inference runtime refused or failed
    ├── ExportError         what was exported does not answer as its source does, or cannot be written
    └── TrainingError       training could not go on; what is saved stays, and the run can be resumed

Every message says what came, what was needed and what to do, in that order.
"""

import sys

_CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"  # as PyTorch documents it
_MOST = 2000  # characters of a message


class EyespotError(Exception):
    """Base of every error that eyespot raises on purpose.

    Its text is one line of bounded length, whatever strangers' files and servers put into it.
    """

    exit_code = 1

    def __str__(self) -> str:
        text = " ".join(super().__str__().splitlines())
        return text if len(text) <= _MOST else f"{text[:_MOST]}…"


class UsageError(EyespotError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class UnknownName(UsageError):
    """No architecture, model or bundle has that name."""


class GraphError(EyespotError):
    """A network that cannot be drawn."""


class WeightsError(EyespotError):
    """A weights file that is damaged, unsafe, or does not fit the network."""


class UnsafeFile(WeightsError):
    """A file that asks for more than a file of tensors may."""


class BundleError(EyespotError):
    """A bundle that is damaged, incomplete or newer than this eyespot."""


class HashMismatch(BundleError):
    """A file whose sha256 is not the one its card promises."""


class PictureError(EyespotError):
    """Bytes that are not a picture we can, or will, decode."""


class FetchError(EyespotError):
    """Something could not be fetched."""


class MissingExtra(EyespotError):
    """An optional dependency is needed and absent."""

    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        text = f"{what} needs an optional dependency; run: pip install 'eyespot[{extra}]'"
        if extra == "train" and sys.platform == "linux":  # where torch's default build brings 3 GB for NVIDIA's GPUs
            text += f"; without an NVIDIA GPU, run first: {_CPU_TORCH}"
        super().__init__(text)
        self.extra = extra


class RuntimeFailure(EyespotError):
    """The inference runtime refused a model or failed on a batch."""


class ExportError(EyespotError):
    """What was exported does not answer as its source does, or cannot be written; nothing of it stays."""


class TrainingError(EyespotError):
    """Training could not go on; the last checkpoint stays."""
