"""Layer tables, from the log of TensorRT-RTX's builder and from the engine inspector's JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from engines.errors import BadInput
from engines.tensorrt_layers import (
    LayerRow,
    LayerTensor,
    precision_of,
    read_layers,
    table_of_inspector,
    table_of_log,
    write_layers,
)

if TYPE_CHECKING:
    from pathlib import Path

# Written by TensorRT-RTX 1.7.1 for an INT8 graph (SM86); sizes, constants and repeated fields are shortened.
DIMENSIONS = "Dimensions: [-1,24,4,4], Strides: [384,1,96,24], StrideOrder: [3,0,2,1]"
NHWC = "Format: (NHWC) Channel major format"
LOG = [
    "Total Host Persistent Memory: 80 bytes",
    "Total Activation Memory: 16990208 bytes",
    "Total Weights Memory: 1599248 bytes",
    "Layers:\n"
    "Name: __mye19432_myl0_13, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, "
    "EventId: 1, Metadata: \n"
    f"Name: __myl_CastTran_myl0_1, LayerType: kgen, Inputs: [ {{ Name: pixels, {DIMENSIONS}, Datatype: UInt8, "
    "Format: (Linear) Row major linear format }], Constants: [], Outputs: "
    f"[ {{ Name: t_25_myl0, {DIMENSIONS}, Datatype: Int8, {NHWC} }}], TacticName: __myl_Cast_0x2d, StreamId: 0, "
    "Metadata: [ONNX Layer: node__to_copy]\x1f[ONNX Layer: node_Conv_307]\n"
    "Name: node_Conv_307_myl0_2, LayerType: correlation, Inputs: "
    f"[ {{ Name: t_25_myl0, {DIMENSIONS}, Datatype: Int8, {NHWC} }}], Constants: "
    f"[ {{ Name: w_myl0, {DIMENSIONS}, Datatype: Int8, {NHWC} }}, {{ Name: s_myl0, {DIMENSIONS}, Datatype: Float, "
    f"{NHWC} }}], Outputs: [ {{ Name: b_26, {DIMENSIONS}, Datatype: Float, {NHWC} }}], "
    "TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: node_Conv_307]\x1f[ONNX Layer: div_1_DQ]\x1e"
    "[ONNX Layer: conv1.weight_DQ]\n\nI/O Tensors:\n Name: pixels, IOMode: Input, DataType: UInt8\n",
]
CHANNEL_MAJOR = "(NHWC) Channel major format"


def test_the_log_gives_layers_types_nodes_and_memory() -> None:
    table = table_of_log(LOG)
    assert (table.activation_bytes, table.weight_bytes) == (16990208, 1599248)
    signal, cast, convolution = table.layers
    assert (signal.kind, signal.nodes, signal.inputs, signal.outputs) == ("signal", (), (), ())
    assert cast.inputs == (LayerTensor(name="pixels", dtype="uint8", format="(Linear) Row major linear format"),)
    assert convolution == LayerRow(
        name="node_Conv_307_myl0_2",
        kind="correlation",
        nodes=("node_Conv_307", "div_1_DQ", "conv1.weight_DQ"),
        inputs=(LayerTensor(name="t_25_myl0", dtype="int8", format=CHANNEL_MAJOR),),
        constants=(
            LayerTensor(name="w_myl0", dtype="int8", format=CHANNEL_MAJOR),
            LayerTensor(name="s_myl0", dtype="fp32", format=CHANNEL_MAJOR),
        ),
        outputs=(LayerTensor(name="b_26", dtype="fp32", format=CHANNEL_MAJOR),),
    )


def test_a_convolution_has_the_type_that_it_multiplies() -> None:
    """The kernel before it, which only prepares its pixels, carries the node's name too and does not count."""
    assert precision_of(table_of_log(LOG).layers)["node_Conv_307"] == "int8"


def test_a_node_that_is_multiplied_in_two_types_says_so() -> None:
    def row(kind: str, dtype: str) -> LayerRow:
        tensor = LayerTensor(name="x", dtype=dtype, format="")
        return LayerRow(name="n", kind=kind, nodes=("product",), inputs=(tensor,), constants=(), outputs=())

    assert precision_of([row("gemm", "int8"), row("kgen", "fp32"), row("runtime_fusion", "fp16")]) == {
        "product": "fp16+int8"
    }


@pytest.mark.parametrize(
    "log",
    [[], LOG[:3], ["Layers:\n"], [LOG[3].replace("Outputs: ", "Results: ")], [LOG[3].replace("Name: b", "Tensor: b")]],
    ids=["nothing", "no table", "empty", "other rows", "other tensors"],
)
def test_a_log_of_another_form_is_refused_not_read_in_part(log: list[str]) -> None:
    with pytest.raises(BadInput, match=r"expected the builder's log to list layers as TensorRT-RTX 1\.7 does, got"):
        table_of_log(log)


# The form of NVIDIA's documentation: 8.5 names nodes in the layer's name, later ones in the metadata too.
INSPECTED = {
    "Layers": [
        {
            "Name": "node_Conv_1 + node_relu_1",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "a", "Dimensions": [1, 8, 4, 4],
                        "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}],
            "Outputs": [{"Name": "b", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
        },
        {
            "Name": "fused", "LayerType": "gemm", "Metadata": "[ONNX Layer: node_matmul]\x1f[ONNX Layer: node_add]",
            "Inputs": [{"Name": "b", "Format/Datatype": "Half"}], "Outputs": [],
        },
        {"Name": "Reformatting CopyNode for b", "LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Float"}]},
    ],
    "Bindings": ["pixels", "embedding"],
}  # fmt: skip


def test_the_inspector_gives_the_same_table() -> None:
    table = table_of_inspector(json.dumps(INSPECTED), ["Total Activation Memory: 8031744"])
    assert table.activation_bytes == 8031744
    assert table.weight_bytes is None
    assert precision_of(table.layers) == {
        "node_Conv_1": "int8", "node_relu_1": "int8", "node_matmul": "fp16", "node_add": "fp16",
    }  # fmt: skip
    assert table.layers[0].outputs[0].dtype == "fp16"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"Layers": ["node_Conv_1 + node_relu_1"], "Bindings": []}', "got names only"),
        ('{"Layers": []}', "got names only"),
        ("{}", "expected JSON with 'Layers'"),
        ("not JSON", "expected JSON with 'Layers' from the engine inspector, got 'not JSON'"),
    ],
)
def test_an_inspector_that_says_nothing_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        table_of_inspector(text)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    write_layers(tmp_path / "layers.json", table_of_log(LOG))
    assert read_layers(tmp_path / "layers.json") == table_of_log(LOG)
    (tmp_path / "layers.json").write_text('{"layers": [{}]}', encoding="utf-8")
    with pytest.raises(BadInput, match=r"layers\.json: expected a layer table, got 'name'; build the plan again"):
        read_layers(tmp_path / "layers.json")
