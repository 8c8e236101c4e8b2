"""Every tolerance that a test may use, with its reason. Tests write no literal of their own.

Differences of logits are given as a share of the reference's range (max - min), so that they mean the same for a
network whose logits span 0.1 as for one whose logits span 30.
"""

import platform

# float32 sums in another order: 53 layers of MobileNetV2 give about 4e-6.
SAME_WEIGHTS = 1e-5
# Batch norm put back behind folded convolutions: the statistics in float64, the rest another order of float32 sums;
# through fifty layers of real weights, whose variances span six decades (measured: 1e-6 to 1e-5).
RESTORED_NORMS = 1e-4
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


# Pixels, in grey levels (0–255).
# One value computed in two ways and rounded to a whole level.
RESAMPLED = 1
# The same through two passes, each rounded (measured: 1, and 2 for one bicubic value in a million).
RESAMPLED_TWICE = 2
# Bicubic overshoot at a hard edge is clipped between the passes, and Pillow from 13 on sometimes takes them in the
# other order; seen up to 25 on noise, in a few of a thousand values. Mean over the picture:
RESAMPLED_MEAN = 0.1
# Real photographs through torchvision's presets, timm's transforms and transformers' Pillow processors, taken back from
# float32 (measured: 1.0 for nearly all, 2.0 for a few bicubic ones; means up to 0.008).
RESAMPLED_PHOTOGRAPH = 2.01
# transformers' processors on torch's tensors resize in fixed point (measured: 4.0 and a mean of 0.21).
TORCH_RESAMPLED = 4.01
TORCH_RESAMPLED_MEAN = 0.25
# One pixel's value through two float32 formulas, in grey levels.
SAME_LEVEL = 1e-3
# Float32 coordinates of the other side (5e-5 of a pixel) times 255, and half a level of our rounding.
POINT_SAMPLED = 0.52
# Mean difference of the same picture through a lossy or palette format, small and full of edges; its negative or mirror
# image differs by more than 60.
LOSSY_PICTURE = 8.0
# Mean difference of the same photograph saved once in each EXIF orientation as JPEG (measured up to 3.7; its mirror
# images differ by 74).
SAME_PHOTOGRAPH = 5.0
# Mean difference of a JPEG decoded at a smaller scale and of one decoded whole, both prepared (measured 0.2 to 0.7).
SCALED_DECODE = 1.0
# Probabilities are float32 and rounded to six digits in JSON.
PROBABILITY = 1e-6
# Points of top-1 on the 500 sample pictures from the figures of ../shared/assets/MANIFEST.md, which are of 1,000: these
# 500 are the harder half. LiteRT with Google's own int8 files, another runtime and other weights, loses 0.5 to 3.2 on
# them; so do ours, 2.2 at the most (Keras MobileNet V1 0.25).
SAMPLES_TOP1 = 2.5
# A temperature fitted to 20,000 drawn targets: its own standard error is about 1 %, three times that.
FITTED = 0.03
# A share of 400 trials that is 0.95 in truth: three standard errors.
COVERED = 0.033
# A temperature fitted to 3,000 targets, each of them wrong by 1/3002, and the one fitted to them as they are (measured:
# 4e-4).
SMOOTHED = 2e-3
# Coordinates of drawings are written to a hundredth of a pixel.
DRAWN = 0.011
# Levels of a uint8 tensor between the integer kernels of ONNX Runtime and their meaning in numpy, from the same inputs.
# On x86 none (sums by fused products, as its kernels do). Elsewhere one, not run: products may not be fused there.
QUANTIZED_LEVELS = 0 if platform.machine() in ("x86_64", "AMD64") else 1
# The same where sums and requantization are computed otherwise: in float32 between roundings (Core ML's programs), in
# whole numbers (C). What lies half way between two levels may go to either (measured: 1).
SUMMED_LEVELS = 1
# What other roundings, behind layers in float or in another runtime, grow to until the logits: a share of their range.
QUANTIZED_LOGITS = 2e-2
# Logits of networks where all is whole numbers: one multiplication in float32 (measured: 0).
INTEGER_LOGITS = 1e-6 if QUANTIZED_LEVELS == 0 else QUANTIZED_LOGITS
# The same integer weights where maps lie on ncnn's symmetric grids, with half the levels for what a rectifier gives
# (measured on six networks with real weights: 0.03 to 0.13 of the logits' range).
HALVED_LEVELS = 0.2
# A float32 gradient's square and that of differences over steps of 1e-5 in float64 (measured: 1e-6 and 2e-6).
FIRST_ORDER = 1e-4

# An image's points there and back through a Placement: float64 over ten thousand pixels and a scale of 0.01.
PLACED_BACK = 1e-6
# Network pixels between a mark's centre and where it is said to lie: the ringing of JPEG and of the filter, and a
# square that is cut where it does not divide the scale.
PLACED_MARK = 0.6

# A figure of COCO's against pycocotools': sums of the same numbers in another order.
SAME_FIGURE = 1e-9
