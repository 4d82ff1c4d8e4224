"""Ranges from streamed histograms, against the values themselves."""

from __future__ import annotations

import numpy as np
import pytest

from calib.ranges import BINS, CANDIDATES, PIECE, Histogram, measure
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


def test_zeros_of_a_relu_do_not_move_the_range() -> None:
    values = np.abs(np.random.default_rng(3).normal(size=10_000))
    sparse = np.concatenate([values, np.zeros(90_000)])
    for method in ("mse", "percentile", "absmax"):
        assert filled(sparse).amax(method) == filled(values).amax(method)


def test_a_tensor_that_is_always_zero_has_range_zero() -> None:
    assert [filled(np.zeros(5)).amax(method) for method in ("mse", "percentile", "absmax")] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_model_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="infinite or undefined values"):
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
