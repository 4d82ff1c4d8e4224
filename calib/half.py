"""Write the strongly typed graph: FP16 where half precision holds, FP32 where it does not, casts only between the two.

TensorRT 10, 11 and TensorRT-RTX take the types as they stand in the graph. A Q/DQ graph gets FP16 steps, so that what
is not INT8 runs in half precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.half_ranges import check_half
from calib.half_rules import half_step, stay_float, step_reason
from calib.half_wiring import READS_ANY, wiring_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

    from calib.half_wiring import Wiring


@dataclass(frozen=True, kw_only=True)
class Half:
    """A strongly typed graph, and why each of its FP32 nodes is FP32."""

    model: onnx.ModelProto
    kept: dict[str, str]  # node -> reason in words


def to_half(model: onnx.ModelProto, largest: Mapping[str, float], *, keep_float: Iterable[str] = ()) -> Half:
    """Type a float graph, or the Q/DQ graph made from it, for half precision; pixels and embedding stay as they are.

    largest maps each float tensor of the float graph to its largest magnitude (calib.half_ranges.measure_largest);
    keep_float names nodes that stay FP32 whatever the rules say.
    """
    import onnx

    wiring = wiring_of(model)
    kept = stay_float(wiring, largest, keep_float)
    writer = _Writer(wiring, kept)
    for node in wiring.nodes:
        writer.write(node)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(writer.nodes)
    used = {name for node in writer.nodes for name in node.input}
    result.graph.initializer.extend(item for item in model.graph.initializer if item.name in used)
    result.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in writer.constants.items()
    )
    for value in result.graph.value_info:
        if value.name in writer.half:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    checker: Any = onnx.checker
    checker.check_model(result, full_check=True)
    check_half(result, largest)
    return Half(model=result, kept=kept)


class _Writer:
    """The nodes and constants written so far, and which tensors became FP16."""

    def __init__(self, wiring: Wiring, kept: Mapping[str, str]) -> None:
        self.wiring = wiring
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}  # new ones
        self.half: set[str] = set()
        self._half_nodes = {node.name for node in wiring.typed} - set(kept)
        self._names: dict[tuple[str, bool], str] = {}  # (tensor, as FP16) -> its name in that type

    def write(self, node: onnx.NodeProto) -> None:
        """Write a node with its inputs in the right type; a DequantizeLinear waits for its first reader."""
        if node.op_type == "DequantizeLinear":
            return
        copy, half = _copy(node), node.name in self._half_nodes
        if node.op_type == "QuantizeLinear":
            half = node.input[0] in self.half and step_reason(node, self.wiring) is None
            copy.input[0], copy.input[1] = self._as(node.input[0], half), self._step(node, half)
        elif node.op_type in READS_ANY:
            copy.input[0] = self.wiring.measured(node.input[0])
        else:
            same = self.wiring.same_type(node) if half else ()
            for number, name in enumerate(node.input):
                if name in self.wiring.rank or number in same:
                    copy.input[number] = self._as(name, number in same)
        self.half.update(name for name in node.output if half and name in self.wiring.rank)
        self.nodes.append(copy)

    def _as(self, name: str, half: bool) -> str:
        """Return a tensor's name as FP16 or FP32, after writing what makes it so."""
        import onnx

        pair = self.wiring.dequantised(name)
        if pair is None and (name in self.half) == half and name not in self.wiring.constants:
            return name
        if (name, half) in self._names:
            return self._names[name, half]
        taken = pair is not None and (name, not half) not in self._names
        result = name if taken else f"{name}_{'half' if half else 'float'}"
        self._names[name, half] = result
        if pair is not None:
            copy = _copy(pair)
            copy.name, copy.output[0] = pair.name + result[len(name) :], result
            copy.input[1] = self._step(pair, half)
            self.nodes.append(copy)
        elif name in self.wiring.constants:
            self.constants[result] = self.wiring.constants[name].astype(np.float16)
        else:
            maker = self.wiring.producer[name]
            source = maker.input[0] if maker.op_type == "Cast" else name  # never two casts in a row
            to = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
            self.nodes.append(onnx.helper.make_node("Cast", [source], [result], name=f"{result}_cast", to=to))
        return result

    def _step(self, node: onnx.NodeProto, half: bool) -> str:
        """Return the step of a Q or DQ node in its type; FP32 has the value of FP16, so that the two can meet."""
        name = node.input[1]
        if step_reason(node, self.wiring) is not None:
            return name
        rounded = half_step(self.wiring.constants[name])
        result = f"{name}_{'half' if half else 'float'}"
        self.constants[result] = rounded if half else rounded.astype(np.float32)
        return result


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    result = onnx.NodeProto()
    result.CopyFrom(node)
    return result
