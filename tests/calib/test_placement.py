"""Where the Q/DQ pairs are, read off the written graphs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from calib.placement import place
from calib.quantize import quantize
from calib.sensitivity import layers_of
from calib.table import load_table
from tests.calib.small_graph import small_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAIL = {"Pow", "ReduceMean", "BatchNormalization", "ReduceL2", "Softmax", "Sigmoid", "Mul", "Clip", "Expand"}


class Graph:
    """A quantised model with look-ups: all its layers, also those that the build of a random network keeps float."""

    def __init__(self, folder: Path, stem: str) -> None:
        amax = load_table(folder / f"{stem}.calibration.json").amax
        self.model = quantize(onnx.load(str(folder / f"{stem}.fp32.onnx")), amax)
        self.nodes = list(self.model.graph.node)
        self.constants = {item.name: numpy_helper.to_array(item) for item in self.model.graph.initializer}
        self.producer = {output: node for node in self.nodes for output in node.output}

    def of(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type == kind]

    def from_dq(self, name: str) -> bool:
        return name in self.producer and self.producer[name].op_type == "DequantizeLinear"

    def scale(self, name: str) -> float:
        return float(self.constants[self.producer[name].input[1]])


@pytest.fixture(scope="module", params=["baseline", "mcja"])
def graph(request: pytest.FixtureRequest, engine_of: Callable[[str], Path]) -> Graph:
    return Graph(engine_of(request.param), "visible" if request.param == "baseline" else "model")


def backbone(graph: Graph) -> list[onnx.NodeProto]:
    return [node for node in graph.of("Conv") if graph.from_dq(node.input[0])]


def attentions(graph: Graph) -> int:
    return len([node for node in graph.of("Conv") if not graph.from_dq(node.input[0])]) // 2


def shortcuts(graph: Graph) -> int:
    """Three blocks have a shortcut with a convolution; behind two of them MCJA has an attention, which reads float."""
    return 1 if attentions(graph) else 3


def test_a_skip_is_rounded_only_where_the_sum_is(graph: Graph) -> None:
    """The last block's sum goes to the pooling in float: rounding its skip would cost accuracy and win nothing."""
    adds = [
        node for node in graph.of("Add") if any(graph.producer.get(name) in graph.of("Conv") for name in node.input)
    ]
    assert len(adds) >= 8
    for node in adds:
        (relu,) = [user for user in graph.nodes if node.output[0] in user.input][:1]
        rounded = any(user.op_type == "QuantizeLinear" and user.input[0] == relu.output[0] for user in graph.nodes)
        if relu.op_type == "Relu":
            assert rounded == any(graph.from_dq(name) for name in node.input), node.name


@pytest.mark.parametrize("name", ["baseline", "mcja", "mpanet", "imfe"])
def test_any_layer_can_be_left_out_alone(name: str, engine_of: Callable[[str], Path]) -> None:
    """The other inputs then need no range that was not measured; the skip of a block goes with its convolution."""
    path = next(engine_of(name).glob("*.fp32.onnx"))
    model = onnx.load(str(path))
    measured = set(place(model).measured)
    for layer in layers_of(model):
        placement = place(model, keep_float=[layer])
        assert set(placement.measured) <= measured, layer
        assert layer not in {node for edges in placement.activations.values() for node, _ in edges}


def test_every_convolution_of_the_backbone_is_quantised_on_both_inputs(graph: Graph) -> None:
    """resnet_small: 20 convolutions, 8 residual Adds, 1 MaxPool; the pairs of a tensor are shared by its readers."""
    assert len(backbone(graph)) == 20
    assert all(graph.from_dq(node.input[1]) for node in backbone(graph))
    # 1 stem input, 1 MaxPool input, 1 behind it, 16 between convolutions less the 1 behind the MaxPool, the shortcuts'
    # convolutions that are rounded skips, 1 for the first two blocks' inputs counted once.
    assert len(graph.of("QuantizeLinear")) == 18 + shortcuts(graph)
    assert len(graph.of("DequantizeLinear")) == len(graph.of("QuantizeLinear")) + 20


def test_weights_are_int8_with_a_scale_for_each_output_channel_and_biases_stay_float(graph: Graph) -> None:
    for node in backbone(graph):
        dequantize = graph.producer[node.input[1]]
        weight, scale, zero = (graph.constants[name] for name in dequantize.input)
        assert weight.dtype == np.int8
        assert weight.min() >= -127
        assert next(item.i for item in dequantize.attribute if item.name == "axis") == 0
        assert scale.shape == zero.shape == (len(weight),)
        assert scale.dtype == np.float32
        assert graph.constants[node.input[2]].dtype == np.float32


def test_zero_points_are_zero_int8_and_scales_are_positive_constants(graph: Graph) -> None:
    for node in (*graph.of("QuantizeLinear"), *graph.of("DequantizeLinear")):
        zero = graph.constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (graph.constants[node.input[1]] > 0).all()


def test_nothing_stands_between_a_convolution_and_its_relu_or_add(graph: Graph) -> None:
    """Only a shortcut's convolution is rounded: its output is the skip."""
    outputs = {node.output[0] for node in graph.of("Conv")}
    rounded = [node for node in graph.of("QuantizeLinear") if node.input[0] in outputs]
    assert len(rounded) == shortcuts(graph)
    for node in rounded:
        users = {user.op_type for user in graph.nodes for name in user.input if name == node.output[0]}
        assert users == {"DequantizeLinear"}


def test_each_residual_add_has_one_rounded_input_the_skip(graph: Graph) -> None:
    residual = [node for node in graph.of("Add") if any(graph.from_dq(name) for name in node.input)]
    # Of eight blocks the last one goes to the pooling; MCJA's four attentions read the results of four more.
    assert len(residual) == (3 if attentions(graph) else 7)
    for node in residual:
        (main,) = [name for name in node.input if not graph.from_dq(name)]
        assert graph.producer[main].op_type == "Conv"


def test_max_pool_has_the_same_scale_before_and_behind(graph: Graph) -> None:
    (pool,) = graph.of("MaxPool")
    behind = next(node for node in graph.of("QuantizeLinear") if node.input[0] == pool.output[0])
    assert graph.from_dq(pool.input[0])
    assert graph.scale(pool.input[0]) == float(graph.constants[behind.input[1]])


def test_gem_neck_norm_and_attention_stay_float(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type in TAIL or (node.op_type == "MatMul"):
            assert not any(graph.from_dq(name) for name in node.input), node.name


def test_attention_convolutions_stay_float(engine_of: Callable[[str], Path]) -> None:
    """MCJA: four attentions in resnet_small, each with a 1x1 to its contexts and a depthwise Conv1d."""
    graph = Graph(engine_of("mcja"), "model")
    floating = [node for node in graph.of("Conv") if not graph.from_dq(node.input[0])]
    assert len(floating) == 8
    assert not any(graph.from_dq(node.input[1]) for node in floating)


def test_named_nodes_are_left_alone(engine_folder: Path) -> None:
    model = onnx.load(str(engine_folder / "visible.fp32.onnx"))
    stem = next(node for node in model.graph.node if node.op_type == "Conv")
    before, after = place(model), place(model, keep_float=[stem.name])
    assert stem.input[1] in before.weights
    assert set(before.weights) - set(after.weights) == {stem.input[1]}


def test_operators_are_those_of_the_float_graph_and_pairs(engine_folder: Path) -> None:
    kinds = [
        Counter(node.op_type for node in onnx.load(str(engine_folder / name)).graph.node)
        for name in ("visible.fp32.onnx", "visible.int8.onnx")
    ]
    assert set(kinds[1] - kinds[0]) == {"QuantizeLinear", "DequantizeLinear"}
    assert not kinds[0] - kinds[1]


def test_a_transposed_convolution_is_quantised_on_axis_1_unless_it_has_groups() -> None:
    model = small_graph()
    assert place(model).weights["w_up"] == ("up", 1, 1)
    assert ("up", 0) in place(model).activations["r3"]
    next(node for node in model.graph.node if node.name == "up").attribute.append(helper.make_attribute("group", 2))
    assert "w_up" not in place(model).weights


def test_a_convolution_of_what_was_pooled_to_a_pixel_stays_float() -> None:
    """MPANet's channel attention begins so; its second convolution ends in a gate."""
    model = small_graph()
    nodes = model.graph.node
    squeeze = [
        helper.make_node("ReduceMean", ["r2", "axes"], ["one_pixel"], name="squeeze", keepdims=1),
        helper.make_node("Conv", ["one_pixel", "w3", "b3"], ["squeezed"], name="attention"),
    ]
    for number, node in enumerate(squeeze):
        nodes.insert(9 + number, node)
    assert ("attention", 0) not in {edge for edges in place(model).activations.values() for edge in edges}
    assert place(model).weights["w2"] == ("conv2", 1, 0)


def test_both_generators_and_the_backbone_of_aligngan_are_quantised(engine_of: Callable[[str], Path]) -> None:
    """12 convolutions and 2 transposed ones make the infrared image, 20 embed it."""
    graph = Graph(engine_of("aligngan"), "visible")
    assert len(backbone(graph)) == 32
    assert len(graph.of("ConvTranspose")) == 2
    assert all(graph.from_dq(name) for node in graph.of("ConvTranspose") for name in node.input[:2])
    (resize,) = graph.of("Resize")
    assert not graph.from_dq(resize.input[0])
