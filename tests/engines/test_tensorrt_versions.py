"""Which graph a version takes, and how a weakly typed network is told what stays FP32 and what its ranges are."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import pytest

from engines.errors import BadInput
from engines.tensorrt_versions import Capabilities, Policy, keep_float, set_dynamic_ranges

if TYPE_CHECKING:
    from engines.manifest import Precision


def package(policy: Policy) -> Capabilities:
    return Capabilities(
        flavour="tensorrt", version="x", policy=policy, progress=True, timing_cache=True, hardware=("same",),
        version_compatible=True, implicit_int8=policy != "strong11", targets=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "precision", "dla", "expected"),
    [
        ("legacy", "fp32", False, [("onnx-opset17", "fp32")]),
        ("legacy", "fp16", False, [("onnx-opset17", "fp32")]),  # and the FP16 flag
        ("legacy", "int8", False, [("onnx-opset17", "int8")]),
        ("legacy", "int8", True, [("onnx-opset17", "fp32")]),  # and ranges: a DLA takes no Q/DQ
        ("strong", "fp32", False, [("onnx", "fp32")]),
        ("strong", "fp16", False, [("onnx-typed", "fp16")]),
        ("strong", "int8", False, [("onnx-typed", "int8"), ("onnx", "int8")]),
        ("strong", "fp16", True, [("onnx", "fp32")]),
        ("strong", "int8", True, [("onnx", "fp32")]),
        ("strong11", "fp32", False, [("onnx", "fp32")]),
        ("strong11", "fp16", False, [("onnx-typed", "fp16")]),
        ("strong11", "int8", False, [("onnx-typed", "int8"), ("onnx", "int8")]),
    ],
)
def test_sources(policy: Policy, precision: Precision, dla: bool, expected: list[tuple[str, str]]) -> None:
    assert [tuple(source) for source in package(policy).sources(precision, dla=dla)] == expected


def test_a_dla_is_always_told_by_flags() -> None:
    assert [package(policy).policy_for(None) for policy in get_args(Policy)] == ["legacy", "strong", "strong11"]
    assert package("legacy").policy_for(0) == package("strong").policy_for(1) == "legacy"
    with pytest.raises(BadInput, match=r"expected TensorRT up to 10.x for a DLA, got tensorrt x; build for the GPU"):
        package("strong11").policy_for(0)


class Tensor:
    def __init__(self, name: str, dtype: str = "FLOAT") -> None:
        self.name, self.dtype = name, dtype
        self.range: tuple[float, float] | None = None

    def set_dynamic_range(self, low: float, high: float) -> bool:
        self.range = (low, high)
        return high < 1e30  # as TensorRT refuses what is no range


class Layer:
    def __init__(self, name: str, node: str | None, *outputs: Tensor) -> None:
        self.name, self._outputs, self.num_outputs = name, outputs, len(outputs)
        self.precision = "unset"
        self.output_types: dict[int, str] = {}
        if node is not None:
            self.metadata = f"[ONNX Layer: {node}]"  # 8.6 and newer

    def get_output(self, number: int) -> Tensor:
        return self._outputs[number]

    def set_output_type(self, number: int, dtype: str) -> None:
        self.output_types[number] = dtype


def network_of(layers: list[Layer], inputs: list[Tensor]) -> Any:
    return SimpleNamespace(
        num_layers=len(layers), get_layer=lambda number: layers[number],
        num_inputs=len(inputs), get_input=lambda number: inputs[number],
    )  # fmt: skip


SDK = SimpleNamespace(
    DataType=SimpleNamespace(FLOAT="FLOAT"), BuilderFlag=SimpleNamespace(OBEY_PRECISION_CONSTRAINTS="OBEY")
)


def test_all_layers_of_a_node_stay_float_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    layers = [
        Layer("norm", "norm", Tensor("a")),
        Layer("norm_11", "norm", Tensor("b"), Tensor("c")),  # the parser's second layer of that node
        Layer("norm_1", "norm_1", Tensor("d")),  # another node
        Layer("shape", "norm", Tensor("e", "INT64")),  # integer: a precision would fail the build
        Layer("plain", None, Tensor("f")),  # 8.5 has the name alone
    ]
    flags: list[str] = []
    config = SimpleNamespace(set_flag=flags.append)
    with caplog.at_level(logging.WARNING):
        keep_float(SDK, config, network_of(layers, []), ["norm", "plain", "gone"])
    assert [layer.precision for layer in layers] == ["FLOAT", "FLOAT", "unset", "unset", "FLOAT"]
    assert [layer.output_types for layer in layers] == [
        {0: "FLOAT"}, {0: "FLOAT", 1: "FLOAT"}, {}, {}, {0: "FLOAT"},
    ]  # fmt: skip
    assert flags == ["OBEY"]
    assert caplog.messages == ["1 nodes to keep FP32 are no layers of the network: ['gone']"]


def test_ranges_reach_inputs_and_outputs_by_name() -> None:
    pixels, inner, last = Tensor("pixels"), Tensor("relu"), Tensor("embedding")
    network = network_of([Layer("a", "a", inner), Layer("b", "b", last)], [pixels])
    set_dynamic_ranges(network, {"pixels": 255.0, "relu": 0.0, "elsewhere": 3.0})
    assert (pixels.range, inner.range, last.range) == ((-255.0, 255.0), (-1.0, 1.0), None)


@pytest.mark.parametrize(
    ("ranges", "told"),
    [({"other": 1.0}, "expected ranges of the graph's tensors, got none"), ({"pixels": 1e38}, "for tensor 'pixels'")],
)
def test_ranges_of_another_graph_are_refused(ranges: dict[str, float], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        set_dynamic_ranges(network_of([], [Tensor("pixels")]), ranges)
