"""YOLOX-nano's real graph with the tails and inputs of other detectors, so that each head reads the same people.

Every tail is made of what the raw graph answers: decoded boxes, class scores, and the ONNX NonMaxSuppression where the
other form has one. Each input is undone in front of the network: RGB 0-1, ImageNet's mean, and so on.

Shapes: 1 picture, A rows (cells), K kept boxes, C classes.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.detection.heads.form import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE, CELLS, CLASSES, KEPT = 416, 3549, 80, 300
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
RTMDET_MEAN, RTMDET_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


class Tail:
    """Adds nodes behind (or before) a graph; every method returns the name of what it made."""

    def __init__(self, raw: onnx.ModelProto) -> None:
        self.model = copy.deepcopy(raw)
        del self.model.graph.value_info[:]
        self.model.opset_import[0].version = 13
        self.nodes: list[onnx.NodeProto] = []
        self._count = 0

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = self._name()
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [self._name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def part(self, tensor: str, start: int, stop: int, axis: int = 2) -> str:
        bounds = [self.constant([value], np.int64) for value in (start, stop, axis)]
        return self.op("Slice", tensor, *bounds)

    def flat(self, tensor: str, *shape: int) -> str:
        return self.op("Reshape", tensor, self.constant(shape, np.int64))

    def _name(self) -> str:
        self._count += 1
        return f"tail_{self._count}"

    def finish(self, path: Path, *outputs: tuple[str, str, int, tuple[Any, ...]]) -> Path:
        """Save with these outputs: (tensor, name, type, shape)."""
        graph = self.model.graph
        for tensor, name, _, _ in outputs:
            self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        del graph.output[:]
        graph.node.extend(self.nodes)
        graph.output.extend(helper.make_tensor_value_info(name, kind, shape) for _, name, kind, shape in outputs)
        onnx.checker.check_model(self.model)
        onnx.save(self.model, str(path))
        return path

    def input_as(self, *, rgb: bool, scale: float = 1.0, mean: Any = (0, 0, 0), std: Any = (1, 1, 1)) -> None:
        """Make the input another convention's; the network behind still gets BGR 0-255."""
        nodes, self.nodes = self.nodes, []
        graph = self.model.graph
        spread = self.op("Mul", "images", self.constant(np.reshape(std, (1, 3, 1, 1))))
        pixels = self.op("Add", spread, self.constant(np.reshape(mean, (1, 3, 1, 1))))
        pixels = self.op("Div", pixels, self.constant(scale))
        if rgb:
            pixels = self.op("Gather", pixels, self.constant([2, 1, 0], np.int64), axis=1)
        for node in graph.node:
            node.input[:] = [pixels if name == "images" else name for name in node.input]
        front, self.nodes = self.nodes, nodes
        old = list(graph.node)
        del graph.node[:]
        graph.node.extend([*front, *old])


def free_batch(raw: onnx.ModelProto, path: Path) -> Path:
    """Write the raw graph with a free batch, as YOLOX's own export has it with --dynamic."""
    model = copy.deepcopy(raw)
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for item in model.graph.initializer:
        if item.name in shapes:
            item.CopyFrom(numpy_helper.from_array(np.array([0, 5 + CLASSES, -1], np.int64), item.name))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    onnx.save(model, str(path))
    return path


def decoded_parts(tail: Tail) -> tuple[str, str, str, str]:
    """Return centre x, y and width, height (1, A, 2 each) in pixels, objectness (1, A, 1), classes (1, A, C)."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        side = SIZE // stride
        rows, columns = np.mgrid[0:side, 0:side]
        cells.append(np.stack([columns.ravel(), rows.ravel()], 1))
        strides.append(np.full((side * side, 1), stride))
    cell, stride = tail.constant(np.concatenate(cells)[None]), tail.constant(np.concatenate(strides)[None])
    centre = tail.op("Mul", tail.op("Add", tail.part("output", 0, 2), cell), stride)
    size = tail.op("Mul", tail.op("Exp", tail.part("output", 2, 4)), stride)
    return centre, size, tail.part("output", 4, 5), tail.part("output", 5, 5 + CLASSES)


def decoded(raw: onnx.ModelProto, path: Path) -> Path:
    tail = Tail(raw)
    answer = tail.op("Concat", *decoded_parts(tail), axis=2)
    return tail.finish(path, (answer, "decoded", FLOAT, (1, CELLS, 5 + CLASSES)))


def yolov5(raw: onnx.ModelProto, path: Path) -> Path:
    """Three anchors a cell, of which the first is YOLOX's answer and the others are sure of nobody."""
    tail = Tail(raw)
    answer = tail.op("Concat", *decoded_parts(tail), axis=2)
    nobody = tail.constant(np.zeros((1, 2 * CELLS, 5 + CLASSES)))
    answer = tail.op("Concat", answer, nobody, axis=1)
    tail.input_as(rgb=True, scale=1 / 255)
    return tail.finish(path, (answer, "output0", FLOAT, (1, 3 * CELLS, 5 + CLASSES)))


def yolov8(raw: onnx.ModelProto, path: Path) -> Path:
    tail = Tail(raw)
    centre, size, objectness, classes = decoded_parts(tail)
    rows = tail.op("Concat", centre, size, tail.op("Mul", objectness, classes), axis=2)
    answer = tail.op("Transpose", rows, perm=[0, 2, 1])
    tail.input_as(rgb=True, scale=1 / 255)
    return tail.finish(path, (answer, "output0", FLOAT, (1, 4 + CLASSES, CELLS)))


class Kept:
    """What is left after suppression, as K rows of one picture; the rows behind the last person have score 0."""

    def __init__(self, tail: Tail) -> None:
        centre, size, objectness, classes = decoded_parts(tail)
        half = tail.op("Mul", size, tail.constant(0.5))
        corner = tail.op("Concat", tail.op("Sub", centre, half), tail.op("Add", centre, half), axis=2)
        all_score = tail.op("Mul", objectness, classes)  # (1, A, C)
        best = tail.op("ReduceMax", all_score, axes=[2], keepdims=0)  # (1, A)
        label = tail.op("ArgMax", all_score, axis=2, keepdims=0)
        limits = [tail.constant(value, np.float32) for value in ([0.45], [0.1])]
        chosen = tail.op(
            "NonMaxSuppression", corner, tail.flat(best, 1, 1, CELLS), tail.constant([KEPT], np.int64), *limits
        )
        index = tail.part(chosen, 2, 3, axis=1)  # (K', 1)
        ones = tail.op("Cast", tail.op("Greater", index, tail.constant([-1], np.int64)), to=FLOAT)
        mask = tail.op("ScatterND", tail.constant(np.zeros(CELLS)), index, tail.flat(ones, -1))
        score = tail.op("Mul", tail.flat(best, CELLS), mask)
        score, row = tail.op("TopK", score, tail.constant([KEPT], np.int64), outputs=2, axis=0)
        self.corner = tail.op("Gather", tail.flat(corner, CELLS, 4), row, axis=0)  # (K, 4)
        self.label = tail.op("Gather", tail.flat(label, CELLS), row, axis=0)  # (K), int64
        self.score = score  # (K)
        self.chosen = tail.flat(index, -1)  # which rows were chosen at all, as many as there are
        self.all = (tail.flat(corner, CELLS, 4), tail.flat(label, CELLS), tail.flat(best, CELLS))


def end_to_end(raw: onnx.ModelProto, path: Path) -> Path:
    tail = Tail(raw)
    kept = Kept(tail)
    score = tail.flat(kept.score, KEPT, 1)
    label = tail.flat(tail.op("Cast", kept.label, to=FLOAT), KEPT, 1)
    answer = tail.flat(tail.op("Concat", kept.corner, score, label, axis=1), 1, KEPT, 6)
    tail.input_as(rgb=True, scale=1 / 255)
    return tail.finish(path, (answer, "output0", FLOAT, (1, KEPT, 6)))


def nms(raw: onnx.ModelProto, path: Path) -> Path:
    tail = Tail(raw)
    kept = Kept(tail)
    sure = tail.op("Cast", tail.op("Greater", kept.score, tail.constant(0)), to=INT32)
    count = tail.op("ReduceSum", sure, tail.constant([0], np.int64), keepdims=0)
    tail.input_as(rgb=True, scale=1 / 255)
    return tail.finish(
        path,
        (tail.flat(count, 1, 1), "num_dets", INT32, (1, 1)),
        (tail.flat(kept.corner, 1, KEPT, 4), "det_boxes", FLOAT, (1, KEPT, 4)),
        (tail.flat(kept.score, 1, KEPT), "det_scores", FLOAT, (1, KEPT)),
        (tail.flat(tail.op("Cast", kept.label, to=INT32), 1, KEPT), "det_classes", INT32, (1, KEPT)),
    )


def ssd(raw: onnx.ModelProto, path: Path) -> Path:
    """Picture, class (0 is background), score, corners 0-1; BGR 0-255, as OpenVINO's person detectors."""
    tail = Tail(raw)
    kept = Kept(tail)
    nobody = tail.op("Cast", tail.op("Equal", kept.score, tail.constant(0)), to=FLOAT)
    picture = tail.flat(tail.op("Neg", nobody), KEPT, 1)  # 0, and -1 behind the last
    label = tail.op("Add", tail.op("Cast", kept.label, to=FLOAT), tail.constant(1))
    corner = tail.op("Div", kept.corner, tail.constant(SIZE))
    rows = tail.op("Concat", picture, tail.flat(label, KEPT, 1), tail.flat(kept.score, KEPT, 1), corner, axis=1)
    return tail.finish(path, (tail.flat(rows, 1, 1, KEPT, 7), "detection_out", FLOAT, (1, 1, KEPT, 7)))


def torchvision(raw: onnx.ModelProto, path: Path) -> Path:
    """As many rows as people and things there are; class 0 is background."""
    tail = Tail(raw)
    kept = Kept(tail)
    corner, label, score = (tail.op("Gather", tensor, kept.chosen, axis=0) for tensor in kept.all)
    label = tail.op("Add", label, tail.constant(1, np.int64))
    tail.input_as(rgb=True, scale=1 / 255)
    return tail.finish(
        path,
        (corner, "boxes", FLOAT, ("n", 4)),
        (label, "labels", INT64, ("n",)),
        (score, "scores", FLOAT, ("n",)),
    )


def labelled(raw: onnx.ModelProto, path: Path) -> Path:
    """RT-DETR's deployed form: a second input says in the pixels of which size the boxes are wanted."""
    tail = Tail(raw)
    kept = Kept(tail)
    tail.model.graph.input.append(helper.make_tensor_value_info("orig_target_sizes", INT64, (1, 2)))
    size = tail.op("Div", tail.op("Cast", "orig_target_sizes", to=FLOAT), tail.constant(SIZE))
    corner = tail.op("Mul", kept.corner, tail.op("Concat", size, size, axis=1))
    tail.input_as(rgb=True, scale=1 / 255)
    return tail.finish(
        path,
        (tail.flat(kept.label, 1, KEPT), "labels", INT64, (1, KEPT)),
        (tail.flat(corner, 1, KEPT, 4), "boxes", FLOAT, (1, KEPT, 4)),
        (tail.flat(kept.score, 1, KEPT), "scores", FLOAT, (1, KEPT)),
    )


def mmdeploy(raw: onnx.ModelProto, path: Path) -> Path:
    tail = Tail(raw)
    kept = Kept(tail)
    dets = tail.op("Concat", kept.corner, tail.flat(kept.score, KEPT, 1), axis=1)
    tail.input_as(rgb=False, mean=RTMDET_MEAN, std=RTMDET_STD)
    return tail.finish(
        path,
        (tail.flat(dets, 1, KEPT, 5), "dets", FLOAT, (1, KEPT, 5)),
        (tail.flat(kept.label, 1, KEPT), "labels", INT64, (1, KEPT)),
    )


def _chances(tail: Tail, kept: Kept, first: int, columns: int) -> str:
    """Return (K, columns): the score in the column of the box's class, a hundredth of a percent elsewhere."""
    label = tail.op("Add", kept.label, tail.constant(first, np.int64))
    row = tail.op("OneHot", label, tail.constant([columns], np.int64), tail.constant([0.0, 1.0]), axis=-1)
    chance = tail.op("Mul", row, tail.flat(kept.score, KEPT, 1))
    return tail.op("Clip", chance, tail.constant(1e-4), tail.constant(1 - 1e-4))


def _centres(tail: Tail, kept: Kept) -> str:
    """Return centre x, y, width, height from 0 to 1 (1, K, 4)."""
    start, end = tail.part(kept.corner, 0, 2, axis=1), tail.part(kept.corner, 2, 4, axis=1)
    centre = tail.op("Mul", tail.op("Add", start, end), tail.constant(0.5))
    box = tail.op("Concat", centre, tail.op("Sub", end, start), axis=1)
    return tail.flat(tail.op("Div", box, tail.constant(SIZE)), 1, KEPT, 4)


def _sigmoid_detr(raw: onnx.ModelProto, path: Path, first: int, classes: int, names: tuple[str, str]) -> Tail:
    tail = Tail(raw)
    kept = Kept(tail)
    chance = _chances(tail, kept, first, classes)
    logit = tail.op("Log", tail.op("Div", chance, tail.op("Sub", tail.constant(1), chance)))
    if first:
        tail.input_as(rgb=True, scale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    else:
        tail.input_as(rgb=True, scale=1 / 255)
    tail.finish(
        path,
        (_centres(tail, kept), names[0], FLOAT, (1, KEPT, 4)),
        (tail.flat(logit, 1, KEPT, classes), names[1], FLOAT, (1, KEPT, classes)),
    )
    return tail


def rt_detr(raw: onnx.ModelProto, path: Path) -> Path:
    _sigmoid_detr(raw, path, 0, CLASSES, ("pred_boxes", "logits"))
    return path


def dino(raw: onnx.ModelProto, path: Path) -> Path:
    _sigmoid_detr(raw, path, 1, 91, ("dets", "labels"))
    return path


def detr(raw: onnx.ModelProto, path: Path) -> Path:
    """92 columns: 0 nothing, 1 person, ..., 91 no object; what a softmax of their logarithms gives back."""
    tail = Tail(raw)
    kept = Kept(tail)
    chance = _chances(tail, kept, 1, 91)
    total = tail.op("ReduceSum", chance, tail.constant([1], np.int64), keepdims=1)
    none = tail.op("Clip", tail.op("Sub", tail.constant(1), total), tail.constant(1e-4), tail.constant(1))
    logit = tail.op("Log", tail.op("Concat", chance, none, axis=1))
    tail.input_as(rgb=True, scale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return tail.finish(
        path,
        (tail.flat(logit, 1, KEPT, 92), "logits", FLOAT, (1, KEPT, 92)),
        (_centres(tail, kept), "pred_boxes", FLOAT, (1, KEPT, 4)),
    )


FORMS: dict[str, Callable[[onnx.ModelProto, Path], Path]] = {
    "yolox-decoded": decoded,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "end-to-end": end_to_end,
    "nms": nms,
    "ssd": ssd,
    "torchvision": torchvision,
    "labelled": labelled,
    "mmdeploy": mmdeploy,
    "detr": detr,
    "dino": dino,
    "rt-detr": rt_detr,
}


def answer_of(path: Path, outputs: dict[str, Any], *, input_shape: tuple[Any, ...], dtype: int = FLOAT) -> Path:
    """Write a graph that answers every picture with the same known arrays; the input is used, with the factor 0."""
    nodes, infos, weights = [], [], []
    nodes.append(helper.make_node("Cast", ["images"], ["as_float"], to=FLOAT))
    nodes.append(helper.make_node("ReduceMax", ["as_float"], ["most"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["most", "zero"], ["nothing"]))
    weights.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    for name, value in outputs.items():
        array = np.asarray(value)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        weights.append(numpy_helper.from_array(array, f"{name}_known"))
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}_nothing"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}_known", f"{name}_nothing"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, array.shape))
    source = helper.make_tensor_value_info("images", dtype, input_shape)
    graph = helper.make_graph(nodes, "known", [source], infos, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path
