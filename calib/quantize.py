"""Write an INT8 graph: symmetric Q/DQ pairs with FP32 scales, which TensorRT 10, 11 and RTX and OpenVINO take.

Weights are stored as INT8 with a scale for each output channel; biases stay float (TensorRT refuses INT32 biases).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calib.placement import place
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

LIMIT = 127  # symmetric: -128 is not used, so that a product of two extremes fits and 0 stays in the middle


def quantize(model: onnx.ModelProto, amax: Mapping[str, float], *, keep_float: Iterable[str] = ()) -> onnx.ModelProto:
    """Return a copy of a float graph with Q/DQ pairs; amax maps each measured tensor to its largest magnitude."""
    import onnx

    placement = place(model, keep_float=keep_float)
    missing = [name for name in placement.measured if name not in amax]
    if missing:
        raise BadInput(
            f"the calibration table has no range for {len(missing)} tensors, such as {missing[0]!r}; "
            "calibrate this graph"
        )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    replaced: dict[tuple[str, int], str] = {}
    before: dict[str, list[onnx.NodeProto]] = {}  # first reader -> nodes to put before it
    constants: list[onnx.TensorProto] = [_constant("q_zero", np.zeros((), np.int8))]
    for tensor, edges in placement.activations.items():
        constants.append(_constant(f"{tensor}_scale", scale_of(amax[placement.scale_of[tensor]])))
        inputs = [f"{tensor}_scale", "q_zero"]
        pair = [
            onnx.helper.make_node("QuantizeLinear", [tensor, *inputs], [f"{tensor}_q"], name=f"{tensor}_Q"),
            onnx.helper.make_node("DequantizeLinear", [f"{tensor}_q", *inputs], [f"{tensor}_dq"], name=f"{tensor}_DQ"),
        ]
        before.setdefault(_first(result, {name for name, _ in edges}), []).extend(pair)
        replaced.update(dict.fromkeys(edges, f"{tensor}_dq"))
    weights = {item.name: item for item in model.graph.initializer}
    for name, (node, number, axis) in placement.weights.items():
        integers, scale_K = quantize_weight(onnx.numpy_helper.to_array(weights[name]), axis)
        constants += [
            _constant(f"{name}_int8", integers),
            _constant(f"{name}_scale", scale_K),
            _constant(f"{name}_zero", np.zeros(scale_K.shape, np.int8)),
        ]
        inputs = [f"{name}_int8", f"{name}_scale", f"{name}_zero"]
        dequantize = onnx.helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], name=f"{name}_DQ", axis=axis)
        before.setdefault(node, []).append(dequantize)
        replaced[node, number] = f"{name}_dq"
    _rewrite(result, before, replaced, constants)
    checker: Any = onnx.checker
    checker.check_model(result)
    return result


def scale_of(amax: float) -> NDArray[np.float32]:
    """Return the step of a tensor whose largest magnitude is amax; a tensor that is always 0 gets step 1."""
    return np.asarray(amax / LIMIT if amax > 0 else 1.0, np.float32)


def quantize_weight(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight to integers in -127 .. 127 with one scale for each output channel (K,).

    The scale also keeps two neighbouring input channels of one sign within 128 together. An x86 CPU before VNNI adds
    their products in 16 bits (vpmaddubsw), and OpenVINO feeds activations as 0..255: 255 * (127 + 127) would overflow.
    Trained resnet_small on AVX2, worst and mean cosine: 0.964 and 0.983 without this, 0.995 and 0.997 with; where
    nothing overflows it costs 0.0005 of mean cosine, and one file is right on every CPU and GPU.
    """
    weight_KC = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], weight.shape[1 - axis], -1)
    pairs = np.pad(weight_KC, ((0, 0), (0, weight_KC.shape[1] % 2), (0, 0)))
    amax_K = np.abs(weight_KC).max(axis=(1, 2))
    for sign in (1.0, -1.0):
        part = np.maximum(sign * pairs, 0.0)
        amax_K = np.maximum(amax_K, (part[:, 0::2] + part[:, 1::2]).max(axis=(1, 2)))
    scale_K = np.where(amax_K > 0, amax_K / LIMIT, 1.0).astype(np.float32)
    shape = [-1 if number == axis else 1 for number in range(weight.ndim)]
    integers = np.clip(np.rint(weight / scale_K.reshape(shape)), -LIMIT, LIMIT).astype(np.int8)
    return integers, scale_K


def _rewrite(
    model: onnx.ModelProto,
    before: dict[str, list[onnx.NodeProto]],
    replaced: dict[tuple[str, int], str],
    constants: list[onnx.TensorProto],
) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes += before.get(node.name, [])
        for number in range(len(node.input)):
            node.input[number] = replaced.get((node.name, number), node.input[number])
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in used]  # the float weights are gone
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *constants])


def _first(model: onnx.ModelProto, names: set[str]) -> str:
    """Return the first node, in the graph's order, out of names."""
    return next(node.name for node in model.graph.node if node.name in names)


def _constant(name: str, value: NDArray[np.generic]) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value), name)
