"""Which nodes of a graph stay FP32 in a half-precision engine, each with its reason in words.

FP16: convolutions, products, sums, ReLUs, MaxPools and what only moves values. FP32: operators that no rule names,
powers, exponentials, means and norms, the pixels before the first convolution, all from the pooling on, and every node
whose tensors or weights do not fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calib.half_ranges import HALF_MAX, out_of_range
from calib.half_wiring import READS_ANY
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

    from calib.half_wiring import Wiring

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
# These give what they read, from one input: a cast before them is as good as one behind.
MOVES = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split", "Gather"})
HALF = (
    HEAVY
    | MOVES
    | {"MaxPool", "Resize", "Relu", "LeakyRelu", "PRelu", "Clip", "Min", "Max"}
    | {"Add", "Sub", "Mul", "Neg", "Abs", "Expand", "Concat", "Tile", "Pad"}
)
WITH_BIAS = frozenset({"Conv", "ConvTranspose", "Gemm"})  # as the third input
MEANS = ("ReduceMean", "ReduceSum", "GlobalAveragePool", "AveragePool")
_NORMS = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "LpNormalization", "Div", "Sqrt", "Reciprocal")
_NORM_LAYERS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization")
_EXPONENTIALS = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Exp", "Log", "Elu", "Gelu", "Erf")
REASONS = {
    **dict.fromkeys(MEANS, "sums over many places"),
    **dict.fromkeys((*_NORMS, *_NORM_LAYERS), "squares, divides or takes a root"),
    **dict.fromkeys(_EXPONENTIALS, "takes an exponential"),
    "Pow": "takes a power",
    # Parsers of TensorRT 10 differ where its statistics are FP32 beside FP16; some convert the variances to FP16.
    "BatchNormalization": "divides by variances that half precision may lose",
}
PIXELS = "comes before the first convolution: pixels are normalised in FP32"
TAIL = "stands behind the pooling, where FP32 costs nothing"
OUTPUT = "gives the output, which is float32"
ASKED = "was named to stay in FP32"
BETWEEN = "feeds FP32 nodes only; half precision would save no cast"
# Rounding to 11 bits changes a number by at most 2^-11; more means that small numbers have lost their digits.
ROUNDING = 2.0**-10


def stay_float(wiring: Wiring, largest: Mapping[str, float], keep_float: Iterable[str] = ()) -> dict[str, str]:
    """Map the nodes that stay FP32 to the reason; the first reason that holds is given."""
    asked = set(keep_float)
    unknown = asked - {node.name for node in wiring.nodes}
    if unknown:
        raise BadInput(f"expected names of nodes to keep in FP32, got {min(unknown)!r}, which the graph does not have")
    pixels, tail = _pixels(wiring), _tail(wiring)
    kept: dict[str, str] = {}
    for node in wiring.typed:
        reason = (
            _power_reason(node, wiring, largest)
            or (PIXELS if node.name in pixels else None)
            or (TAIL if node.name in tail else None)
            or _kind_reason(node)
            or (OUTPUT if not wiring.outputs.isdisjoint(node.output) else None)
            or (ASKED if node.name in asked else None)
            or _range_reason(node, wiring, largest)
            or _constant_reason(node, wiring, largest)
        )
        if reason is not None:
            kept[node.name] = reason
    return kept | dict.fromkeys(_between(wiring, kept), BETWEEN)


def _kind_reason(node: onnx.NodeProto) -> str | None:
    if node.domain in ("", "ai.onnx") and node.op_type in HALF:
        return None
    return REASONS.get(node.op_type, f"no rule says that {node.op_type} is safe in half precision")


def _power_reason(node: onnx.NodeProto, wiring: Wiring, largest: Mapping[str, float]) -> str | None:
    """Say how large GeM's power becomes; it stays FP32 even where it would fit, for its exponent may be learned."""
    exponent = wiring.constants.get(node.input[1]) if node.op_type == "Pow" else None
    if exponent is None or exponent.size != 1 or float(exponent.item()) <= 1.0:
        return None
    power, reached = float(exponent.item()), _largest(node.input[0], largest)
    highest = reached**power
    if highest == 0.0:
        return None
    room = f"overflows {highest / HALF_MAX:.3g} x" if highest > HALF_MAX else f"has {HALF_MAX / highest:.3g} x room"
    return f"{node.input[0]} reaches {reached:.3g}, to the power of {power:g} {highest:.3g}: half precision {room}"


def _range_reason(node: onnx.NodeProto, wiring: Wiring, largest: Mapping[str, float]) -> str | None:
    for name in (*node.input, *node.output):
        if name in wiring.rank and not wiring.is_weight(name):
            source = wiring.measured(name)
            reason = out_of_range(source, _largest(source, largest))
            if reason is not None:
                return reason
    return None


def _constant_reason(node: onnx.NodeProto, wiring: Wiring, largest: Mapping[str, float]) -> str | None:
    """Say which weight, bias or step loses too much."""
    for number in wiring.same_type(node):
        name = node.input[number]
        pair = wiring.dequantised(name)
        if pair is not None:
            reason = step_reason(pair, wiring)
        elif name not in wiring.constants:
            continue
        elif number == 2 and node.op_type in WITH_BIAS:
            reason = _bias_reason(name, wiring.constants[name], _largest(node.output[0], largest))
        else:
            reason = _lost_digits(name, wiring.constants[name])
        if reason is not None:
            return reason
    return None


def half_step(step: NDArray[np.generic]) -> NDArray[np.float16]:
    """Round steps to FP16; none becomes 0, which TensorRT refuses (a dead channel's may be 1e-9)."""
    return np.clip(step.astype(np.float64), 2.0**-24, HALF_MAX).astype(np.float16)


def step_reason(pair: onnx.NodeProto, wiring: Wiring) -> str | None:
    """Say why the step of a Q or DQ node cannot be FP16; a channel's step counts as much as its weights do."""
    step, weight = wiring.constants[pair.input[1]], wiring.constants.get(pair.input[0])
    if weight is None or step.ndim == 0:
        return _lost_digits(pair.input[1], step, half_step(step))
    axis = next((item.i for item in pair.attribute if item.name == "axis"), 1)
    norm_K = np.linalg.norm(np.moveaxis(weight, axis, 0).reshape(len(step), -1).astype(np.float64), axis=1)
    return _lost_digits(pair.input[1], step, half_step(step), norm_K)


def _lost_digits(
    name: str,
    value: NDArray[np.generic],
    half: NDArray[np.float16] | None = None,
    share: NDArray[np.float64] | float = 1.0,
) -> str | None:
    """Say what half precision does to a constant as a whole: single tiny weights beside others do not matter."""
    exact = value.astype(np.float64)
    highest = float(np.abs(exact).max(initial=0.0))
    if highest > HALF_MAX:
        return f"{name} holds {highest:.3g}; half precision ends at 65504"
    rounded = (value.astype(np.float16) if half is None else half).astype(np.float64)
    norm = float(np.linalg.norm(exact * share))
    error = float(np.linalg.norm((exact - rounded) * share)) / norm if norm else 0.0
    if error > ROUNDING:
        return f"{name}, at most {highest:.1e}, is changed by {error:.1%} in half precision"
    return None


def _bias_reason(name: str, bias: NDArray[np.generic], largest: float) -> str | None:
    """Judge a bias beside the result: a small one is lost in its rounding anyhow."""
    highest = float(np.abs(bias).max(initial=0.0))
    if highest > HALF_MAX:
        return f"{name} holds {highest:.3g}; half precision ends at 65504"
    exact = bias.astype(np.float64)
    error = float(np.abs(exact - exact.astype(np.float16)).max(initial=0.0))
    return f"{name} is changed by {error:.1e}, beside results of {largest:.1e}" if error > ROUNDING * largest else None


def _largest(name: str, largest: Mapping[str, float]) -> float:
    if name not in largest:
        raise BadInput(f"expected the largest magnitude of {name!r}, got none; measure this graph with measure_largest")
    return largest[name]


def _pixels(wiring: Wiring) -> set[str]:
    """Name the nodes that no convolution or product comes before."""
    behind = _spread(wiring, _of_backbone, forward=True)
    return {node.name for node in wiring.typed if node.name not in behind and not _of_backbone(node, wiring)}


def _tail(wiring: Wiring) -> set[str]:
    """Name the last poolings, which no convolution stands behind, and all that comes after them."""
    before = _spread(wiring, _of_backbone, forward=False)

    def pools(node: onnx.NodeProto, wiring: Wiring) -> bool:
        # A product of two activations with no convolution behind it is a pooling too: MPANet's parts.
        product = node.op_type == "MatMul" and not any(wiring.is_weight(name) for name in node.input)
        return (product or node.op_type in MEANS) and node.name not in before

    return {node.name for node in wiring.typed if pools(node, wiring)} | _spread(wiring, pools, forward=True)


def _of_backbone(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """Say whether a node is a convolution or a product with weights; a product of rank 2 is in the head."""
    if node.op_type == "MatMul":
        return wiring.rank.get(node.input[0], 0) > 2 and wiring.is_weight(node.input[1])
    return node.op_type in ("Conv", "ConvTranspose")


def _spread(wiring: Wiring, starts: Callable[[onnx.NodeProto, Wiring], bool], *, forward: bool) -> set[str]:
    """Name all nodes that come after, or before, a node for which starts holds."""
    reached: set[str] = set()  # tensors
    found: set[str] = set()
    for node in wiring.nodes if forward else reversed(wiring.nodes):
        near, far = (node.input, node.output) if forward else (node.output, node.input)
        if not reached.isdisjoint(near):
            found.add(node.name)
        if node.name in found or starts(node, wiring):
            reached.update(name for name in far if name)
    return found


def _between(wiring: Wiring, kept: Mapping[str, str]) -> set[str]:
    """Name cheap nodes, alone or as a group, that are read in FP32 only and cost no cast in FP32 themselves."""
    found = {node.name for node in wiring.typed if node.name not in kept and node.op_type not in HEAVY}
    while True:
        float_here = found | set(kept)
        lost = {node.name for node in wiring.typed if node.name in found and not _among(node, wiring, float_here)}
        if not lost:
            return found
        found -= lost


def _among(node: onnx.NodeProto, wiring: Wiring, float_here: set[str]) -> bool:
    """Say whether a node feeds float_here and reads from it, or only moves what it reads; Q/DQ pairs take any type."""
    sources = [wiring.producer[name] for name in node.input if name in wiring.rank and not wiring.dequantised(name)]
    readers = [reader for name in node.output for reader in wiring.readers.get(name, ())]
    typed = [reader for reader in readers if reader.op_type not in READS_ANY | {"QuantizeLinear"}]
    if not sources or not typed or any(reader.name not in float_here for reader in typed):
        return False
    return node.op_type in MOVES or all(source.name in float_here for source in sources)
