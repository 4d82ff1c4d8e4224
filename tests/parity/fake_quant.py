"""An INT8 graph computed a second time: the float ONNX graph in PyTorch, rounded where the placement says.

With calib.quantize it shares the placement and the scales. Rounding, clipping, the axis of a weight's channels and
every operator are its own: QuantizeLinear and DequantizeLinear occur nowhere. In float64, so that the order of a sum
does not decide into which of two steps a value falls.

Shapes: N, C, H, W as in ONNX; B batch, H height, W width of pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from calib.placement import place
from calib.quantize import quantize_weight, scale_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import onnx
    from numpy.typing import NDArray

    Operator = Callable[[list[Any], dict[str, Any], torch.dtype], Tensor]

LOWEST, HIGHEST = -128, 127  # of INT8 activations, where ONNX and TensorRT clip; weights stay within -127
DTYPES = {1: torch.float32, 7: torch.int64}


class FakeQuant:
    """A float graph and its ranges; amax None leaves everything float."""

    def __init__(
        self,
        model: onnx.ModelProto,
        amax: Mapping[str, float] | None,
        *,
        keep_float: Collection[str] = (),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.graph, self.dtype = model.graph, dtype
        self.step: dict[tuple[str, int], float] = {}  # edge -> the step of the activation that it reads
        self.weight: dict[tuple[str, int], Tensor] = {}
        constants = {item.name: numpy_helper.to_array(item) for item in self.graph.initializer}
        self.constants = {name: self._own(torch.from_numpy(value.copy())) for name, value in constants.items()}
        if amax is None:
            return
        placement = place(model, keep_float=keep_float)
        for tensor, edges in placement.activations.items():
            step = float(scale_of(amax[placement.scale_of[tensor]]))
            self.step.update(dict.fromkeys(edges, step))
        for name, (node, number, _) in placement.weights.items():
            axis = self._channel_axis(node)
            _, scale_K = quantize_weight(constants[name], axis)
            shape = [-1 if index == axis else 1 for index in range(constants[name].ndim)]
            scale = torch.from_numpy(scale_K).reshape(shape)
            integers = torch.round(torch.from_numpy(constants[name].copy()) / scale).clamp(-127, 127)
            self.weight[node, number] = integers.to(dtype) * scale.to(dtype)

    def embed(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
        values = self.run(image_BHWC)
        return values[self.graph.output[0].name].double().numpy()

    def run(self, image_BHWC: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Return every tensor of the graph."""
        values: dict[str, Any] = {**self.constants, self.graph.input[0].name: torch.from_numpy(image_BHWC)}
        for node in self.graph.node:
            values[node.output[0]] = self.node(node, values)
        return values

    def node(self, node: onnx.NodeProto, values: Mapping[str, Any]) -> Tensor:
        """Compute one node from the float values of its inputs."""
        inputs = [self.read(node, number, values) for number in range(len(node.input))]
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        return OPERATORS[node.op_type](inputs, attributes, self.dtype)

    def read(self, node: onnx.NodeProto, number: int, values: Mapping[str, Any]) -> Tensor | None:
        """Return an input of a node as the node sees it: rounded, where the placement says so."""
        edge, name = (node.name, number), node.input[number]
        if edge in self.weight:
            return self.weight[edge]
        if not name:
            return None
        value: Tensor = values[name]
        return value if edge not in self.step else self.integers(value, self.step[edge]) * self.step[edge]

    @staticmethod
    def integers(value: Tensor, step: float) -> Tensor:
        """Round to the nearest step, ties to the even one."""
        return torch.round(value / step).clamp(LOWEST, HIGHEST)

    def _own(self, value: Tensor) -> Tensor:
        return value.to(self.dtype) if value.is_floating_point() else value

    def _channel_axis(self, name: str) -> int:
        kind = next(node.op_type for node in self.graph.node if node.name == name)
        return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[kind]


def _convolution(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    value, weight, *bias = inputs
    rank = weight.ndim - 2
    pads = attributes.get("pads", [0] * 2 * rank)
    # ONNX lists the beginnings, then the ends; PyTorch pairs them from the last axis on.
    sides = [side for axis in reversed(range(rank)) for side in (pads[axis], pads[axis + rank])]
    apply = {1: functional.conv1d, 2: functional.conv2d}[rank]
    return apply(
        functional.pad(value, sides),
        weight,
        bias[0] if bias else None,
        stride=attributes.get("strides", [1] * rank),
        dilation=attributes.get("dilations", [1] * rank),
        groups=attributes.get("group", 1),
    )


def _transposed(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    value, weight, *bias = inputs
    pads = attributes.get("pads", [0, 0, 0, 0])
    assert pads[:2] == pads[2:], "PyTorch crops both sides alike"
    return functional.conv_transpose2d(
        value,
        weight,
        bias[0] if bias else None,
        stride=attributes.get("strides", [1, 1]),
        padding=pads[:2],
        output_padding=attributes.get("output_padding", [0, 0]),
        groups=attributes.get("group", 1),
        dilation=attributes.get("dilations", [1, 1]),
    )


def _max_pool(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    padded = functional.pad(inputs[0], (pads[1], pads[3], pads[0], pads[2]), value=-torch.inf)
    return functional.max_pool2d(padded, attributes["kernel_shape"], attributes.get("strides", 1))


def _batch_norm(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    value, weight, bias, mean, variance = inputs
    shape = [1, -1] + [1] * (value.ndim - 2)
    deviation = (variance + attributes.get("epsilon", 1e-5)).sqrt()
    return (value - mean.reshape(shape)) * (weight / deviation).reshape(shape) + bias.reshape(shape)


def _instance_norm(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    value, weight, bias = inputs
    variance, mean = torch.var_mean(value, dim=(2, 3), keepdim=True, correction=0)
    normal = (value - mean) / (variance + attributes.get("epsilon", 1e-5)).sqrt()
    return normal * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)


def _resize(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    assert attributes["mode"] == b"linear"
    assert attributes["coordinate_transformation_mode"] in (b"half_pixel", b"pytorch_half_pixel")
    height, width = (int(size) for size in inputs[3][2:])
    return functional.interpolate(inputs[0], (height, width), mode="bilinear", align_corners=False)


def _reshape(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    value, shape = inputs[0], [int(size) for size in inputs[1]]
    if not attributes.get("allowzero", 0):
        shape = [size or value.shape[axis] for axis, size in enumerate(shape)]
    return value.reshape(shape)


def _axes(inputs: list[Any]) -> list[int]:
    return [int(axis) for axis in inputs[1]]


def _cast(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    target = DTYPES[attributes["to"]]
    return inputs[0].to(dtype if target.is_floating_point else target)


def _shape(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    return torch.tensor(inputs[0].shape[attributes.get("start", 0) : attributes.get("end")])


def _clip(inputs: list[Any], attributes: dict[str, Any], dtype: torch.dtype) -> Tensor:
    least, most = ([*inputs, None, None])[1:3]
    return inputs[0].clamp(least, most)


# What the five methods' graphs are made of.
OPERATORS: dict[str, Operator] = {
    "Add": lambda inputs, *_: inputs[0] + inputs[1],
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes, _: torch.cat(inputs, attributes["axis"]),
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Div": lambda inputs, *_: inputs[0] / inputs[1],
    "Expand": lambda inputs, *_: inputs[0].expand(torch.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))),
    "InstanceNormalization": _instance_norm,
    "MatMul": lambda inputs, *_: inputs[0] @ inputs[1],
    "MaxPool": _max_pool,
    "Mul": lambda inputs, *_: inputs[0] * inputs[1],
    "Pow": lambda inputs, *_: inputs[0] ** inputs[1],
    "ReduceL2": lambda inputs, attributes, _: (
        (inputs[0] ** 2).sum(_axes(inputs), keepdim=bool(attributes.get("keepdims", 1))).sqrt()
    ),
    "ReduceMean": lambda inputs, attributes, _: inputs[0].mean(
        _axes(inputs), keepdim=bool(attributes.get("keepdims", 1))
    ),
    "Relu": lambda inputs, *_: inputs[0].clamp(min=0),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": lambda inputs, *_: torch.sigmoid(inputs[0]),
    "Softmax": lambda inputs, attributes, _: inputs[0].softmax(attributes.get("axis", -1)),
    "Sub": lambda inputs, *_: inputs[0] - inputs[1],
    "Tanh": lambda inputs, *_: torch.tanh(inputs[0]),
    "Transpose": lambda inputs, attributes, _: inputs[0].permute(attributes["perm"]),
    "Unsqueeze": lambda inputs, *_: inputs[0].unsqueeze(_axes(inputs)[0]),
}
