"""Measure activation ranges: one pass over the images, memory that does not grow with their number.

Each tensor keeps a histogram of its magnitudes, whose range doubles when a larger value comes. From it come four
ranges: the largest value, the 99.999th percentile, the range of least squared rounding error, and the range whose 128
levels tell least apart from the values (TensorRT's entropy calibration).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from calib.graph_outputs import graph_outputs
from calib.quantize import LIMIT
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx
    from numpy.typing import NDArray

RangeMethod = Literal["mse", "percentile", "absmax", "entropy"]
# No one method is the best. Worst and mean cosine of trained small networks, 512 images, biases shifted by calib.bias:
#              mse              percentile       absmax           entropy
# baseline     0.9752 0.99138   0.9808 0.99140   0.9768 0.99102   0.9781 0.99092
# IMFE         0.9909 0.99516   0.9911 0.99502   0.9897 0.99467   0.9914 0.99498
# MPANet       0.9832 0.99833   0.9926 0.99818   0.9899 0.99754   0.9939 0.99834
# MCJA         0.9905 0.99953   0.9979 0.99959   0.9985 0.99947   0.9874 0.99923
# AlignGAN     0.9679 0.99956   0.9913 0.99971   0.9975 0.99967   0.9619 0.99961
RANGE_METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)
PERCENTILE = 99.999  # 99.9 cut the mean cosine to 0.968
BINS = (
    4096  # a power of two, so that doubling merges pairs; at least 16 bins for each of the 127 steps after a doubling
)
PIECE = 1 << 16  # values at a time: they stay in the cache, 3.5 ns each against 8 for a whole tensor
CANDIDATES = np.linspace(0.2, 1.0, 161)  # clips that the search tries, as parts of the largest magnitude
LEVELS = 128  # of magnitude, 0 to 127
ENTROPY_STEP = 16  # bins between two clips that the entropy search tries: 1/256 of a full histogram


class Histogram:
    """Magnitudes of one tensor. Exact zeros, which no clip moves, are counted apart: a ReLU makes half of them."""

    def __init__(self) -> None:
        self.count_B = np.zeros(BINS, np.int64)
        self.range, self.absmax, self.zeros = 0.0, 0.0, 0
        self.lowest = 0.0  # 0 where nothing was negative

    def add(self, values: NDArray[np.float32]) -> None:
        flat = values.ravel()
        lowest = float(flat.min(initial=0.0))
        largest = max(float(flat.max(initial=0.0)), -lowest)
        if not np.isfinite(largest):
            raise BadInput(
                "expected finite values on the calibration images, got NaN or infinity; the model is broken: train "
                "it again"
            )
        if self.range == 0.0:
            self.range = largest
        while self.range < largest:
            self.count_B = np.concatenate([self.count_B.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.range *= 2.0
        self.absmax, self.lowest = max(self.absmax, largest), min(self.lowest, lowest)
        if self.range == 0.0:
            self.zeros += flat.size
            return
        for start in range(0, flat.size, PIECE):
            piece = flat[start : start + PIECE]
            zeros = piece.size - int(np.count_nonzero(piece))
            scaled = np.abs(piece)
            scaled *= BINS / self.range
            bin_N = scaled.astype(np.intp)
            np.minimum(bin_N, BINS - 1, out=bin_N)
            self.count_B += np.bincount(bin_N, minlength=BINS)
            self.count_B[0] -= zeros
            self.zeros += zeros

    def amax(self, method: RangeMethod) -> float:
        """Return the magnitude that becomes 127."""
        if self.absmax == 0.0 or method == "absmax":
            return self.absmax
        width = self.range / BINS
        if method == "percentile":
            total: NDArray[np.int64] = self.count_B.cumsum()
            reached = int(np.searchsorted(total, float(total[-1]) * PERCENTILE / 100.0))
            return min((min(reached, BINS - 1) + 1) * width, self.absmax)
        if method == "entropy":
            return min(least_divergence(self.count_B) * width, self.absmax)
        used_B = self.count_B > 0
        centre_B: NDArray[np.float64] = ((np.arange(BINS, dtype=np.float64) + 0.5) * width)[used_B]
        weight_B = self.count_B[used_B].astype(np.float64)
        errors = [_squared_error(centre_B, weight_B, part * self.absmax) for part in CANDIDATES]
        return float(CANDIDATES[int(np.argmin(errors))] * self.absmax)


def least_divergence(count_B: NDArray[np.int64]) -> int:
    """Return how many bins to keep: those whose 128 levels diverge least from the clipped values (Kullback-Leibler).

    After S. Migacz, 8-bit inference with TensorRT, GTC 2017. Without the exact zeros of a ReLU, which are no part of
    the histogram: with them every clip looks alike but the smallest (measured: mean cosine 0.471).
    """
    used = int(np.flatnonzero(count_B)[-1]) + 1
    if used <= LEVELS:
        return used
    kept = [*range(LEVELS, used, ENTROPY_STEP), used]
    return kept[int(np.argmin([divergence(count_B[:used], bins) for bins in kept]))]


def divergence(count_B: NDArray[np.int64], bins: int) -> float:
    """Return the divergence of 128 levels over the first bins from the values clipped to them."""
    clipped_B = count_B[:bins].astype(np.float64)
    inside: float = clipped_B.sum()
    clipped_B[-1] += count_B[bins:].sum()
    level_B = np.arange(bins) * LEVELS // bins
    total_L = np.bincount(level_B, count_B[:bins], LEVELS)
    # A level spreads what it holds evenly over those of its bins that hold anything.
    filled_L = np.bincount(level_B, clipped_B > 0, LEVELS)
    spread_B = (total_L / np.maximum(filled_L, 1))[level_B]
    used_B = clipped_B > 0
    p_B, q_B = clipped_B[used_B] / clipped_B.sum(), spread_B[used_B] / max(inside, 1.0)
    if (q_B == 0).any():  # clipped values where the levels have none
        return float("inf")
    return float((p_B * np.log(p_B / q_B)).sum())


def _squared_error(centre_B: NDArray[np.float64], weight_B: NDArray[np.float64], clip: float) -> float:
    step = clip / LIMIT
    rounded_B = np.minimum(np.rint(centre_B / step), LIMIT) * step
    return float(weight_B @ (centre_B - rounded_B) ** 2)


def measure(
    model: onnx.ModelProto, tensors: Sequence[str], batches: Iterable[NDArray[np.uint8]], *, threads: int | None = None
) -> dict[str, Histogram]:
    """Run the float graph over batches of pixels (B, H, W, 3) and return a histogram for each named tensor."""
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    histograms = {name: Histogram() for name in tensors}
    for _, outputs in graph_outputs(probe, batches, threads=threads):
        for name, values in zip(tensors, outputs, strict=True):
            try:
                histograms[name].add(values)
            except BadInput as error:
                raise BadInput(f"{name}: {error}") from error
    return histograms
