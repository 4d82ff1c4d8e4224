"""Typed graphs of the small random networks, made once a session, and graphs as a careless converter writes them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from calib.half import Half, to_half
from calib.half_ranges import measure_largest
from calib.samples import pixel_batches
from train.datasets.sysu import open_sysu

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TypedPrecision = Literal["fp16", "int8"]
# Every graph that the five methods export.
GRAPHS = [
    *(("aligngan", "visible"), ("aligngan", "infrared"), ("baseline", "visible"), ("baseline", "infrared")),
    *(("imfe", "visible"), ("imfe", "infrared"), ("mcja", "model"), ("mpanet", "model")),
]


@dataclass(frozen=True, kw_only=True)
class Material:
    """A graph, its typed form, and images that its ranges were not measured on."""

    floating: onnx.ModelProto  # FP32
    source: onnx.ModelProto  # what was typed: FP32, or FP32 with Q/DQ pairs
    half: Half
    largest: dict[str, float]
    image_BHWC: NDArray[np.uint8]

    @property
    def model(self) -> onnx.ModelProto:
        return self.half.model


@cache
def typed_graph(folder: Path, stem: str, precision: TypedPrecision, tree: Path) -> Material:
    """Type one graph of an engine folder for half precision."""
    floating = onnx.load(str(folder / f"{stem}.fp32.onnx"))
    source = floating if precision == "fp16" else onnx.load(str(folder / f"{stem}.int8.onnx"))
    largest = largest_of(folder, stem, tree)
    held_out = [record for record in open_sysu(tree).split("val") if stem in ("model", record.modality)]
    return Material(
        floating=floating,
        source=source,
        half=to_half(source, largest),
        largest=largest,
        image_BHWC=np.concatenate(list(pixel_batches(held_out[:16], 64, 32))),
    )


@cache
def largest_of(folder: Path, stem: str, tree: Path) -> dict[str, float]:
    """Measure one FP32 graph on the training images of its modality."""
    records = [record for record in open_sysu(tree).split("train") if stem in ("model", record.modality)]
    model = onnx.load(str(folder / f"{stem}.fp32.onnx"))
    return measure_largest(model, pixel_batches(records[:48], 64, 32, 8), threads=1)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Map every tensor to its ONNX element type."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        item.name: item.data_type for item in graph.initializer
    }


def nodes_of(model: onnx.ModelProto, *kinds: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in kinds]


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def all_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a float graph as a converter without rules does: every FP32 tensor becomes FP16, but for the output."""
    result = copy.deepcopy(model)
    del result.graph.value_info[:]
    for item in result.graph.initializer:
        if item.data_type == TensorProto.FLOAT:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    for node in result.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    (output,) = result.graph.output
    node = next(node for node in result.graph.node if output.name in node.output)
    node.output[0] = "embedding_in_half"
    result.graph.node.append(
        onnx.helper.make_node("Cast", [node.output[0]], [output.name], name="to_float", to=TensorProto.FLOAT)
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def with_larger_features(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """Scale the features of a small ResNet's last stage by factor, so that the embedding stays what it was.

    Both convolutions whose sum is the stage's map give factor times as much, the convolution that reads the first
    block's map takes it back, and the neck's statistics follow.
    """
    stage = "method.backbone.layer4"
    factors = {
        **{f"{stage}.{name}": factor for name in ("0.conv2.weight", "0.conv2.weight_bias")},
        **{f"{stage}.{name}": factor for name in ("0.downsample.0.weight", "0.downsample.0.weight_bias")},
        **{f"{stage}.{name}": factor for name in ("1.conv2.weight", "1.conv2.weight_bias")},
        f"{stage}.1.conv1.weight": 1 / factor,
        "method.bn_neck.running_mean": factor,
        "method.bn_neck.running_var": factor**2,
    }
    result = copy.deepcopy(model)
    for item in result.graph.initializer:
        scale = factors.pop(item.name, None)
        if scale is not None:
            value = numpy_helper.to_array(item) * np.float32(scale)
            item.CopyFrom(numpy_helper.from_array(value.astype(np.float32), item.name))
    assert not factors, f"the graph has no {', '.join(factors)}"
    return result
