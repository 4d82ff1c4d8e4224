"""Will half precision hold? The largest magnitude of every tensor, and the check that no FP16 tensor can overflow.

Shapes: B batch, H height, W width, C channel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from calib.graph_outputs import graph_outputs
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

HALF_MAX = 65504.0
HALF_TINY = 2.0**-14  # the smallest normal number; below it the step is 2^-24, whatever the number
# How much larger a tensor may become on images that were not measured. Five trained networks, ranges from 256 images:
# 400 held-out images reached 1.6 x, and black, white, single-coloured and noise pictures 4.5 x. More room is free: the
# largest value of those networks is 55.
HEADROOM = 16.0


def float_tensors(model: onnx.ModelProto, kind: int | None = None) -> dict[str, int]:
    """Map the tensors that nodes give, of one ONNX element type (FP32 unless named), to their rank."""
    import onnx

    wanted = onnx.TensorProto.FLOAT if kind is None else kind
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    made = {name for node in inferred.node for name in node.output}
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.output)
        if value.name in made and value.type.tensor_type.elem_type == wanted
    }


def measure_largest(
    model: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]], *, threads: int | None = None
) -> dict[str, float]:
    """Run the float graph over batches of pixels (B, H, W, 3); return the largest magnitude of each float tensor.

    The maxima are taken inside the graph, so that a batch's tensors are freed as the network goes on.
    """
    names = list(float_tensors(model))
    largest = dict.fromkeys(names, 0.0)
    for _, outputs in graph_outputs(_with_extremes(model, names), batches, threads=threads):
        for number, name in enumerate(names):
            found = max(abs(float(outputs[2 * number + side])) for side in (0, 1))
            if not math.isfinite(found):
                raise BadInput(
                    f"{name}: expected finite values on the calibration images, got NaN or infinity; the model is "
                    "broken: train it again"
                )
            largest[name] = max(largest[name], found)
    return largest


def out_of_range(tensor: str, largest: float) -> str | None:
    """Say why a tensor does not fit half precision, with headroom; None where it does.

    Under 2^-14 the step no longer shrinks with the number: a tensor that stays there loses more than rounding costs.
    """
    if largest * HEADROOM > HALF_MAX:
        return f"{tensor} reaches {largest:.3g}, other images {HEADROOM:g} x more; half precision ends at 65504"
    if 0.0 < largest < HALF_TINY:
        return f"{tensor} reaches only {largest:.3g}; half precision has few digits left below 6.1e-05"
    return None


def check_half(model: onnx.ModelProto, largest: Mapping[str, float]) -> None:
    """Refuse a typed graph in which a measured FP16 tensor could overflow, whoever wrote the graph.

    Read off the types in the graph. Running it would prove nothing: ONNX Runtime computes FP16 on a CPU in FP32.
    """
    import onnx

    halves = float_tensors(model, onnx.TensorProto.FLOAT16)
    reasons = [out_of_range(name, largest[name]) for name in halves if name in largest]
    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if (
            node.op_type == "Pow"
            and node.output[0] in halves
            and node.input[1] in constants
            and node.input[0] in largest
        ):
            power = float(onnx.numpy_helper.to_array(constants[node.input[1]]).item())
            reasons.append(_power_out_of_range(node.input[0], largest[node.input[0]], power))
    found = [reason for reason in reasons if reason is not None]
    if found:
        raise BadInput(f"expected FP16 tensors that fit half precision, but {found[-1]}; keep their nodes in FP32")


def _power_out_of_range(tensor: str, largest: float, power: float) -> str | None:
    """As out_of_range, for GeM's power: a feature 16 x larger has a cube 4096 x larger."""
    highest = (largest * HEADROOM) ** power
    if highest <= HALF_MAX:
        return None
    return (
        f"{tensor} reaches {largest:.3g}, other images {HEADROOM:g} x more, which to the power of {power:g} is "
        f"{highest:.3g}; half precision ends at 65504"
    )


def _with_extremes(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return a graph whose outputs are the largest and the smallest value of each tensor, in turn."""
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for number, name in enumerate(names):
        for side in ("Max", "Min"):
            result = f"extreme_{number}_{side}"
            probe.graph.node.append(onnx.helper.make_node(f"Reduce{side}", [name], [result], keepdims=0))
            probe.graph.output.append(onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, []))
    return probe
