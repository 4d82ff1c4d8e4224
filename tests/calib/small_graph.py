"""A graph with everything that is placed: stem, pooling, residual, transposed convolution, float tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HEIGHT, WIDTH = 16, 8


def small_graph() -> onnx.ModelProto:
    """pixels -> conv1, relu1, pool, conv2, relu2, conv3, add with pool, relu3, up, relu4, conv4, mean, unit length."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3)), "b1": rng.normal(size=8),
        "w2": rng.normal(size=(8, 8, 3, 3)), "b2": rng.normal(size=8),
        "w3": rng.normal(size=(8, 8, 1, 1)), "b3": rng.normal(size=8),
        "w_up": rng.normal(size=(8, 4, 2, 2)) * np.array([1.0, 0.1, 3.0, 10.0]).reshape(1, 4, 1, 1),
        "b_up": rng.normal(size=4),
        "w4": rng.normal(size=(16, 4, 1, 1)),
    }  # fmt: skip
    square: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], name="cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["nchw"], name="nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["nchw", "c255"], ["unit"], name="unit"),
        helper.make_node("Sub", ["unit", "half"], ["centred"], name="centred"),
        helper.make_node("Conv", ["centred", "w1", "b1"], ["c1"], name="conv1", **square),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("MaxPool", ["r1"], ["pooled"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "w2", "b2"], ["c2"], name="conv2", **square),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], name="conv3"),
        helper.make_node("Add", ["c3", "pooled"], ["sum"], name="add"),
        helper.make_node("Relu", ["sum"], ["r3"], name="relu3"),
        helper.make_node("ConvTranspose", ["r3", "w_up", "b_up"], ["up"], name="up", strides=[2, 2]),
        helper.make_node("Relu", ["up"], ["r4"], name="relu4"),
        helper.make_node("Conv", ["r4", "w4"], ["c4"], name="conv4"),
        helper.make_node("ReduceMean", ["c4", "axes"], ["mean"], name="mean", keepdims=0),
        helper.make_node("ReduceL2", ["mean", "last"], ["norm"], name="norm", keepdims=1),
        helper.make_node("Div", ["mean", "norm"], ["embedding"], name="unit_length"),
    ]
    constants: dict[str, Any] = {name: value.astype(np.float32) for name, value in weights.items()}
    constants |= {"c255": np.float32(255), "half": np.float32(0.5)}
    constants |= {"axes": np.array([2, 3]), "last": np.array([1])}
    return graph_of(nodes, constants, (HEIGHT, WIDTH, 3), (16,))


def graph_of(
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, Any],
    image: tuple[int, ...],
    output: tuple[int | None, ...] = (None, None, None),
) -> onnx.ModelProto:
    """Make a model of opset 19 that reads pixels (batch, *image) and gives what the last node gives."""
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, ["batch", *image])],
        [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["batch", *output])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def pixels(count: int = 4, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def run(model: onnx.ModelProto, image_BHWC: NDArray[np.uint8], *, optimised: bool = False) -> NDArray[np.float32]:
    """Run on ONNX Runtime, by default literally: nothing fused, nothing folded."""
    return session(model, optimised=optimised).run(None, {"pixels": image_BHWC})[0]


def session(model: onnx.ModelProto, *, optimised: bool = False, save: str = "") -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    if save:
        options.optimized_model_filepath = save
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
