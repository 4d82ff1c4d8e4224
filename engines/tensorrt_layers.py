"""What a plan is made of: its fused layers with their types, and its memory.

Two sources: the table that TensorRT-RTX's builder prints (verbose log), which needs no GPU, and the engine inspector's
JSON, which needs the plan loaded on one. Written against TensorRT-RTX 1.7.1's log; the JSON's fields are those of
NVIDIA's documentation, 8.5 to 11.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from engines.atomic import write_text
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_ROW = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: .*?Metadata: (?P<metadata>.*)$",
    re.MULTILINE,
)
_TENSOR = re.compile(r"\{ Name: (?P<name>.*?), Dimensions: .*?Datatype: (?P<dtype>\w+), Format: (?P<format>.*?) \}")
_MEMORY = re.compile(r"Total (Activation|Weights) Memory:? (\d+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
# Kinds of layers that multiply. TensorRT-RTX: "correlation", "gemm", "runtime_fusion" (10 of the 53 convolutions of
# ResNet-50 in FP16: 1x1 and ReLU in one); TensorRT: "CaskConvolution" and the like.
_PRODUCT = re.compile(r"conv|correlation|fusion|gemm|matmul|matrix", re.IGNORECASE)
_DTYPE = re.compile(r"\b(uint8|int8|int32|int64|fp16|half|bf16|bfloat16|fp8|fp32|float|bool)\b", re.IGNORECASE)
_SHORT = {"half": "fp16", "float": "fp32", "bfloat16": "bf16"}


@dataclass(frozen=True, kw_only=True)
class LayerTensor:
    """What a layer reads or writes; dtype is fp32, fp16, int8, uint8, ..."""

    name: str
    dtype: str
    format: str


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of a plan, and the ONNX nodes that it does the work of."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[LayerTensor, ...]
    constants: tuple[LayerTensor, ...]  # weights, biases and scales; the inspector lists none
    outputs: tuple[LayerTensor, ...]


@dataclass(frozen=True, kw_only=True)
class LayerTable:
    """All layers of a plan, in order, and the memory that the builder reports (None where it says nothing)."""

    layers: tuple[LayerRow, ...]
    activation_bytes: int | None = None  # of one execution context, at the largest batch
    weight_bytes: int | None = None


def table_of_log(messages: Iterable[str]) -> LayerTable:
    """Read the table out of the builder's verbose messages."""
    listing = ""
    memory: dict[str, int] = {}
    for message in messages:
        listing = message if message.startswith("Layers:") else listing
        memory |= {kind: int(size) for kind, size in _MEMORY.findall(message)}
    found = list(_ROW.finditer(listing))
    rows = tuple(
        LayerRow(
            name=row["name"],
            kind=row["kind"],
            nodes=_nodes(row["metadata"]),
            inputs=_tensors(row["inputs"]),
            constants=_tensors(row["constants"]),
            outputs=_tensors(row["outputs"]),
        )
        for row in found
    )
    tensors = sum(len(row.inputs) + len(row.constants) + len(row.outputs) for row in rows)
    if not rows or len(rows) != listing.count("LayerType: ") or tensors != sum(row[0].count("{ ") for row in found):
        raise BadInput(
            f"expected the builder's log to list layers as TensorRT-RTX 1.7 does, got {len(rows)} that could be read; "
            "build without the layer table"
        )
    return LayerTable(layers=rows, activation_bytes=memory.get("Activation"), weight_bytes=memory.get("Weights"))


def table_of_inspector(text: str, messages: Iterable[str] = ()) -> LayerTable:
    """Read the engine inspector's JSON; a plan built without detailed verbosity has names only and is refused."""
    try:
        listed: Any = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"expected JSON with 'Layers' from the engine inspector, got {text[:40]!r}") from error
    if not listed or not all(isinstance(layer, dict) for layer in listed):
        raise BadInput("expected layers with their types, got names only; build the plan with a layer table")
    memory = {kind: int(size) for message in messages for kind, size in _MEMORY.findall(message)}
    return LayerTable(
        layers=tuple(_inspected(layer) for layer in cast("list[dict[str, Any]]", listed)),
        activation_bytes=memory.get("Activation"),
        weight_bytes=memory.get("Weights"),
    )


def precision_of(rows: Sequence[LayerRow]) -> dict[str, str]:
    """Map each ONNX convolution or product to the type of the activations that it multiplies.

    Nodes that are fused into such a layer (bias, ReLU, Q/DQ) appear with it. A node that several layers multiply for
    in different types gets them all, such as "fp32+int8".
    """
    found: dict[str, set[str]] = {}
    for row in rows:
        if _PRODUCT.search(row.kind) and row.inputs:
            for node in row.nodes:
                found.setdefault(node, set()).add(row.inputs[0].dtype)
    return {node: "+".join(sorted(dtypes)) for node, dtypes in found.items()}


def write_layers(path: Path, table: LayerTable) -> None:
    """Write the table as JSON, atomically."""
    write_text(path, json.dumps(dataclasses.asdict(table), indent=1) + "\n")


def read_layers(path: Path) -> LayerTable:
    """Read what write_layers wrote."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(
            LayerRow(
                name=row["name"],
                kind=row["kind"],
                nodes=tuple(row["nodes"]),
                inputs=tuple(LayerTensor(**tensor) for tensor in row["inputs"]),
                constants=tuple(LayerTensor(**tensor) for tensor in row["constants"]),
                outputs=tuple(LayerTensor(**tensor) for tensor in row["outputs"]),
            )
            for row in raw.pop("layers")
        )
        return LayerTable(layers=rows, **raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: expected a layer table, got {error}; build the plan again") from error


def _inspected(layer: dict[str, Any]) -> LayerRow:
    name = str(layer.get("Name", ""))
    return LayerRow(
        name=name,
        kind=str(layer.get("LayerType", "")),
        # 8.5 has no metadata, but names a fused layer by its ONNX nodes.
        nodes=_nodes(str(layer.get("Metadata", ""))) or tuple(name.split(" + ")),
        inputs=tuple(_inspected_tensor(tensor) for tensor in layer.get("Inputs", [])),
        constants=tuple(_inspected_tensor(tensor) for tensor in layer.get("Constants", [])),
        outputs=tuple(_inspected_tensor(tensor) for tensor in layer.get("Outputs", [])),
    )


def _inspected_tensor(tensor: dict[str, Any]) -> LayerTensor:
    # One field, such as "Half" or "Channel major FP16 format where channel % 8 == 0"; the log of TensorRT-RTX has two.
    layout = str(tensor.get("Format/Datatype", tensor.get("Format", "")))
    return LayerTensor(
        name=str(tensor.get("Name", "")), dtype=_dtype(str(tensor.get("Datatype", layout))), format=layout
    )


def _nodes(metadata: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_NODE.findall(metadata)))


def _tensors(listing: str) -> tuple[LayerTensor, ...]:
    return tuple(
        LayerTensor(name=tensor["name"], dtype=_dtype(tensor["dtype"]), format=tensor["format"])
        for tensor in _TENSOR.finditer(listing)
    )


def _dtype(text: str) -> str:
    found = _DTYPE.search(text)
    name = (found[1] if found else text).lower()
    return _SHORT.get(name, name)
