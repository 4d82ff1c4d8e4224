"""ResNet-50 with last stride 1 as an ONNX graph without weights, written down from the paper's table of layers.

What a graph costs depends on sizes alone, and exporting the real one takes ten seconds.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

BLOCKS = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 1))  # blocks, width, stride of the first


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def constant(self, *shape: int) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT))
        return name

    def convolution(self, x: str, inside: int, outside: int, kernel: int, stride: int = 1) -> str:
        weight = self.constant(outside, inside, kernel, kernel)
        return self.node("Conv", x, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)


def resnet50_graph(height_px: int, width_px: int) -> onnx.ModelProto:
    """Return pixels in, 2048 features out."""
    write = _Writer()
    x = write.node("Cast", "pixels", to=TensorProto.FLOAT)
    x = write.node("Transpose", x, perm=[0, 3, 1, 2])
    x = write.node("Relu", write.convolution(x, 3, 64, 7, 2))
    x = write.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    inside = 64
    for blocks, width, first_stride in BLOCKS:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            skip = write.convolution(x, inside, 4 * width, 1, stride) if block == 0 else x
            y = write.node("Relu", write.convolution(x, inside, width, 1))
            y = write.node("Relu", write.convolution(y, width, width, 3, stride))
            x = write.node("Relu", write.node("Add", write.convolution(y, width, 4 * width, 1), skip))
            inside = 4 * width
    write.nodes.append(helper.make_node("GlobalAveragePool", [x], ["embedding"], name="pool"))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", height_px, width_px, 3])
    features = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", inside, 1, 1])
    graph = helper.make_graph(write.nodes, "resnet50", [pixels], [features], write.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
