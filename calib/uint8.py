"""Write the INT8 form that ONNX Runtime's CPU kernels want, from the same calibration table.

Those kernels take unsigned activations with a zero point, INT8 weights with a scale for each output channel and INT32
biases, and give integers: QLinearConv, QLinearAdd and QLinearMatMul need a pair behind the layer too, so both inputs of
a residual Add are rounded. In the symmetric form of calib.quantize, for TensorRT and OpenVINO, it finds none of these.
Measured with ResNet-50 at 384x128, batch 8, one thread with AVX512-VNNI: 61 images/s, 15 in the symmetric form, 20 in
FP32.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from calib.pairs import Edits, check_ranges, constant, first_node
from calib.placement import Placement, place
from calib.quantize import quantize_weight, round_weight

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx
    from numpy.typing import NDArray

    from calib.table import CalibrationTable

STEPS = 255
BIAS_LIMIT = 2**30  # half of INT32: the products are added to the bias


def quantize_uint8(
    model: onnx.ModelProto,
    table: CalibrationTable,
    *,
    keep_float: Iterable[str] = (),
    pair_safe: bool = True,
    integer_outputs: bool = True,
) -> onnx.ModelProto:
    """Return a copy of a float graph with unsigned activations; pair_safe: see calib.quantize.quantize_weight.

    Without integer_outputs it is rounded where the symmetric form is, and biases stay float: what OpenVINO fuses, with
    a step behind a ReLU half as wide as the symmetric form's. There, against that form: 76 images/s to 70, and on five
    trained networks mean cosine 0.9930 to 0.9914, 0.9966 to 0.9950, 0.9989 to 0.9982, 0.9998 to 0.9996 and to 0.9997.
    """
    from onnx import numpy_helper

    placement = (place_uint8 if integer_outputs else place)(model, keep_float=keep_float)
    check_ranges(placement, table.amax)
    edits = Edits()
    scale_into: dict[str, NDArray[np.float32]] = {}  # node -> step of the activation that it reads
    for tensor, edges in placement.activations.items():
        source = placement.scale_of[tensor]
        scale, zero = unsigned_scale(table.amax[source], table.lowest[source])
        edits.constants.extend([constant(f"{tensor}_scale", scale), constant(f"{tensor}_zero", zero)])
        edits.add_pair(tensor, edges, first_node(model, edges), (f"{tensor}_scale", f"{tensor}_zero"))
        scale_into |= dict.fromkeys((node for node, number in edges if number == 0), scale)
    floats = {item.name: item for item in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    for name, (node, number, axis) in placement.weights.items():
        weight = numpy_helper.to_array(floats[name])
        integers, scale_K = quantize_weight(weight, axis, pair_safe=pair_safe)
        if integer_outputs and len(nodes[node].input) > 2 and nodes[node].input[2]:
            bias_K = numpy_helper.to_array(floats[nodes[node].input[2]])
            scale_K = _fit_bias(scale_K, bias_K, scale_into[node], np.abs(integers).max(axis=_others(axis, weight)))
            integers = round_weight(weight, axis, scale_K)
            step_K = (scale_into[node] * scale_K).astype(np.float32)
            bias = np.rint(bias_K / step_K.astype(np.float64)).astype(np.int32)
            edits.add_stored(f"{node}_bias", (node, 2), 0, bias, step_K)
        edits.add_stored(name, (node, number), axis, integers, scale_K)
    return edits.apply(model)


def place_uint8(model: onnx.ModelProto, *, keep_float: Iterable[str] = ()) -> Placement:
    """Add to calib.placement's edges the outputs of convolutions, without which ONNX Runtime keeps a layer float.

    A transposed convolution stays float: ONNX Runtime has no integer kernel for it. So does a convolution whose result
    is read in float, such as the last block's: rounding it costs more (trained baseline: mean cosine 0.983 with it and
    0.989 without) than the one layer in fifty that is not faster.
    """
    transposed = [node.name for node in model.graph.node if node.op_type == "ConvTranspose"]
    placement = place(model, keep_float=[*keep_float, *transposed])
    nodes = {node.name: node for node in model.graph.node}
    readers: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            readers[name].append((node.name, number))

    def result(tensor: str) -> str:
        """Return the tensor, or what a ReLU that alone reads it makes of it."""
        behind = [nodes[name] for name, _ in readers[tensor]]
        return behind[0].output[0] if len(behind) == 1 and behind[0].op_type == "Relu" else tensor

    activations, scale_of, weights = dict(placement.activations), dict(placement.scale_of), dict(placement.weights)
    for weight, (node, _, _) in placement.weights.items():
        tensor = nodes[node].output[0]
        if result(tensor) in placement.activations:
            continue
        sums = [nodes[name].output[0] for name, _ in readers[tensor] if nodes[name].op_type == "Add"]
        if any(result(total) in placement.activations for total in sums):
            activations[tensor] = tuple(readers[tensor])
            scale_of[tensor] = tensor
        else:
            del weights[weight]
    return Placement(activations=activations, weights=weights, scale_of=scale_of)


def unsigned_scale(amax: float, lowest: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return step and zero point for values from lowest, or -amax where that is nearer to 0, to amax."""
    if amax == 0:
        return np.asarray(1.0, np.float32), np.asarray(0, np.uint8)
    low = max(lowest, -amax)
    scale = np.asarray((amax - low) / STEPS, np.float32)
    return scale, np.asarray(np.rint(-low / scale), np.uint8)


def _fit_bias(
    scale_K: NDArray[np.float32],
    bias_K: NDArray[np.float32],
    input_scale: NDArray[np.float32],
    largest_K: NDArray[np.int8],
) -> NDArray[np.float32]:
    """Widen the scales of channels whose bias would leave INT32; one without weights gets the finest that fits."""
    least_K = np.abs(bias_K) / (input_scale * BIAS_LIMIT)
    fitted_K = np.where(largest_K > 0, np.maximum(scale_K, least_K), least_K)
    return np.where(fitted_K > 0, fitted_K, 1.0).astype(np.float32)


def _others(axis: int, weight: NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(number for number in range(weight.ndim) if number != axis)
