"""What the exported files promise to their readers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from engines.manifest import load_manifest, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def model(engine_folder: Path) -> onnx.ModelProto:
    return onnx.load(str(engine_folder / "visible.fp32.onnx"))


def shape_of(value: Any) -> list[Any]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_pixels_go_in_and_embeddings_come_out(model: onnx.ModelProto) -> None:
    (pixels,), (embedding,) = model.graph.input, model.graph.output
    assert (pixels.name, shape_of(pixels)) == ("pixels", ["batch", 64, 32, 3])
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert (embedding.name, shape_of(embedding)) == ("embedding", ["batch", 192])
    assert embedding.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_uint8_is_cast_before_anything_else(model: onnx.ModelProto) -> None:
    """TensorRT refuses every other layer on uint8; a Shape reads no values."""
    readers = {node.op_type for node in model.graph.node if "pixels" in node.input}
    assert readers <= {"Cast", "Shape"}


def test_batch_norm_is_folded_into_convolutions(model: onnx.ModelProto) -> None:
    """20 convolutions with 20 BatchNorms behind them; only the neck's, behind the pooling, is left."""
    kinds = [node.op_type for node in model.graph.node]
    assert (kinds.count("Conv"), kinds.count("BatchNormalization")) == (20, 1)
    assert all(len(node.input) == 3 for node in model.graph.node if node.op_type == "Conv")


def test_the_file_is_whole_and_explains_itself(model: onnx.ModelProto, engine_folder: Path) -> None:
    assert not [item.name for item in model.graph.initializer if item.external_data]
    facts = {item.key: item.value for item in model.metadata_props}
    assert facts["method"] == "baseline"
    assert facts["modality"] == "visible"
    assert facts["input"] == "pixels: uint8 RGB (batch, 64, 32, 3)"
    assert facts["output"] == "embedding: float32 (batch, 192), unit length"
    assert json.loads(facts["recipe"])["backbone"] == "resnet_small"
    assert facts["git_revision"] == load_manifest(engine_folder).git_revision


@pytest.mark.parametrize(("name", "files"), [("baseline", 2), ("mcja", 1)])
def test_two_streams_have_two_files_and_one_has_one(engine_of: Callable[[str], Path], name: str, files: int) -> None:
    folder = engine_of(name)
    for form in ("onnx", "torch"):
        graphs = [graph for graph in load_manifest(folder).graphs if (graph.form, graph.precision) == (form, "fp32")]
        assert [graph.modality for graph in graphs] == ["visible", "infrared"]
        assert len({graph.file for graph in graphs}) == files


def test_every_listed_file_is_there_with_its_hash_and_nothing_else_is(engine_folder: Path) -> None:
    manifest = load_manifest(engine_folder)
    listed = {graph.file: graph.sha256 for graph in manifest.graphs}
    listed |= {name: table["sha256"] for name, table in manifest.calibration["tables"].items()}
    for artefact in (manifest.calibration["list"], manifest.reference):
        listed[artefact["file"]] = artefact["sha256"]
    present = {path.name for path in engine_folder.iterdir()} - {"manifest.json"}
    assert present == set(listed)
    assert all(sha256_of(engine_folder / name) == digest for name, digest in listed.items())
