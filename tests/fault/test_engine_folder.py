"""Engine folders that are damaged, incomplete or of another kind: one line each, before a byte is used."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from engines.errors import BadInput
from engines.open import open_engine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copy(engine_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(engine_folder, tmp_path / "engine")


def edit(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def refused(folder: Path, expected: str, **choice: Any) -> None:
    with pytest.raises(BadInput, match=expected) as caught:
        open_engine(folder, threads=1, **choice)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_refused(copy: Path) -> None:
    path = copy / "visible.int8.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(copy, r"visible\.int8\.onnx: SHA-256 is .* the file was changed or damaged")


def test_a_changed_file_of_another_precision_is_not_touched(copy: Path) -> None:
    (copy / "visible.fp32.onnx").write_bytes(b"damaged")
    with open_engine(copy, backend="openvino", precision="int8", threads=1) as engine:
        assert engine.name == "openvino int8"


def test_a_truncated_file_is_refused(copy: Path) -> None:
    path = copy / "infrared.int8.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    refused(copy, r"infrared\.int8\.onnx: SHA-256 is")


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "infrared.int8.onnx").unlink()
    refused(copy, r"the manifest names infrared\.int8\.onnx, which is missing; rebuild the engine$")


def test_no_manifest_is_no_engine_folder(tmp_path: Path) -> None:
    refused(tmp_path, rf"^expected an engine folder with manifest\.json, got {re.escape(str(tmp_path))}; build one")


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', "\x00", ""])
def test_a_manifest_that_is_no_json_object_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    refused(copy, r"manifest\.json: expected a JSON object, got ")


def test_an_unknown_field_is_refused(copy: Path) -> None:
    edit(copy, {"colour": "blue"})
    refused(copy, r"a field is missing or unknown .*colour.*; rebuild the engine$")


def test_another_format_is_refused(copy: Path) -> None:
    edit(copy, {"format": 2})
    refused(copy, r"expected format 1, got 2; rebuild with deploy/build_engine\.py$")


def test_a_file_outside_the_folder_is_refused(copy: Path) -> None:
    graphs = json.loads((copy / "manifest.json").read_text())["graphs"]
    edit(copy, {"graphs": [{**graph, "file": "../" + graph["file"]} for graph in graphs]})
    refused(copy, r"expected a file name inside the engine folder, got '\.\./")


def test_a_graph_that_its_runtime_cannot_read_is_one_line(copy: Path) -> None:
    """The SHA-256 fits, the content does not: built by another version, for example."""
    from engines.manifest import sha256_of

    raw = json.loads((copy / "manifest.json").read_text())
    for graph in raw["graphs"]:
        if graph["form"].startswith("onnx"):
            (copy / graph["file"]).write_bytes(b"not an ONNX file")
            graph["sha256"] = sha256_of(copy / graph["file"])
    (copy / "manifest.json").write_text(json.dumps(raw))
    for backend in ("openvino", "onnxruntime"):
        refused(copy, rf"{backend} cannot load it \(.*\); rebuild it with the installed versions$", backend=backend)


def test_a_graph_of_another_model_is_one_line(copy: Path) -> None:
    """The files are whole and unchanged, the manifest is another model's: the first blank image shows it."""
    edit(copy, {"embedding_dim": 7})
    refused(copy, r"^expected vectors of shape \(1, 7\) from openvino int8, as its manifest says, got \(1, \d+\)")
    edit(copy, {"height_px": 63})
    for backend in ("openvino", "onnxruntime"):
        refused(copy, rf"{backend} cannot load it \(.*\); rebuild it with the installed versions$", backend=backend)
