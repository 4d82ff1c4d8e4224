"""Write an INT8 graph: symmetric Q/DQ pairs with FP32 scales, which TensorRT 10, 11 and RTX and OpenVINO take.

Weights are stored as INT8 with a scale for each output channel; biases stay float (TensorRT refuses INT32 biases).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calib.pairs import Edits, check_ranges, constant, first_node
from calib.placement import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

LIMIT = 127  # symmetric: -128 is not used, so that a product of two extremes fits and 0 stays in the middle


def quantize(
    model: onnx.ModelProto, amax: Mapping[str, float], *, keep_float: Iterable[str] = (), pair_safe: bool = True
) -> onnx.ModelProto:
    """Return a copy of a float graph with Q/DQ pairs; amax maps each measured tensor to its largest magnitude.

    pair_safe: see quantize_weight.
    """
    from onnx import numpy_helper

    placement = place(model, keep_float=keep_float)
    check_ranges(placement, amax)
    edits = Edits()
    edits.constants.append(constant("q_zero", np.zeros((), np.int8)))
    for tensor, edges in placement.activations.items():
        edits.constants.append(constant(f"{tensor}_scale", scale_of(amax[placement.scale_of[tensor]])))
        edits.add_pair(tensor, edges, first_node(model, edges), (f"{tensor}_scale", "q_zero"))
    weights = {item.name: item for item in model.graph.initializer}
    for name, (node, number, axis) in placement.weights.items():
        integers, scale_K = quantize_weight(numpy_helper.to_array(weights[name]), axis, pair_safe=pair_safe)
        edits.add_stored(name, (node, number), axis, integers, scale_K)
    return edits.apply(model)


def scale_of(amax: float) -> NDArray[np.float32]:
    """Return the step of a tensor whose largest magnitude is amax; a tensor that is always 0 gets step 1."""
    return np.asarray(amax / LIMIT if amax > 0 else 1.0, np.float32)


def quantize_weight(
    weight: NDArray[np.float32], axis: int, *, pair_safe: bool = True
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight to integers in -127 .. 127 with one scale for each output channel (K,).

    With pair_safe the scale also keeps two neighbouring input channels of one sign within 128 together. An x86 CPU
    before VNNI adds their products in 16 bits (vpmaddubsw), and OpenVINO feeds activations as 0..255: 255 * (127 + 127)
    would overflow. Trained resnet_small on AVX2, worst and mean cosine: 0.964 and 0.983 without this, 0.995 and 0.997
    with; one file is right on every CPU and GPU. Where nothing overflows it costs up to 0.0011 of mean cosine (five
    trained networks with calib.bias: 0.0011, 0.0007, 0.0001, 0.0000, 0.0000). A scale of least squared error instead of
    the largest weight won nothing beside calib.bias.
    """
    weight_KC = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], weight.shape[1 - axis], -1)
    amax_K = np.abs(weight_KC).max(axis=(1, 2))
    if pair_safe:
        pairs = np.pad(weight_KC, ((0, 0), (0, weight_KC.shape[1] % 2), (0, 0)))
        for sign in (1.0, -1.0):
            part = np.maximum(sign * pairs, 0.0)
            amax_K = np.maximum(amax_K, (part[:, 0::2] + part[:, 1::2]).max(axis=(1, 2)))
    scale_K = np.where(amax_K > 0, amax_K / LIMIT, 1.0).astype(np.float32)
    return round_weight(weight, axis, scale_K), scale_K


def round_weight(weight: NDArray[np.float32], axis: int, scale_K: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return the integers of a weight for given scales."""
    shape = [-1 if number == axis else 1 for number in range(weight.ndim)]
    return np.clip(np.rint(weight / scale_K.reshape(shape)), -LIMIT, LIMIT).astype(np.int8)
