"""Every tolerance that a test may use, with its reason. Tests write no literal of their own.

Differences of logits are given as a share of the reference's range (max - min), so that they mean the same for a
network whose logits span 0.1 as for one whose logits span 30.
"""

# float32 sums in another order: 53 layers of MobileNetV2 give about 4e-6.
SAME_WEIGHTS = 1e-5
# The original implementation on the same tensor: other kernels, sometimes batch norm folded in another order.
ORIGINAL_SAME_TENSOR = 1e-4
# The original implementation on the same JPEG: decoders and resizers differ by a grey level or two.
ORIGINAL_SAME_JPEG = 1e-2


def relative_error(got, want) -> float:
    """The largest difference as a share of ``want``'s range."""
    import numpy as np

    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"shapes differ: {got.shape} and {want.shape}"
    return float(np.abs(got - want).max() / max(np.ptp(want), 1e-30))
