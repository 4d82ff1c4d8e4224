"""Opset 17 computes what opset 19 does, bit for bit, and what it cannot say is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from calib.opset17 import to_opset17
from calib.placement import place
from calib.quantize import quantize
from engines.errors import BadInput
from tests.calib.small_graph import graph_of, pixels, run, small_graph
from train.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_same_bits(method: str, precision: str, engine_of: Callable[[str], Path]) -> None:
    paths = sorted(engine_of(method).glob(f"*.{precision}.onnx"))
    assert paths
    for path in paths:
        model = onnx.load(str(path))
        height, width = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:3])
        image_BHWC = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        result = to_opset17(model)
        assert [(item.domain, item.version) for item in result.opset_import] == [("", 17)]
        assert result.ir_version == 8
        assert [node.name for node in result.graph.node] == [node.name for node in model.graph.node]
        assert {item.key: item.value for item in result.metadata_props}["method"] == method
        np.testing.assert_array_equal(run(result, image_BHWC), run(model, image_BHWC))


def test_quantised_graphs_keep_scales_and_axes() -> None:
    model = quantize(small_graph(), dict.fromkeys(place(small_graph()).measured, 2.0))
    result = to_opset17(model)
    np.testing.assert_array_equal(run(result, pixels()), run(model, pixels()))
    kinds = {item.name: item.data_type for item in result.graph.initializer}
    for node in result.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert [kinds[name] for name in node.input[1:]] == [onnx.TensorProto.FLOAT, onnx.TensorProto.INT8]


def test_the_axes_of_a_reduction_become_an_attribute() -> None:
    result = to_opset17(small_graph())
    mean = next(node for node in result.graph.node if node.name == "mean")
    assert list(mean.input) == ["c4"]
    assert {item.name: helper.get_attribute_value(item) for item in mean.attribute} == {"keepdims": 0, "axes": [2, 3]}
    assert "axes" not in {item.name for item in result.graph.initializer}


def test_the_callers_graph_stays_as_it_was_and_opset_17_is_taken_as_it_is() -> None:
    model = small_graph()
    result = to_opset17(model)
    assert model == small_graph()
    assert to_opset17(result) == result


def with_node(node: onnx.NodeProto, constants: dict[str, Any] | None = None) -> onnx.ModelProto:
    cast = helper.make_node("Cast", ["pixels"], ["x"], name="cast", to=onnx.TensorProto.FLOAT)
    return graph_of([cast, node], constants or {}, (4, 4, 3))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            with_node(
                helper.make_node("Resize", ["x", "", "s"], ["y"], name="smaller", antialias=1, mode="linear"),
                {"s": np.array([1, 0.5, 0.5, 1], np.float32)},
            ),
            "smaller: Resize has antialias=1, which opset 17 does not know; TensorRT 8.x cannot take the model",
        ),
        (with_node(helper.make_node("Mish", ["x"], ["y"], name="mish")), "got Mish (mish); TensorRT 8.x cannot take"),
        (
            with_node(helper.make_node("ReduceMax", ["x", "x"], ["y"], name="top")),
            "top: expected constant axes for ReduceMax, got the computed x",
        ),
        (
            with_node(helper.make_node("AveragePool", ["x"], ["y"], name="mean", kernel_shape=[2, 2])),
            "mean: AveragePool is another operator at opset 17 than in the graph",
        ),
    ],
)
def test_what_opset_17_cannot_say_is_refused(model: onnx.ModelProto, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        to_opset17(model)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_precision_scales_are_refused() -> None:
    """ONNX has them from opset 19 on; TensorRT 8.x wants FP32."""
    scale, zero = np.float16(0.1), np.int8(0)
    cast = helper.make_node("Cast", ["pixels"], ["x"], name="cast", to=onnx.TensorProto.FLOAT16)
    pair = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        helper.make_node("Cast", ["d"], ["y"], name="out", to=onnx.TensorProto.FLOAT),
    ]
    with pytest.raises(BadInput, match="the graph cannot be written for opset 17"):
        to_opset17(graph_of([cast, *pair], {"s": scale, "z": zero}, (4, 4, 3)))


@pytest.mark.parametrize("version", [13, 21])
def test_another_opset_is_refused(version: int) -> None:
    model = small_graph()
    model.opset_import[0].version = version
    with pytest.raises(BadInput, match="expected a graph of opset 18 or 19 to make one of 17, got"):
        to_opset17(model)


def test_constants_keep_their_values() -> None:
    """Nothing but the axes is dropped or rounded."""
    before = {item.name: numpy_helper.to_array(item) for item in small_graph().graph.initializer}
    after = {item.name: numpy_helper.to_array(item) for item in to_opset17(small_graph()).graph.initializer}
    assert set(before) - set(after) == {"axes", "last"}
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name])
