"""Who makes and who reads each tensor of a graph, for the rules of half precision."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calib.half_ranges import float_tensors
from engines.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

READS_ANY = frozenset({"Shape", "Size"})  # they read no values
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Who makes and who reads each tensor of a graph; what is float."""

    nodes: tuple[onnx.NodeProto, ...]
    producer: dict[str, onnx.NodeProto]
    readers: dict[str, tuple[onnx.NodeProto, ...]]
    rank: dict[str, int]  # of the FP32 tensors that nodes give
    constants: dict[str, NDArray[np.generic]]
    outputs: frozenset[str]
    opset: int

    @property
    def typed(self) -> tuple[onnx.NodeProto, ...]:
        """The nodes whose precision is to be decided: they read or give FP32 (Q/DQ follow their neighbours)."""
        passive = READS_ANY | QUANTISERS
        return tuple(
            node
            for node in self.nodes
            if node.op_type not in passive and any(name in self.rank for name in (*node.input, *node.output))
        )

    def dequantised(self, name: str) -> onnx.NodeProto | None:
        """Return the DequantizeLinear that gives a tensor, if one does."""
        node = self.producer.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def is_weight(self, name: str) -> bool:
        """Say whether a tensor is a constant, or the dequantised form of one."""
        pair = self.dequantised(name)
        return name in self.constants or (pair is not None and pair.input[0] in self.constants)

    def measured(self, name: str) -> str:
        """Return the tensor whose range a tensor has: itself, but for what a Q/DQ pair gives."""
        pair = self.dequantised(name)
        return self.producer[pair.input[0]].input[0] if pair is not None else name

    def same_type(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Return which inputs have the type of the node's first output: a Conv's all, a Resize's first alone."""
        import onnx

        schema = onnx.defs.get_schema(node.op_type, self.opset, node.domain)
        kinds = [item.type_str for item in schema.inputs]
        given = schema.outputs[0].type_str
        return tuple(i for i, name in enumerate(node.input) if name and kinds[min(i, len(kinds) - 1)] == given)


def wiring_of(model: onnx.ModelProto) -> Wiring:
    """Look through a float or Q/DQ graph; what the rules cannot judge is refused."""
    import onnx
    from onnx import numpy_helper

    nodes = tuple(model.graph.node)
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if any(node.op_type in QUANTISERS for node in nodes) and opset < 19:
        raise BadInput(f"expected a Q/DQ graph of opset 19 or newer, which knows FP16 scales, got opset {opset}")
    if float_tensors(model, onnx.TensorProto.FLOAT16):
        raise BadInput("expected an FP32 graph, got one with FP16 tensors; give the graph that the export wrote")
    if len({node.name for node in nodes}) != len(nodes):
        raise BadInput("expected every node of the graph to have its own name; export the model again")
    for node in nodes:
        if any(item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for item in node.attribute):
            raise BadInput(f"expected a graph without branches and loops, got {node.op_type} in {node.name!r}")
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in nodes:
        for name in dict.fromkeys(node.input):
            readers[name].append(node)
    return Wiring(
        nodes=nodes,
        producer={name: node for node in nodes for name in node.output if name},
        readers={name: tuple(found) for name, found in readers.items()},
        rank=float_tensors(model),
        constants={item.name: numpy_helper.to_array(item) for item in model.graph.initializer},
        outputs=frozenset(value.name for value in model.graph.output),
        opset=opset,
    )
