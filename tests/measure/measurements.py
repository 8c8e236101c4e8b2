"""Measurements for tests, made by hand."""

from eyespot.core.machine import Conditions, Machine
from eyespot.core.timing import Measurement, Samples

MACHINE = Machine("Somebody's CPU", "x86_64", ("avx2",), 2, 4, None, 8 << 30, None, None, "Linux 6.1", "3.11.7")
QUIET = Conditions(0.1, 0.2, 0.01, 0.0, 0.0, (2000.0, 2000.0))


def measurement(network, **more):
    """A measurement whose network took these turns of milliseconds."""
    values = {
        "bundle": "tiny.test", "digest": "0" * 64, "runtime": "onnxruntime", "runtime_version": "1.28.0", "threads": 2,
        "precision": "float32", "place": "here", "machine": MACHINE, "conditions": QUIET, "parameters": 1000,
        "macs": 2_000_000, "size_bytes": 5000, "model_bytes": 4000, "network": Samples.of(network),
    }  # fmt: skip
    return Measurement(**{**values, **more})
