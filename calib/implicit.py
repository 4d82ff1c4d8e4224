"""Ranges for TensorRT's implicit quantisation, which a DLA wants up to TensorRT 10.x: one for each float tensor.

There are no Q/DQ pairs then; TensorRT itself chooses INT8 where a layer's tensors have ranges and it is faster, so the
layers that must stay float have to be named too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calib.placement import place
from engines.errors import BadInput

if TYPE_CHECKING:
    import onnx

    from calib.table import CalibrationTable


def implicit_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """List every float tensor that depends on the input, in the graph's order: what TensorRT calls activations."""
    floats = _float_tensors(model)
    return tuple(name for node in model.graph.node for name in node.output if name in floats)


def float_nodes(model: onnx.ModelProto) -> tuple[str, ...]:
    """List the nodes to pin to higher precision: those that calib.placement leaves float, but for a layer's ReLU."""
    quantised = {node for edges in place(model).activations.values() for node, _ in edges}
    source = {name: node.name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "Relu" and source.get(node.input[0]) in quantised:
            quantised.add(node.name)
    floats = _float_tensors(model)
    return tuple(node.name for node in model.graph.node if node.name not in quantised and node.output[0] in floats)


def dynamic_ranges(model: onnx.ModelProto, table: CalibrationTable) -> dict[str, float]:
    """Map each activation tensor to the magnitude that becomes 127, for ITensor.set_dynamic_range(-amax, amax).

    A MaxPool's output has its input's range, so that no rounding stands between them.
    """
    names = implicit_tensors(model)
    missing = [name for name in names if name not in table.amax]
    if missing:
        raise BadInput(
            f"the calibration table has no range for {len(missing)} tensors, such as {missing[0]!r}; "
            "calibrate this graph for implicit quantisation"
        )
    tied = place(model).scale_of
    # A range of 0 is refused; a tensor that is always 0 is right in any.
    return {name: float(table.amax[tied.get(name, name)]) or 1.0 for name in names}


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Return the tensors of type FLOAT that are computed from the input, by the graph's types and by inference."""
    import onnx

    shapes: Any = onnx.shape_inference
    inferred = shapes.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    return {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT}
