"""Ranges from streamed histograms, against the values themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calib.ranges import (
    BINS,
    CANDIDATES,
    ENTROPY_STEP,
    LEVELS,
    PIECE,
    RANGE_METHODS,
    Histogram,
    divergence,
    least_divergence,
    measure,
)
from engines.errors import BadInput


def filled(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch.astype(np.float32))
    return histogram


def test_counts_do_not_depend_on_the_order_of_the_batches_but_for_the_bin_width() -> None:
    small, large = np.array([0.5, -0.25, 0.0]), np.array([3.0, -1.0])
    for order in ((small, large), (large, small)):
        histogram = filled(*order)
        assert (histogram.count_B.sum(), histogram.zeros, histogram.absmax) == (4, 1, 3.0)
        assert histogram.range >= 3.0


def test_a_larger_value_doubles_the_range_and_loses_no_count() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(0, 2.0**power, PIECE + 17) for power in range(5)]
    histogram = filled(*batches)
    assert histogram.count_B.sum() + histogram.zeros == sum(batch.size for batch in batches)
    assert histogram.absmax == pytest.approx(max(np.abs(batch).max() for batch in batches))
    assert histogram.range < 2 * histogram.absmax


def test_the_percentile_is_that_of_the_values_within_one_bin() -> None:
    values = np.abs(np.random.default_rng(1).standard_t(3, 400_000))
    histogram = filled(*np.array_split(values, 7))
    assert histogram.amax("percentile") == pytest.approx(np.percentile(values, 99.999), abs=2 * histogram.range / BINS)


def test_least_squared_error_is_found() -> None:
    """Against rounding the values themselves, for every candidate."""
    values = np.abs(np.random.default_rng(2).standard_t(3, 50_000)).astype(np.float32)
    clips = CANDIDATES * values.max()
    errors = [((np.minimum(np.rint(values / (c / 127)), 127) * (c / 127) - values) ** 2).sum() for c in clips]
    found = filled(values).amax("mse")
    assert errors[int(np.argmin(np.abs(clips - found)))] <= 1.02 * min(errors)
    assert found < values.max()


def slow_divergence(counts: list[int], bins: int) -> float:
    """The formula, a bin at a time: sum of p log(p / q), p the clipped values, q the levels spread over filled bins."""
    clipped = counts[:bins]
    clipped[-1] += sum(counts[bins:])
    spread = [0.0] * bins
    for level in range(LEVELS):
        members = [number for number in range(bins) if number * LEVELS // bins == level]
        filled_members = [number for number in members if clipped[number] > 0]
        for number in filled_members:
            spread[number] = sum(counts[member] for member in members) / len(filled_members)
    found = 0.0
    for number in range(bins):
        if clipped[number] > 0:
            p, q = clipped[number] / sum(clipped), spread[number] / sum(counts[:bins])
            if q == 0:
                return math.inf
            found += p * math.log(p / q)
    return found


@pytest.mark.parametrize("bins", [128, 144, 200, 256, 333, 500])
def test_the_divergence_is_that_of_the_formula(bins: int) -> None:
    rng = np.random.default_rng(4)
    counts = rng.poisson(300 * np.exp(-np.arange(500) / 60))
    counts[rng.integers(0, 500, 60)] = 0
    expected = slow_divergence(counts.tolist(), bins)
    assert divergence(counts, bins) == pytest.approx(expected, rel=1e-9)


def test_the_least_divergence_is_found_among_all_clips() -> None:
    counts = np.bincount(np.abs(np.random.default_rng(5).standard_t(3, 20_000) * 40).astype(int), minlength=BINS)
    found = least_divergence(counts[:BINS])
    used = int(np.flatnonzero(counts[:BINS])[-1]) + 1
    tried = {bins: slow_divergence(counts[:BINS].tolist(), bins) for bins in (*range(LEVELS, used, ENTROPY_STEP), used)}
    assert tried[found] == min(tried.values())
    assert LEVELS < found < used


def test_what_128_levels_hold_exactly_is_not_clipped() -> None:
    """Two equal bins a level: nothing is lost, so the divergence is 0, and with fewer bins it is not."""
    counts = np.full(256, 7)
    assert divergence(counts, 256) == pytest.approx(0.0, abs=1e-12)
    assert divergence(counts, 240) > 0.01
    assert least_divergence(counts) == 256
    assert least_divergence(np.array([5, 0, 3])) == 3  # fewer bins than levels


def test_a_lone_outlier_is_clipped_by_entropy() -> None:
    values = np.abs(np.random.default_rng(6).normal(size=100_000))
    found = filled(np.append(values, 40.0)).amax("entropy")
    assert 2.0 < found < 10.0


def test_the_least_value_is_kept_with_its_sign() -> None:
    assert filled(np.array([0.5, 3.0])).lowest == 0.0
    assert filled(np.array([-0.5, 3.0]), np.array([-0.75, 0.0])).lowest == -0.75


def test_zeros_of_a_relu_do_not_move_the_range() -> None:
    values = np.abs(np.random.default_rng(3).normal(size=10_000))
    sparse = np.concatenate([values, np.zeros(90_000)])
    for method in RANGE_METHODS:
        assert filled(sparse).amax(method) == filled(values).amax(method)


def test_a_tensor_that_is_always_zero_has_range_zero() -> None:
    assert [filled(np.zeros(5)).amax(method) for method in RANGE_METHODS] == [0.0] * 4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_model_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="expected finite values on the calibration images, got NaN or infinity"):
        filled(np.array([1.0, value]))


def test_no_images_is_refused() -> None:
    import onnx

    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "g",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    with pytest.raises(BadInput, match="expected calibration images, got none"):
        measure(model, ["y"], [], threads=1)
