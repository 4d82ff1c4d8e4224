"""The form for ONNX Runtime: its optimiser must find integer kernels, and they must give the float graph's result."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from calib.calibrate import measured_tensors
from calib.ranges import Histogram, measure
from calib.table import CalibrationTable, load_table
from calib.uint8 import place_uint8, quantize_uint8, unsigned_scale
from engines.errors import BadInput
from tests.calib.small_graph import graph_of, pixels, run, session, small_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def table_of(histograms: Mapping[str, Histogram]) -> CalibrationTable:
    return CalibrationTable(
        graph_sha256="", range_method="absmax", images=4, images_sha256="", list_sha256="",
        amax={name: histogram.absmax for name, histogram in histograms.items()},
        lowest={name: histogram.lowest for name, histogram in histograms.items()},
    )  # fmt: skip


@pytest.fixture(scope="module")
def table() -> CalibrationTable:
    return table_of(measure(small_graph(), measured_tensors(small_graph()), [pixels()], threads=1))


def fused(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """Count the operators that ONNX Runtime runs after its own optimisation."""
    session(model, optimised=True, save=str(folder / "optimised.onnx"))
    return Counter(node.op_type for node in onnx.load(str(folder / "optimised.onnx")).graph.node)


@pytest.mark.parametrize(
    ("amax", "lowest", "scale", "zero"),
    [
        (2.55, 0.0, 0.01, 0),  # behind a ReLU: all 255 steps above 0
        (2.0, -0.55, 0.01, 55),
        (1.275, -1.275, 0.01, 128),  # 127.5, to the even one
        (1.275, -9.0, 0.01, 128),  # clipped to the range that was chosen
        (0.0, 0.0, 1.0, 0),
    ],
)
def test_the_range_goes_from_the_least_value_to_the_largest(
    amax: float, lowest: float, scale: float, zero: int
) -> None:
    found = unsigned_scale(amax, lowest)
    assert float(found[0]) == pytest.approx(scale, rel=1e-6)
    assert (int(found[1]), found[1].dtype) == (zero, np.uint8)


def test_layers_between_rounded_tensors_become_integer_kernels(table: CalibrationTable, tmp_path: Path) -> None:
    kinds = fused(quantize_uint8(small_graph(), table), tmp_path)
    assert kinds["QLinearConv"] == 2
    # up is transposed, conv3's sum is read by it alone, and conv4's result by the mean: float, all three.
    assert (kinds["ConvTranspose"], kinds["Conv"] + kinds["FusedConv"], kinds["QLinearAdd"]) == (1, 2, 0)


def test_residual_adds_become_integer_kernels(engine_of: Callable[[str], Path], tmp_path: Path) -> None:
    """resnet_small: 20 convolutions, the last of which gives floats, and 8 Adds, the last of which reads the 7th."""
    folder = engine_of("baseline")
    table = load_table(folder / "visible.calibration.json")
    model = onnx.load(str(folder / "visible.fp32.onnx"))
    kinds = fused(quantize_uint8(model, table), tmp_path)
    assert (kinds["QLinearConv"], kinds["Conv"] + kinds["FusedConv"]) == (19, 1)
    assert kinds["QLinearAdd"] == 6
    assert fused(onnx.load(str(folder / "visible.int8.onnx")), tmp_path)["QLinearAdd"] == 0


@pytest.mark.parametrize("integer_outputs", [True, False])
def test_the_result_is_near_the_float_graphs(table: CalibrationTable, integer_outputs: bool) -> None:
    expected = run(small_graph(), pixels())
    result = quantize_uint8(small_graph(), table, integer_outputs=integer_outputs)
    for optimised in (False, True):
        cosine_N = (run(result, pixels(), optimised=optimised) * expected).sum(1)
        assert cosine_N.min() > 0.995
    broken = CalibrationTable(**{**vars(table), "amax": {**table.amax, "r2": table.amax["r2"] / 10}})
    assert (run(quantize_uint8(small_graph(), broken), pixels()) * expected).sum(1).min() < 0.99


def test_without_integer_outputs_it_is_rounded_where_the_symmetric_form_is(table: CalibrationTable) -> None:
    rounded = {
        flag: {node.input[0] for node in quantize_uint8(small_graph(), table, integer_outputs=flag).graph.node
               if node.op_type == "QuantizeLinear"}
        for flag in (True, False)
    }  # fmt: skip
    assert rounded[False] == {"centred", "r1", "pooled", "r2", "r3", "r4"}
    assert rounded[True] == {"centred", "r1", "pooled", "r2", "r4"}


def outputs_of_a_layer(weight: list[float], bias: list[float], pixel: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return what a 1x1 convolution gives for each pixel, before another one rounds it, and its INT32 bias.

    The pixels go in whole steps of 1.
    """
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], name="cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["nchw"], name="nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w", "b"], ["y"], name="conv"),
        helper.make_node("Conv", ["y", "next_w"], ["z"], name="next"),
    ]
    constants = {
        "w": np.array(weight, np.float32).reshape(-1, 1, 1, 1),
        "b": np.array(bias, np.float32),
        "next_w": np.ones((1, len(weight), 1, 1), np.float32),
    }
    table = table_of({name: histogram(np.array([0.0, 255.0])) for name in ("nchw", "y")})
    model = quantize_uint8(graph_of(nodes, constants, (1, 1, 1)), table)
    model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    (found,) = session(model).run(["y"], {"pixels": np.array(pixel, np.uint8).reshape(-1, 1, 1, 1)})
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    return found.reshape(len(pixel), -1), stored["conv_bias_int32"]


def test_a_layer_whose_numbers_are_whole_steps_is_exact() -> None:
    found, _ = outputs_of_a_layer([1.0, -0.5], [3.0, -7.0], [0, 1, 128, 255])
    np.testing.assert_allclose(found, [[3, -7], [4, -7.5], [131, -71], [258, -134.5]], rtol=1e-5)


def test_a_bias_beyond_int32_and_one_of_a_channel_without_weights_are_kept() -> None:
    found, bias_K = outputs_of_a_layer([1e-12, 0.0, 1.0], [100.0, 0.3, 5.0], [200])
    np.testing.assert_allclose(found, [[100.0, 0.3, 205.0]], rtol=1e-5)
    assert np.abs(bias_K.astype(np.int64)).max() <= 2**30 + 64  # FP32 has 24 bits of them


def histogram(values: np.ndarray) -> Histogram:
    found = Histogram()
    found.add(values.astype(np.float32))
    return found


def test_named_nodes_are_left_float_and_so_is_what_then_gives_floats() -> None:
    assert set(place_uint8(small_graph()).weights) == {"w1", "w2"}
    assert set(place_uint8(small_graph(), keep_float=["conv3"]).weights) == {"w1"}
    assert set(place_uint8(small_graph(), keep_float=["conv2", "conv3"]).weights) == set()


def test_a_table_without_a_range_is_refused(table: CalibrationTable) -> None:
    without = {name: value for name, value in table.amax.items() if name != "r2"}
    short = CalibrationTable(**{**vars(table), "amax": without, "lowest": dict.fromkeys(without, 0.0)})
    with pytest.raises(BadInput, match="no range for 1 tensors, such as 'r2'; calibrate this graph"):
        quantize_uint8(small_graph(), short)
