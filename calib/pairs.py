"""Put QuantizeLinear and DequantizeLinear into a graph: what the symmetric and the uint8 form share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx
    from numpy.typing import NDArray

    from calib.placement import Placement


class Edits:
    """What to change in a graph, collected before a node is touched."""

    def __init__(self) -> None:
        self.before: dict[str, list[onnx.NodeProto]] = {}  # node -> nodes to put before it
        self.inputs: dict[tuple[str, int], str] = {}  # node, input number -> tensor to read
        self.constants: list[onnx.TensorProto] = []

    def add_pair(self, tensor: str, edges: Collection[tuple[str, int]], first: str, constants: tuple[str, str]) -> None:
        """Let edges read the rounded form of an activation; first is their first node, constants scale and zero."""
        import onnx

        pair = [
            onnx.helper.make_node("QuantizeLinear", [tensor, *constants], [f"{tensor}_q"], name=f"{tensor}_Q"),
            onnx.helper.make_node(
                "DequantizeLinear", [f"{tensor}_q", *constants], [f"{tensor}_dq"], name=f"{tensor}_DQ"
            ),
        ]
        self.before.setdefault(first, []).extend(pair)
        self.inputs.update(dict.fromkeys(edges, f"{tensor}_dq"))

    def add_stored(
        self, name: str, edge: tuple[str, int], axis: int, integers: NDArray[Any], scale_K: NDArray[np.float32]
    ) -> None:
        """Let edge read integers that are stored in the place of a float constant, with a scale for each channel."""
        import onnx

        inputs = [f"{name}_{integers.dtype}", f"{name}_scale", f"{name}_zero"]
        values = (integers, scale_K, np.zeros(scale_K.shape, integers.dtype))
        self.constants.extend(constant(*item) for item in zip(inputs, values, strict=True))
        node = onnx.helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], name=f"{name}_DQ", axis=axis)
        self.before.setdefault(edge[0], []).append(node)
        self.inputs[edge] = f"{name}_dq"

    def apply(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return a checked copy of model with the changes, less the constants that nothing reads any more."""
        import onnx

        result = onnx.ModelProto()
        result.CopyFrom(model)
        nodes: list[onnx.NodeProto] = []
        for node in result.graph.node:
            nodes += self.before.get(node.name, [])
            for number in range(len(node.input)):
                node.input[number] = self.inputs.get((node.name, number), node.input[number])
            nodes.append(node)
        used = {name for node in nodes for name in node.input}
        kept = [item for item in result.graph.initializer if item.name in used]
        del result.graph.node[:], result.graph.initializer[:]
        result.graph.node.extend(nodes)
        result.graph.initializer.extend([*kept, *self.constants])
        checker: Any = onnx.checker
        checker.check_model(result)
        return result


def check_ranges(placement: Placement, known: Collection[str]) -> None:
    """Refuse a table that does not name every tensor that the placement rounds."""
    missing = [name for name in placement.measured if name not in known]
    if missing:
        raise BadInput(
            f"the calibration table has no range for {len(missing)} tensors, such as {missing[0]!r}; "
            "calibrate this graph"
        )


def first_node(model: onnx.ModelProto, edges: Collection[tuple[str, int]]) -> str:
    """Return the first node, in the graph's order, that edges lead to."""
    names = {name for name, _ in edges}
    return next(node.name for node in model.graph.node if node.name in names)


def constant(name: str, value: NDArray[Any]) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value), name)
