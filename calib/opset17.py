"""Rewrite a graph for the ONNX reader of TensorRT 8.x: opset 17, IR version 8. Float and Q/DQ graphs alike.

Our own, because onnx.version_converter leaves noop_with_empty_axes on reductions, which opset 17 does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8  # what onnx 1.12, of opset 17, wrote
SOURCE_OPSETS = (18, 19)

# Attributes that came after opset 17. With this value they change nothing; with another the graph cannot be written.
ADDED: dict[str, dict[str, object]] = {
    "Cast": {"saturate": 1},
    "QuantizeLinear": {"saturate": 1},
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"},
}
REDUCTIONS = frozenset(
    {
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSumSquare",
    }
)  # fmt: skip
# They took more types since, which the checker refuses at 17, and changed in nothing else.
TYPES_ONLY = frozenset({"Constant", "DequantizeLinear", "Equal", "Identity", "Reshape", "Shape", "Size"})


def to_opset17(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy at opset 17; raises BadInput where the graph needs something newer."""
    import onnx

    versions = {item.domain: item.version for item in model.opset_import}
    if versions.get("", 0) == OPSET and model.ir_version <= IR_VERSION:
        return model
    if versions.get("", 0) not in SOURCE_OPSETS or len(versions) != 1:
        raise BadInput(f"expected a graph of opset 18 or 19 to make one of {OPSET}, got {versions}; export it again")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {item.name: item for item in result.graph.initializer}
    for node in result.graph.node:
        if not _is_unchanged(node, versions[""]):
            _rewrite(node, constants)
        del node.metadata_props[:]  # of IR version 10; so are the next two
    for value in (*result.graph.value_info, *result.graph.input, *result.graph.output):
        del value.metadata_props[:]
    del result.graph.metadata_props[:], result.functions[:]
    _drop_unread(result)
    result.ir_version = IR_VERSION
    del result.opset_import[:]
    result.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    checker: Any = onnx.checker
    try:
        checker.check_model(result, full_check=True)
    except (checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadInput(
            f"the graph cannot be written for opset {OPSET} ({' '.join(str(error).split())[:300]}); leave --opset17 out"
        ) from error
    return result


def _is_unchanged(node: onnx.NodeProto, version: int) -> bool:
    """Tell whether the operator of version is that of opset 17."""
    import onnx

    def since(opset: int) -> int:
        return onnx.defs.get_schema(node.op_type, opset, node.domain).since_version

    try:
        return since(version) == since(OPSET)
    except onnx.defs.SchemaError as error:
        raise BadInput(
            f"expected operators of opset {OPSET}, got {node.op_type} ({node.name}); TensorRT 8.x cannot take the "
            "model: leave --opset17 out"
        ) from error


def _rewrite(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    if node.op_type in ADDED:
        _drop_attributes(node, ADDED[node.op_type])
    elif node.op_type in REDUCTIONS:
        _axes_to_attribute(node, constants)
    elif node.op_type not in TYPES_ONLY:
        raise BadInput(
            f"{node.name}: {node.op_type} is another operator at opset {OPSET} than in the graph; "
            "TensorRT 8.x cannot take the model: leave --opset17 out"
        )


def _drop_attributes(node: onnx.NodeProto, neutral: dict[str, object]) -> None:
    import onnx

    for item in [item for item in node.attribute if item.name in neutral]:
        value = onnx.helper.get_attribute_value(item)
        if value != neutral[item.name]:
            raise BadInput(
                f"{node.name}: {node.op_type} has {item.name}={value!r}, which opset {OPSET} does not know; "
                "TensorRT 8.x cannot take the model: leave --opset17 out"
            )
        node.attribute.remove(item)


def _axes_to_attribute(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    """Turn the axes, an input since opset 18, into the attribute that they were."""
    import onnx
    from onnx import numpy_helper

    _drop_attributes(node, {"noop_with_empty_axes": 0})
    if len(node.input) < 2 or not node.input[1]:
        return
    if node.input[1] not in constants:
        raise BadInput(
            f"{node.name}: expected constant axes for {node.op_type}, got the computed {node.input[1]}; export it again"
        )
    axes: NDArray[np.int64] = numpy_helper.to_array(constants[node.input[1]])
    del node.input[1:]
    node.attribute.append(onnx.helper.make_attribute("axes", axes.tolist()))


def _drop_unread(model: onnx.ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
