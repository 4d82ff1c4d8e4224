"""The mean error of rounding is found and taken out, per output channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from calib.bias import bias_shifts, shift_biases
from calib.placement import place
from calib.quantize import quantize
from calib.ranges import Histogram, measure
from calib.table import CalibrationTable
from calib.uint8 import place_uint8, quantize_uint8
from engines.errors import BadInput
from tests.calib.small_graph import graph_of, pixels, run, small_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray


def two_channels(*, bias: bool) -> onnx.ModelProto:
    """One output, 1.0 * red + 0.004 * green (+ 2.0): with 127 steps to 1.0 the second weight becomes 1 / 127."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], name="cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["nchw"], name="nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w", *(["b"] if bias else [])], ["y"], name="conv"),
    ]
    constants: dict[str, NDArray[np.float32]] = {"w": np.array([[[[1.0]], [[0.004]]]], np.float32)}
    return graph_of(nodes, constants | ({"b": np.array([2.0], np.float32)} if bias else {}), (1, 2, 2))


IMAGES = np.array([[[[10, 100], [20, 50]]], [[[127, 0], [0, 30]]], [[[5, 20], [7, 40]]]], np.uint8)  # (3, 1, 2, 2)
# Pixels up to 127 in steps of 1 are exact, so only the second weight errs: (0.004 - 1 / 127) * mean green.
SHIFT = (0.004 - 1 / 127) * (100 + 50 + 0 + 30 + 20 + 40) / 6


@pytest.mark.parametrize("bias", [True, False])
def test_the_shift_is_the_weights_error_times_the_mean_activation(bias: bool) -> None:
    model = two_channels(bias=bias)
    result = quantize(model, {"nchw": 127.0}, pair_safe=False)
    batches = [IMAGES[:2], IMAGES[2:]]  # of unequal size: the mean is over images, not batches
    shifts = bias_shifts(model, result, batches, threads=1)
    assert list(shifts) == ["conv"]
    assert shifts["conv"] == pytest.approx([SHIFT], rel=1e-4)
    shifted = shift_biases(result, shifts)
    # The float graph's mean, which the rounded graph missed by SHIFT.
    assert run(shifted, IMAGES).mean() == pytest.approx(run(model, IMAGES).mean(), rel=1e-6)
    assert run(result, IMAGES).mean() - run(model, IMAGES).mean() == pytest.approx(-SHIFT, rel=1e-3)


def test_clipped_activations_are_made_up_for() -> None:
    model = two_channels(bias=True)
    result = quantize(model, {"nchw": 50.0}, pair_safe=False)
    shifts = bias_shifts(model, result, [IMAGES], threads=1)
    assert shifts["conv"][0] == pytest.approx(float((run(model, IMAGES) - run(result, IMAGES)).mean()), rel=1e-5)
    assert shifts["conv"][0] > 10  # 127 was clipped to 50 once in six


@pytest.fixture(scope="module")
def histograms() -> dict[str, Histogram]:
    names = {*place(small_graph()).measured, *place_uint8(small_graph()).measured}
    return measure(small_graph(), sorted(names), [pixels(16)], threads=1)


def test_every_layer_is_right_in_the_mean_on_the_float_graphs_activations(histograms: dict[str, Histogram]) -> None:
    """Shifted once, a second look finds nothing left; convolutions, transposed ones and one without a bias."""
    model = small_graph()
    result = quantize(model, {name: histogram.amax("mse") for name, histogram in histograms.items()})
    shifts = bias_shifts(model, result, [pixels(16)], threads=1)
    assert list(shifts) == ["conv1", "conv2", "conv3", "up", "conv4"]
    left = bias_shifts(model, shift_biases(result, shifts), [pixels(16)], threads=1)
    for name, shift_K in shifts.items():
        assert np.abs(left[name]).max() < 1e-5 + 1e-3 * np.abs(shift_K).max(), name
    assert max(np.abs(shift_K).max() for shift_K in shifts.values()) > 0.005


def test_a_layer_that_stays_float_keeps_its_bias(histograms: dict[str, Histogram]) -> None:
    model = small_graph()
    amax = {name: histogram.absmax for name, histogram in histograms.items()}
    shifts = bias_shifts(model, quantize(model, amax), [pixels()], threads=1)
    result = shift_biases(quantize(model, amax, keep_float=["conv2"]), shifts)
    biases = {node.name: node.input[2] for node in result.graph.node if node.op_type == "Conv"}
    assert biases["conv2"] == "b2"
    assert biases["conv3"] == "conv3_shifted_bias"
    assert "b3" not in {item.name for item in result.graph.initializer}


def test_integer_biases_of_the_uint8_form_are_shifted_by_steps(histograms: dict[str, Histogram]) -> None:
    model = small_graph()
    table = CalibrationTable(
        graph_sha256="", range_method="absmax", images=4, images_sha256="", list_sha256="",
        amax={name: histogram.amax("mse") for name, histogram in histograms.items()},
        lowest={name: histogram.lowest for name, histogram in histograms.items()},
    )  # fmt: skip
    result = quantize_uint8(model, table)
    shifts = bias_shifts(model, result, [pixels(16)], threads=1)
    shifted = shift_biases(result, shifts)
    before, after = (
        {item.name: numpy_helper.to_array(item) for item in graph.graph.initializer} for graph in (result, shifted)
    )
    moved_K = (after["conv2_bias_int32"] - before["conv2_bias_int32"]) * before["conv2_bias_scale"]
    np.testing.assert_allclose(moved_K, shifts["conv2"], atol=float(before["conv2_bias_scale"].max()))
    left = bias_shifts(model, shifted, [pixels(16)], threads=1)
    assert np.abs(left["conv2"]).max() < 0.01 * np.abs(shifts["conv2"]).max()


def test_no_images_are_refused() -> None:
    model = two_channels(bias=True)
    with pytest.raises(BadInput, match="expected calibration images, got none"):
        bias_shifts(model, quantize(model, {"nchw": 127.0}), [])
