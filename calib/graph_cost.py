"""What a graph costs: the work and the memory traffic of each layer, at one batch size.

A layer is what a GPU runs as one kernel: a convolution, a product or a pooling with the pointwise nodes behind it
(residual Add, ReLU, scale), as TensorRT fuses them. It reads each input once, a residual's skip among them, and writes
each output once; what stays inside is not stored, and a reshape is another name for its input. Work is 2 for each
multiply-add of convolutions and products; the rest only moves memory.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calib.placement import place
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import onnx

    from engines.manifest import Precision

FLOAT_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 2}  # what is not INT8 in an INT8 engine is FP16
# They join the layer that makes their input; a transposition is free at best, and this is a bound.
JOINS = frozenset(
    {
        "Abs", "Add", "BatchNormalization", "Cast", "Clip", "Div", "Erf", "Exp", "Expand", "Gelu", "HardSigmoid",
        "LeakyRelu", "Log", "Mul", "Neg", "PRelu", "Pow", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh", "Transpose",
    }
)  # fmt: skip
VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
# Nodes that multiply in a way that is not counted here: a wrong total would look right.
UNCOUNTED = frozenset(
    {
        "Attention", "ConvInteger", "Einsum", "GRU", "If", "LSTM", "Loop", "MatMulInteger", "QLinearConv",
        "QLinearMatMul", "RNN",
    }
)  # fmt: skip
FLOATS = frozenset({1, 10, 11, 16})  # TensorProto: FLOAT, FLOAT16, DOUBLE, BFLOAT16


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor in memory: in an INT8 engine as INT8, as FP16 or, for readers of both kinds, as both."""

    name: str
    elements: int
    quantised: bool
    floating: bool
    fixed_bytes: int = 0  # of an element whose type no precision changes, such as the uint8 pixels; 0: a float

    def bytes(self, precision: Precision) -> int:
        if self.fixed_bytes:
            return self.elements * self.fixed_bytes
        if precision == "int8":
            return self.elements * (int(self.quantised) + FLOAT_BYTES["int8"] * int(self.floating))
        return self.elements * FLOAT_BYTES[precision]


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer on a whole batch."""

    name: str  # of its first node
    place: str  # in the network, such as backbone.layer4.1.bn2, where the exporter wrote it; else the name
    kind: str  # such as "Conv 3x3 512>512 at 24x8"
    flops: int
    quantised: bool  # an INT8 engine computes it in INT8
    read: tuple[Stored, ...]  # the main input first
    written: tuple[Stored, ...]
    weights: tuple[Stored, ...]

    def activation_bytes(self, precision: Precision) -> int:
        return sum(tensor.bytes(precision) for tensor in (*self.read, *self.written))

    def weight_bytes(self, precision: Precision) -> int:
        return sum(tensor.bytes(precision) for tensor in self.weights)

    def bytes(self, precision: Precision) -> int:
        return self.activation_bytes(precision) + self.weight_bytes(precision)


@dataclass(frozen=True, kw_only=True)
class GraphCost:
    """All layers, in the order in which they run."""

    batch: int
    layers: tuple[LayerCost, ...]

    @property
    def flops(self) -> int:
        return sum(layer.flops for layer in self.layers)

    def bytes(self, precision: Precision) -> int:
        return sum(layer.bytes(precision) for layer in self.layers)

    def weight_bytes(self, precision: Precision) -> int:
        """Return what the weights take, each once."""
        unique = {tensor.name: tensor for layer in self.layers for tensor in layer.weights}
        return sum(tensor.bytes(precision) for tensor in unique.values())

    def peak_activation_bytes(self, precision: Precision) -> int:
        """Return the most that inputs, outputs and tensors between layers take at one time; a library takes more."""
        last = {tensor.name: number for number, layer in enumerate(self.layers) for tensor in layer.read}
        live = {tensor.name: tensor.bytes(precision) for tensor in self.layers[0].read} if self.layers else {}
        peak = 0
        for number, layer in enumerate(self.layers):
            live |= {tensor.name: tensor.bytes(precision) for tensor in layer.written}
            peak = max(peak, sum(live.values()))
            live = {name: size for name, size in live.items() if last.get(name, len(self.layers)) > number}
        return peak


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file; what is not one is one line."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise BadInput(f"{path}: expected an ONNX file, got {error}; export the model again") from error
    if not model.graph.node:
        raise BadInput(f"{path}: expected an ONNX file, got one without nodes; export the model again")
    return model


def graph_cost(model: onnx.ModelProto, batch: int, *, keep_float: Iterable[str] = ()) -> GraphCost:
    """Return the cost of a float graph on a batch; keep_float names nodes that an INT8 engine leaves in FP16."""
    kinds = {node.op_type for node in model.graph.node}
    if "DequantizeLinear" in kinds:
        raise BadInput("expected a float graph, got one with Q/DQ pairs; name the fp32 file")
    if kinds & UNCOUNTED:
        raise BadInput(f"expected operators whose work can be counted, got {', '.join(sorted(kinds & UNCOUNTED))}")
    if batch < 1:
        raise BadInput(f"expected a batch of at least 1, got {batch}")
    reader = _Reader(model, batch, keep_float)
    return GraphCost(batch=batch, layers=tuple(reader.cost(layer) for layer in reader.layers))


def kept_float(model: onnx.ModelProto, int8_model: onnx.ModelProto) -> frozenset[str]:
    """Return the nodes that the rules would quantise and that the INT8 graph made of this model leaves in float."""
    written = {name for node in int8_model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    rounded = {node.name for node in int8_model.graph.node if any(name in written for name in node.input)}
    placed = {name for edges in place(model).activations.values() for name, _ in edges}
    return frozenset(placed - rounded)


class _Reader:
    """A graph with its shapes and its placement, cut into layers."""

    def __init__(self, model: onnx.ModelProto, batch: int, keep_float: Iterable[str]) -> None:
        self._shapes = _infer(model, batch)
        self._constants = {item.name: item for item in model.graph.initializer}
        self._root: dict[str, str] = {}  # the output of a view -> the tensor that it is
        self._readers: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for node in model.graph.node:
            if node.op_type in VIEWS:
                self._root[node.output[0]] = self.root(node.input[0])
                continue
            for number, name in enumerate(node.input):
                self._readers[self.root(name)].append((node.name, number))
        self._outputs = {self.root(value.name) for value in model.graph.output}
        placement = place(model, keep_float=keep_float)
        self._quantised = {edge for edges in placement.activations.values() for edge in edges}
        self._weights = set(placement.weights)
        self._data = {value.name for value in model.graph.input}  # what the GPU holds; the host has the shapes
        self.layers = self._cut(model)

    def root(self, name: str) -> str:
        return self._root.get(name, name)

    def _cut(self, model: onnx.ModelProto) -> list[list[onnx.NodeProto]]:
        layers: list[list[onnx.NodeProto]] = []
        made_by: dict[str, int] = {}
        for node in model.graph.node:
            data = [self.root(name) for name in node.input if self.root(name) in self._data]
            if node.op_type == "Shape" or node.op_type in VIEWS or not data:
                continue
            self._data.update(node.output)
            # The latest: all else that the layer would read is there before it runs.
            latest = max(data, key=lambda name: made_by.get(name, -1))
            alone = len(self._readers[latest]) == 1 and latest not in self._outputs
            if node.op_type in JOINS and alone and latest in made_by:
                number = made_by[latest]
                layers[number].append(node)
            else:
                number = len(layers)
                layers.append([node])
            made_by.update(dict.fromkeys(node.output, number))
        return layers

    def cost(self, nodes: list[onnx.NodeProto]) -> LayerCost:
        first = nodes[0]
        inside = {node.name for node in nodes}
        made = dict.fromkeys(name for node in nodes for name in node.output)
        edges: dict[str, list[tuple[str, int]]] = {}
        for node in nodes:
            for number, name in enumerate(node.input):
                if self.root(name) not in made:
                    edges.setdefault(self.root(name), []).append((node.name, number))
        leaving = {name: [edge for edge in self._readers[name] if edge[0] not in inside] for name in made}
        constants = [self._constants[name] for name in edges if name in self._constants]
        return LayerCost(
            name=first.name,
            place=_place(first),
            kind=self._kind(first),
            flops=sum(self._flops(node) for node in nodes),
            quantised=(first.name, 0) in self._quantised,
            read=tuple(self._stored(name, used) for name, used in edges.items() if name in self._data),
            written=tuple(self._stored(name, used) for name, used in leaving.items() if used or name in self._outputs),
            weights=tuple(self._constant(item) for item in constants if item.data_type in FLOATS),
        )

    def _stored(self, name: str, edges: Sequence[tuple[str, int]]) -> Stored:
        shape, kind = self._shapes[name]
        rounded = [edge in self._quantised for edge in edges]
        return Stored(
            name=name,
            elements=math.prod(shape),
            quantised=any(rounded),
            floating=not all(rounded) or name in self._outputs,
            fixed_bytes=0 if kind in FLOATS else _item_bytes(kind),
        )

    def _constant(self, item: onnx.TensorProto) -> Stored:
        rounded = item.name in self._weights
        return Stored(name=item.name, elements=math.prod(item.dims), quantised=rounded, floating=not rounded)

    def _flops(self, node: onnx.NodeProto) -> int:
        """Return 2 for each multiply-add."""
        if node.op_type not in {"Conv", "ConvTranspose", "MatMul", "Gemm"}:
            return 0
        left, right, out = (math.prod(self._shapes[name][0]) for name in (*node.input[:2], node.output[0]))
        second = self._shapes[node.input[1]][0]
        if node.op_type == "Conv":
            return 2 * out * math.prod(second[1:])
        if node.op_type == "ConvTranspose":
            return 2 * left * math.prod(second[1:])
        if node.op_type == "MatMul":
            return 2 * out * self._shapes[node.input[0]][0][-1]
        columns = self._shapes[node.output[0]][0][-1]
        return 2 * out * (right // columns)

    def _kind(self, node: onnx.NodeProto) -> str:
        """Describe a layer by its sizes, such as "Conv 3x3 512>512 at 24x8"."""
        shape = self._shapes[node.output[0]][0]
        size = "x".join(str(length) for length in shape[2:] or shape[1:])
        if node.op_type in {"Conv", "ConvTranspose"}:
            kernel = "x".join(str(length) for length in self._shapes[node.input[1]][0][2:])
            return f"{node.op_type} {kernel} {self._shapes[node.input[0]][0][1]}>{shape[1]} at {size}"
        return f"{node.op_type} {shape[1]} at {size}" if len(shape) > 2 else f"{node.op_type} {size}"


def _infer(model: onnx.ModelProto, batch: int) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return shape and element type of every tensor, with the free batch dimension set."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(_with_batch(model, batch), strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise BadInput(f"expected a graph with fixed sizes, got {str(error).splitlines()[0]}") from error
    shapes = {item.name: (tuple(item.dims), item.data_type) for item in model.graph.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        kind = value.type.tensor_type
        if all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim), kind.elem_type
    for node in model.graph.node:
        missing = [name for name in node.output if name and name not in shapes]
        if missing:
            raise BadInput(f"expected sizes that follow from the batch, got a free one at {node.name!r}: {missing[0]}")
    return shapes


def _with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Copy a model without its weights, on which no shape depends, and with a fixed batch."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for item in copy.graph.initializer:
        if item.data_type in FLOATS:
            item.ClearField("raw_data")
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")  # it names the free batch
    for value in copy.graph.input:
        first = value.type.tensor_type.shape.dim[0]
        if first.HasField("dim_value"):
            raise BadInput(f"expected a free batch dimension at {value.name!r}, got {first.dim_value}; export it again")
        first.dim_value = batch
    return copy


def _place(node: onnx.NodeProto) -> str:
    scopes = next((item.value for item in node.metadata_props if item.key == "pkg.torch.onnx.name_scopes"), "")
    found: list[str] = re.findall(r"'method\.([^']+)'", scopes)
    return found[-1] if found else node.name


def _item_bytes(kind: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
