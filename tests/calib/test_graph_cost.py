"""Work and bytes against published totals, sums by hand and the operators' definitions."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calib.graph_cost import GraphCost, graph_cost, kept_float, load_graph
from calib.placement import place
from calib.quantize import quantize
from engines.errors import BadInput
from tests.resnet50_graph import resnet50_graph

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BATCH = 3


def model_of(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, tuple[int, ...]], *, shape: Sequence[int | str], rank: int = 4
) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(rng.standard_normal(size, dtype=np.float32), name) for name, size in weights.items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *[None] * (rank - 1)])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])


def residual_block() -> onnx.ModelProto:
    """Two 1x1 convolutions of 4 channels at 5 x 2 around a skip, and a third behind; each tensor has 40 elements."""
    nodes = [
        helper.make_node("Relu", ["x"], ["start"], name="start"),
        helper.make_node("Conv", ["start", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="second"),
        helper.make_node("Add", ["c", "start"], ["d"], name="add"),
        helper.make_node("Relu", ["d"], ["e"], name="last"),
        helper.make_node("Conv", ["e", "w3"], ["y"], name="third"),
    ]
    return model_of(nodes, dict.fromkeys(("w1", "w2", "w3"), (4, 4, 1, 1)), shape=["batch", 4, 5, 2])


def convolutions(cost: GraphCost) -> tuple[float, float]:
    """Return the millions of elements an image that convolutions read and write, and of their weights."""
    layers = [layer for layer in cost.layers if layer.kind.startswith("Conv ")]
    moved = sum(layer.read[0].elements + layer.written[0].elements for layer in layers)
    return moved / cost.batch / 1e6, sum(layer.weights[0].elements for layer in layers) / 1e6


@pytest.mark.parametrize(("height", "width", "gflop"), [(384, 128, 12.16), (256, 128, 8.11), (288, 144, 10.26)])
def test_resnet50_has_the_work_of_the_deployment_facts(height: int, width: int, gflop: float) -> None:
    cost = graph_cost(resnet50_graph(height, width), 8)
    assert cost.flops / 8e9 == pytest.approx(gflop, abs=0.005)


def test_resnet50_has_the_activations_and_weights_of_the_deployment_facts() -> None:
    moved, weights = convolutions(graph_cost(resnet50_graph(384, 128), 8))
    assert moved == pytest.approx(23.84, abs=0.005)
    assert weights == pytest.approx(23.45, abs=0.005)


@pytest.mark.slow
def test_exported_baseline_costs_what_the_paper_s_table_of_layers_costs() -> None:
    pytest.importorskip("torch", reason="needs torch to export")
    from train.export import to_onnx, trace
    from train.methods import load

    recipe = dataclasses.replace(load("baseline").default_recipe, height_px=384, width_px=128)
    exported = graph_cost(to_onnx(trace(load("baseline")(recipe, 10).eval(), "visible")), 8)
    written_down = graph_cost(resnet50_graph(384, 128), 8)
    assert exported.flops == written_down.flops
    assert convolutions(exported) == convolutions(written_down)
    assert exported.bytes("int8") == pytest.approx(written_down.bytes("int8"), rel=0.01)  # GeM and neck are extra


def test_convolution_add_and_relu_are_one_layer_that_reads_the_skip() -> None:
    cost = graph_cost(residual_block(), BATCH)
    assert [layer.name for layer in cost.layers] == ["start", "first", "second", "third"]
    second = cost.layers[2]
    assert [tensor.name for tensor in second.read] == ["b", "start"]
    assert [tensor.name for tensor in second.written] == ["e"]
    assert second.flops == BATCH * 2 * 10 * 4 * 4
    assert second.activation_bytes("fp32") == BATCH * 4 * (40 + 40 + 40)
    assert second.weight_bytes("fp32") == 4 * 16


def test_int8_halves_only_what_the_placement_rounds() -> None:
    """Everything between the convolutions and the skip are INT8; what enters and leaves the graph is FP16."""
    start, _, second, third = graph_cost(residual_block(), BATCH).layers
    assert second.quantised
    assert second.activation_bytes("fp16") == BATCH * 2 * (40 + 40 + 40)
    assert second.activation_bytes("int8") == BATCH * (40 + 40 + 40)
    assert (second.weight_bytes("fp16"), second.weight_bytes("int8")) == (32, 16)
    assert start.activation_bytes("int8") == BATCH * (2 * 40 + 40)
    assert third.activation_bytes("int8") == BATCH * (40 + 2 * 40)


def test_tensor_for_readers_of_both_kinds_is_stored_twice() -> None:
    first = graph_cost(residual_block(), BATCH, keep_float=["add"]).layers[0]
    assert first.written[0].bytes("int8") == BATCH * 40 * (1 + 2)
    assert first.written[0].bytes("fp16") == BATCH * 40 * 2


def test_layer_that_is_kept_in_float_costs_what_it_costs_in_fp16() -> None:
    kept = graph_cost(residual_block(), BATCH, keep_float=["second", "third"]).layers[2]
    assert not kept.quantised
    assert kept.bytes("int8") == kept.bytes("fp16")


def test_peak_is_the_fullest_moment() -> None:
    """While the second convolution runs there are its input, the skip and its output; x is gone."""
    cost = graph_cost(residual_block(), BATCH)
    assert cost.peak_activation_bytes("fp32") == BATCH * 4 * 120
    assert cost.peak_activation_bytes("int8") == BATCH * 120


def test_pixels_are_one_byte_at_every_precision() -> None:
    first = graph_cost(resnet50_graph(64, 32), 1).layers[0]
    assert [tensor.name for tensor in first.read] == ["pixels"]
    for precision in ("fp32", "fp16", "int8"):
        assert first.read[0].bytes(precision) == 64 * 32 * 3


def test_pointwise_node_behind_a_tensor_that_others_read_too_is_a_layer_of_its_own() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Sigmoid", ["a"], ["b"], name="gate"),
        helper.make_node("Softmax", ["a"], ["c"], name="other"),
        helper.make_node("Mul", ["b", "c"], ["y"], name="product"),
    ]
    cost = graph_cost(model_of(nodes, {"w": (4, 4, 1, 1)}, shape=["batch", 4, 5, 2]), BATCH)
    assert [layer.name for layer in cost.layers] == ["conv", "gate", "other"]
    assert [tensor.name for tensor in cost.layers[2].read] == ["a", "b"]


def test_reshape_moves_nothing() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Flatten", ["a"], ["b"], name="flat"),
        helper.make_node("MatMul", ["b", "v"], ["y"], name="product"),
    ]
    cost = graph_cost(model_of(nodes, {"w": (4, 4, 1, 1), "v": (40, 6)}, shape=["batch", 4, 5, 2], rank=2), BATCH)
    assert [layer.name for layer in cost.layers] == ["conv", "product"]
    assert [tensor.name for tensor in cost.layers[1].read] == ["a"]


def count_convolution(out: Sequence[int], weight: Sequence[int]) -> int:
    """Count multiply-adds one by one."""
    return sum(1 for _ in product(*(range(length) for length in (*out, *weight[1:]))))


@pytest.mark.parametrize(
    ("kind", "weight", "attributes", "multiply_adds"),
    [
        ("Conv", (6, 4, 3, 3), {"pads": [1, 1, 1, 1]}, count_convolution((BATCH, 6, 5, 2), (6, 4, 3, 3))),
        ("Conv", (4, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": 4}, count_convolution((BATCH, 4, 5, 2), (4, 1, 3, 3))),
        ("Conv", (6, 4, 3, 1), {"strides": [2, 2]}, count_convolution((BATCH, 6, 2, 1), (6, 4, 3, 1))),
        # Every input element meets every weight of its channel: 2 outputs times 2 x 2.
        ("ConvTranspose", (4, 2, 2, 2), {"strides": [2, 2]}, BATCH * 40 * 2 * 4),
        ("MatMul", (2, 7), {}, BATCH * 4 * 5 * 2 * 7),
    ],
)
def test_work_is_two_for_each_multiply_add(
    kind: str, weight: tuple[int, ...], attributes: dict[str, Any], multiply_adds: int
) -> None:
    node = helper.make_node(kind, ["x", "w"], ["y"], name="only", **attributes)
    cost = graph_cost(model_of([node], {"w": weight}, shape=["batch", 4, 5, 2]), BATCH)
    assert cost.flops == 2 * multiply_adds


@pytest.mark.parametrize(("shape", "transposed"), [((8, 5), 0), ((5, 8), 1)])
def test_gemm_is_counted_whichever_way_its_weight_lies(shape: tuple[int, int], transposed: int) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="only", transB=transposed)
    cost = graph_cost(model_of([node], {"w": shape}, shape=["batch", 8], rank=2), BATCH)
    assert cost.flops == 2 * BATCH * 8 * 5


def test_int8_layers_are_those_of_the_written_int8_graph(engine_folder: Path) -> None:
    cost = graph_cost(load_graph(engine_folder / "visible.fp32.onnx"), BATCH)
    written = load_graph(engine_folder / "visible.int8.onnx").graph.node
    rounded = {name for node in written if node.op_type == "DequantizeLinear" for name in node.output}
    expected = {node.name for node in written if node.op_type in {"Conv", "MaxPool"} and node.input[0] in rounded}
    assert {layer.name for layer in cost.layers if layer.quantised} == expected
    assert len(expected) == 21


def test_layers_that_an_int8_graph_left_in_float_are_found() -> None:
    model = residual_block()
    amax = dict.fromkeys(place(model).measured, 1.0)
    assert kept_float(model, quantize(model, amax)) == frozenset()
    assert "second" in kept_float(model, quantize(model, amax, keep_float=["second"]))


def test_graph_with_pairs_is_refused() -> None:
    model = residual_block()
    pairs = quantize(model, dict.fromkeys(place(model).measured, 1.0))
    with pytest.raises(BadInput, match="expected a float graph, got one with Q/DQ pairs; name the fp32 file"):
        graph_cost(pairs, BATCH)


def test_operator_whose_work_is_not_counted_is_refused() -> None:
    node = helper.make_node("Einsum", ["x", "x"], ["y"], name="only", equation="bi,bi->bi")
    with pytest.raises(BadInput, match="got Einsum"):
        graph_cost(model_of([node], {}, shape=["batch", 8], rank=2), BATCH)


def test_fixed_batch_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="only")
    with pytest.raises(BadInput, match="expected a free batch dimension at 'x', got 2"):
        graph_cost(model_of([node], {}, shape=[2, 8], rank=2), BATCH)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="expected an ONNX file, got"):
        load_graph(path)
