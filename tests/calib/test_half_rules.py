"""What stays FP32 and why, on graphs small enough for figures by hand."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calib.half import Half, to_half
from engines.errors import BadInput
from tests.half_material import makers, nodes_of, types_of

if TYPE_CHECKING:
    from collections.abc import Sequence

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def network(
    weight: np.ndarray[Any, Any], bias: Sequence[float] = (0.0, 0.0), power: float = 3.0, clip: float | None = None
) -> onnx.ModelProto:
    """A graph small enough for figures by hand: pixels, one 1x1 convolution of two channels, ReLU, GeM."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], name="cast", to=FLOAT),
        helper.make_node("Transpose", ["float"], ["image"], name="permute", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["image", "weight", "bias"], ["map"], name="conv"),
        helper.make_node("Relu", ["map"], ["relu"], name="relu"),
        *([helper.make_node("Clip", ["relu", "least"], ["above"], name="clip")] if clip else []),
        helper.make_node("Pow", ["above" if clip else "relu", "p"], ["cube"], name="pow"),
        helper.make_node("ReduceMean", ["cube", "axes"], ["mean"], name="mean", keepdims=0),
        helper.make_node("Pow", ["mean", "root"], ["embedding"], name="root"),
    ]
    constants = {
        "weight": weight.astype(np.float32),
        "bias": np.asarray(bias, np.float32),
        "p": np.float32(power),
        "root": np.float32(1 / power),
        "axes": np.array([2, 3], np.int64),
        **({"least": np.float32(clip)} if clip else {}),
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 4, 4, 3])],
        [helper.make_tensor_value_info("embedding", FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


NORMAL = np.full((2, 3, 1, 1), 0.01)
RANGES = {
    "float": 255.0,
    "image": 255.0,
    "map": 7.0,
    "relu": 7.0,
    "above": 7.0,
    "cube": 343.0,
    "mean": 99.0,
    "embedding": 5.0,
}


def typed_network(model: onnx.ModelProto, **ranges: float) -> Half:
    return to_half(model, {**RANGES, **ranges})


def test_the_reason_of_a_power_says_how_far_half_precision_would_be() -> None:
    assert typed_network(network(NORMAL)).kept["pow"] == (
        "relu reaches 7, to the power of 3 343: half precision has 191 x room"
    )
    assert typed_network(network(NORMAL), relu=71.3).kept["pow"] == (
        "relu reaches 71.3, to the power of 3 3.62e+05: half precision overflows 5.53 x"
    )
    assert typed_network(network(NORMAL, power=6.5), relu=7.0).kept["pow"].endswith("overflows 4.75 x")


@pytest.mark.parametrize(
    ("ranges", "kept"),
    [
        ({}, set[str]()),
        ({"map": 4094.0, "relu": 4094.0}, set[str]()),  # 16 x 4094 = 65504, the largest number
        ({"map": 4095.0}, {"conv", "relu"}),  # it stands between them
        ({"relu": 4095.0}, {"relu"}),
        ({"map": 6.2e-5, "relu": 6.2e-5}, set[str]()),
        ({"map": 6.0e-5, "relu": 6.0e-5}, {"conv", "relu"}),  # under 2^-14
        ({"map": 0.0, "relu": 0.0}, set[str]()),  # always 0: a dead layer
    ],
)
def test_a_tensor_that_leaves_half_precision_keeps_its_nodes_float(ranges: dict[str, float], kept: set[str]) -> None:
    half = typed_network(network(NORMAL), **ranges)
    always = {"cast", "permute", "pow", "mean", "root"}
    assert set(half.kept) - always == kept
    for name in kept:
        assert "reaches" in half.kept[name]


def test_a_figure_is_in_the_reason() -> None:
    reason = typed_network(network(NORMAL), relu=70000.0).kept["relu"]
    assert reason == "relu reaches 7e+04, other images 16 x more; half precision ends at 65504"


@pytest.mark.parametrize(
    ("weight", "bias", "reason"),
    [
        (NORMAL, (0.5, 0.0), None),
        (NORMAL * 1e7, (0.0, 0.0), "weight holds 1e+05; half precision ends at 65504"),
        (NORMAL * 1e-5, (0.0, 0.0), "weight, at most 1.0e-07, is changed by 19.2% in half precision"),
        # One dead channel of 1e-9 beside one of 0.01 becomes 0, which changes the whole by 1e-7.
        (NORMAL * np.array([1.0, 1e-7]).reshape(2, 1, 1, 1), (0.0, 0.0), None),
        (NORMAL, (0.0, 1e-9), None),  # lost beside results of 7
        (NORMAL, (0.0, 1e5), "bias holds 1e+05; half precision ends at 65504"),
    ],
)
def test_weights_that_half_precision_would_break_stay_float(
    weight: np.ndarray[Any, Any], bias: tuple[float, float], reason: str | None
) -> None:
    assert typed_network(network(weight, bias)).kept.get("conv") == reason


def test_a_bias_that_the_results_cancel_stays_float() -> None:
    """1000.3 becomes 1000.5; that is nothing beside 1000, and much where the sum is 7."""
    kept = [typed_network(network(NORMAL, (1000.3, 0.0)), map=reached).kept.get("conv") for reached in (1000.0, 7.0)]
    assert kept == [None, "bias is changed by 2.0e-01, beside results of 7.0e+00"]


def test_a_floor_that_half_precision_does_not_know_stays_float() -> None:
    """GeM's clip at 1e-6 would become 1.01e-6, and at 1e-12 it would be gone."""
    half = typed_network(network(NORMAL, clip=1e-6))
    assert half.kept["clip"].startswith("least, at most 1.0e-06, is changed by 1.3% in half precision")
    assert "clip" not in typed_network(network(NORMAL, clip=0.25)).kept


def quantised_network(step: float, weight_steps: Sequence[float]) -> onnx.ModelProto:
    """The same with a Q/DQ pair before a second convolution, whose steps are given."""
    model = network(NORMAL)
    constants = {
        "step": np.float32(step),
        "zero": np.zeros((), np.int8),
        "weight_int8": np.full((2, 2, 1, 1), 100, np.int8),
        "weight_step": np.asarray(weight_steps, np.float32),
        "zero_K": np.zeros(2, np.int8),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["relu", "step", "zero"], ["relu_q"], name="Q"),
        helper.make_node("DequantizeLinear", ["relu_q", "step", "zero"], ["relu_dq"], name="DQ"),
        helper.make_node(
            "DequantizeLinear", ["weight_int8", "weight_step", "zero_K"], ["second_dq"], name="WDQ", axis=0
        ),
        helper.make_node("Conv", ["relu_dq", "second_dq", "bias"], ["second"], name="conv2"),
    ]
    before = list(model.graph.node)
    before[4].input[0] = "second"
    del model.graph.node[:]
    model.graph.node.extend([*before[:4], *nodes, *before[4:]])
    return model


@pytest.mark.parametrize(
    ("step", "weight_steps", "reason"),
    [
        (0.05, (1e-4, 1e-4), None),
        (3.1e-5, (1e-4, 1e-4), None),  # just above 2^-15: rounding still changes it by less than 2^-10
        (1.01e-6, (1e-4, 1e-4), "step, at most 1.0e-06, is changed by "),
        (1e-9, (1e-4, 1e-4), "step, at most 1.0e-09, is changed by "),
        (0.05, (1.01e-6, 1.01e-6), "weight_step, at most 1.0e-06, is changed by "),
        (0.05, (1e-4, 1e-9), None),  # a dead channel beside a living one
    ],
)
def test_a_step_that_half_precision_would_change_stays_float(
    step: float, weight_steps: tuple[float, float], reason: str | None
) -> None:
    half = typed_network(quantised_network(step, weight_steps), second=7.0)
    types = types_of(half.model)
    now = {node.name: node for node in half.model.graph.node}
    if reason is None:
        assert "conv2" not in half.kept
        assert types["second"] == HALF
    else:
        assert half.kept["conv2"].startswith(reason)
        assert types["second"] == FLOAT
        assert {types[now[name].input[1]] for name in ("DQ", "WDQ")} == {FLOAT}
    steps = {item.name: numpy_helper.to_array(item) for item in half.model.graph.initializer}
    for name in ("Q", "DQ", "WDQ"):
        assert (steps[now[name].input[1]] > 0).all()  # TensorRT: "Scale coefficients must all be positive"


def test_a_step_kept_float_keeps_its_exact_value() -> None:
    half = typed_network(quantised_network(1.01e-6, (1e-4, 1e-4)), second=7.0)
    steps = {item.name: numpy_helper.to_array(item) for item in half.model.graph.initializer}
    now = {node.name: node for node in half.model.graph.node}
    assert float(steps[now["Q"].input[1]]) == float(steps[now["DQ"].input[1]]) == float(np.float32(1.01e-6))
    assert types_of(half.model)[now["Q"].input[0]] == FLOAT


def test_pixels_that_a_convolution_reads_are_cast_once() -> None:
    """From uint8 to FP16, and not through FP32."""
    model = network(NORMAL)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value, dims[3].dim_value = 3, 4
    model.graph.node[2].input[0] = "float"
    del model.graph.node[1]
    half = typed_network(model)
    now = {node.name: node for node in half.model.graph.node}
    cast = makers(half.model)[now["conv"].input[0]]
    assert (cast.op_type, list(cast.input)) == ("Cast", ["pixels"])


def test_a_head_behind_the_pooling_is_float_and_so_is_what_stands_between() -> None:
    """GeM's eps is added between a power and a mean; a product of rank 2 is in the head."""
    model = network(NORMAL)
    before = list(model.graph.node)
    constants = {"eps": np.float32(0.25), "head": np.eye(2, dtype=np.float32)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    plus = helper.make_node("Add", ["cube", "eps"], ["plus"], name="plus")
    head = helper.make_node("MatMul", ["mean", "head"], ["projected"], name="head")
    before[5].input[0], before[6].input[0] = "plus", "projected"
    del model.graph.node[:]
    model.graph.node.extend([*before[:5], plus, before[5], head, before[6]])
    half = typed_network(model, plus=343.0, projected=99.0)
    assert half.kept["head"] == "stands behind the pooling, where FP32 costs nothing"
    assert half.kept["plus"] == "feeds FP32 nodes only; half precision would save no cast"
    assert len(nodes_of(half.model, "Cast")) == 3


def test_an_unknown_operator_stays_float() -> None:
    model = network(NORMAL)
    model.graph.node[3].op_type = "Softplus"
    assert typed_network(model).kept["relu"] == "no rule says that Softplus is safe in half precision"


def with_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    result = copy.deepcopy(model)
    result.opset_import[0].version = version
    return result


def with_one_name(model: onnx.ModelProto) -> onnx.ModelProto:
    result = copy.deepcopy(model)
    for node in result.graph.node:
        node.name = "same"
    return result


@pytest.mark.parametrize(
    ("model", "keep", "missing", "expected"),
    [
        (
            network(NORMAL),
            ("typo",),
            "",
            "expected names of nodes to keep in FP32, got 'typo', which the graph does not",
        ),
        (network(NORMAL), (), "map", "expected the largest magnitude of 'map', got none; measure this graph with"),
        (with_opset(quantised_network(0.1, (0.1, 0.1)), 17), (), "", "expected a Q/DQ graph of opset 19 or newer"),
        (to_half(network(NORMAL), RANGES).model, (), "", "expected an FP32 graph, got one with FP16 tensors"),
        (with_one_name(network(NORMAL)), (), "", "expected every node of the graph to have its own name"),
    ],
    ids=["unknown name", "not measured", "opset 17", "typed twice", "same names"],
)
def test_bad_input_is_one_line(model: onnx.ModelProto, keep: tuple[str, ...], missing: str, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        to_half(model, {name: value for name, value in RANGES.items() if name != missing}, keep_float=keep)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
