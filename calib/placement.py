"""Decide where a graph is quantised: which inputs of which nodes get a Q/DQ pair.

The rules, for TensorRT's explicit quantisation, which OpenVINO fuses too:
- activation and weight of a convolution, a transposed convolution or a matrix product with constant weights, but for a
  convolution of what was pooled to one pixel (a transposed one costs nothing: AlignGAN's worst cosine is 0.9977 with
  it and 0.9972 without, both means 0.9997; OpenVINO runs it in INT8, TensorRT-RTX 1.7 takes the pairs and runs FP32);
- the skip input of a residual Add whose result is read as INT8, so that convolution, Add and ReLU fuse with an INT8
  residual; the last block's result goes to the pooling in float, and rounding its skip alone took the mean cosine of a
  trained baseline from 0.992 to 0.983;
- a MaxPool between quantised tensors, input and output with one scale (a maximum commutes with rounding);
- nothing between a convolution and its ReLU or Add, and nothing in GeM, neck, L2 norm, Softmax, InstanceNorm or a gate:
  they are under 0.1 % of the work, and a Q there costs accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    import onnx

# A convolution that ends in one of these through nothing but layout and scaling decides where the network looks: MCJA's
# contexts, a squeeze-and-excitation gate. Two to a few dozen channels, so INT8 would win nothing.
GATES = frozenset({"Softmax", "Sigmoid", "HardSigmoid"})
PASSED_TO_GATE = frozenset(
    {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "BatchNormalization", "Add", "Mul"}
)

# MPANet's channel attention: one multiply-add for each pixel's thousand in the backbone.
POOLING = frozenset({"ReduceMean", "GlobalAveragePool", "GlobalMaxPool"})


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where Q/DQ pairs go. Edges are (node name, input number)."""

    activations: dict[str, tuple[tuple[str, int], ...]]  # tensor -> the edges that read its quantised form
    weights: dict[str, tuple[str, int, int]]  # weight -> node, input number, axis of its output channels
    scale_of: dict[str, str]  # tensor -> the tensor whose range it uses (itself, but for MaxPool outputs)

    @property
    def measured(self) -> tuple[str, ...]:
        """Tensors whose range must be known."""
        return tuple(sorted(set(self.scale_of.values())))


def place(model: onnx.ModelProto, *, keep_float: Iterable[str] = ()) -> Placement:
    """Apply the rules to a float graph with BatchNorm folded; keep_float names nodes to leave alone."""
    graph = model.graph
    if len({node.name for node in graph.node}) != len(graph.node):
        raise BadInput("expected every node of the graph to have its own name; export the model again")
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = defaultdict(list)
    for node in graph.node:
        for number, name in enumerate(node.input):
            readers[name].append((node, number))
    kept = set(keep_float)
    axes = _layers(graph, readers)
    edges: dict[str, list[tuple[str, int]]] = defaultdict(list)
    weights: dict[str, tuple[str, int, int]] = {}
    for node in graph.node:
        if node.name in axes and node.name not in kept:
            edges[node.input[0]].append((node.name, 0))
            weights[node.input[1]] = (node.name, 1, axes[node.name])
    for name, edge in _skips(graph, readers, axes, kept):
        edges[name].append(edge)

    scale_of = {name: name for name in edges}
    for node in graph.node:
        if node.op_type == "MaxPool" and node.output[0] in edges and node.name not in kept:
            edges[node.input[0]].append((node.name, 0))
            scale_of[node.input[0]] = node.input[0]
            scale_of[node.output[0]] = node.input[0]
    return Placement(
        activations={name: tuple(users) for name, users in edges.items()}, weights=weights, scale_of=scale_of
    )


def _layers(graph: onnx.GraphProto, readers: dict[str, list[tuple[onnx.NodeProto, int]]]) -> dict[str, int]:
    """Map the nodes that can be INT8 to the axis of their weight's output channels."""
    constants = {initializer.name: len(initializer.dims) for initializer in graph.initializer}
    producer = {output: node for node in graph.node for output in node.output}
    found: dict[str, int] = {}
    for node in graph.node:
        axis = _weight_axis(node, constants)
        if axis is not None and not _ends_in_gate(node, readers) and not _behind_pooling(node, producer):
            found[node.name] = axis
    return found


def _skips(
    graph: onnx.GraphProto,
    readers: dict[str, list[tuple[onnx.NodeProto, int]]],
    axes: dict[str, int],
    kept: set[str],
) -> list[tuple[str, tuple[str, int]]]:
    """List the skips to round: tensor, and the Add and the number of its input.

    Whatever is kept float, the skip of a block is the same tensor; it is float where its convolution or its sum is.
    """
    producer = {output: node for node in graph.node for output in node.output}
    order = {node.name: index for index, node in enumerate(graph.node)}
    rounded = {node.input[0] for node in graph.node if node.name in axes and node.name not in kept}
    found: list[tuple[str, tuple[str, int]]] = []
    for node in graph.node:
        number = _skip_input(node, producer, order, axes) if node.op_type == "Add" else None
        if number is None or {node.name, producer[node.input[1 - number]].name} & kept:
            continue
        if _result(node, readers) in rounded:
            found.append((node.input[number], (node.name, number)))
    return found


def _weight_axis(node: onnx.NodeProto, constants: dict[str, int]) -> int | None:
    """Return the axis of the output channels of a constant weight, or None where the node is not quantised.

    Convolutions must be two-dimensional: TensorRT has no INT8 Conv1d, and MCJA's is a gate. A product of rank 2 (Gemm)
    stands behind the pooling, in the head; a product of two activations is attention.
    """
    if len(node.input) < 2 or node.input[1] not in constants or node.input[0] in constants:
        return None
    rank = constants[node.input[1]]
    if node.op_type == "Conv" and rank == 4:
        return 0
    if node.op_type == "MatMul" and rank == 2:
        return 1
    if node.op_type == "ConvTranspose" and rank == 4:
        groups = next((item.i for item in node.attribute if item.name == "group"), 1)
        return 1 if groups == 1 else None  # with groups the channels of axis 1 are counted anew in each
    return None


def _ends_in_gate(node: onnx.NodeProto, readers: dict[str, list[tuple[onnx.NodeProto, int]]]) -> bool:
    pending, seen = list(node.output), set[str]()
    while pending:
        name = pending.pop()
        for reader, _ in readers[name]:
            if reader.op_type in GATES:
                return True
            if reader.op_type in PASSED_TO_GATE and reader.name not in seen:
                seen.add(reader.name)
                pending += reader.output
    return False


def _behind_pooling(node: onnx.NodeProto, producer: dict[str, onnx.NodeProto]) -> bool:
    source = producer.get(node.input[0])
    return source is not None and source.op_type in POOLING


def _result(node: onnx.NodeProto, readers: dict[str, list[tuple[onnx.NodeProto, int]]]) -> str:
    """Return what a residual Add gives: behind its ReLU, if that alone reads it."""
    found = readers[node.output[0]]
    return found[0][0].output[0] if len(found) == 1 and found[0][0].op_type == "Relu" else node.output[0]


def _skip_input(
    node: onnx.NodeProto, producer: dict[str, onnx.NodeProto], order: dict[str, int], layers: Container[str]
) -> int | None:
    """Return which input of an Add is the skip: the one that is not the block's last convolution.

    Where both are convolutions the shortcut's is the one that reads the older tensor, the block's input.
    """
    sources = [producer.get(name) for name in node.input]
    main = [
        (order[producer[source.input[0]].name] if source.input[0] in producer else -1, number)
        for number, source in enumerate(sources)
        if source is not None and source.name in layers and source.op_type == "Conv"
    ]
    if not main or None in sources:
        return None
    return 1 - max(main)[1]
