"""The contract of an engine folder: all that a device must know of a model, as JSON.

A folder holds `manifest.json` and the files it names. Every file's SHA-256 stands in the manifest and is checked
before a byte of the file is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from engines.atomic import write_text
from engines.errors import BadInput
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Modality = Literal["visible", "infrared"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# onnx: opset 19, FP32 but for the Q/DQ pairs; OpenVINO, ONNX Runtime and every TensorRT from 10 on take it.
# onnx-typed: the types in the graph are the precision (FP16, and INT8 with FP16 between); strongly typed builders.
# onnx-opset17: as onnx, for TensorRT 8.x. onnx-uint8: INT8 as ONNX Runtime's CPU kernels want it (uint8 activations).
# torch: the exported program. tensorrt, tensorrt-rtx: plans.
Form = Literal["onnx", "onnx-typed", "onnx-opset17", "onnx-uint8", "torch", "tensorrt", "tensorrt-rtx"]
FORMS: tuple[Form, ...] = get_args(Form)

MANIFEST_NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One file that embeds one modality: `form` says which runtimes read it."""

    file: str
    sha256: str
    modality: Modality
    precision: Precision
    form: Form
    target: str = ""  # for plans: engines.plan_target.PlanTarget as text, such as "tensorrt 10.3.0 SM87 batch=1/8/32"

    def __post_init__(self) -> None:
        _expect(self, str, [item.name for item in dataclasses.fields(self)])
        for value, allowed in (
            (self.modality, MODALITIES),
            (self.precision, PRECISIONS),
            (self.form, FORMS),
        ):
            if value not in allowed:
                raise BadInput(f"manifest: expected one of {', '.join(allowed)}, got {value!r}")
        if "/" in self.file or "\\" in self.file or self.file in {"", ".", ".."}:
            raise BadInput(f"manifest: expected a file name inside the engine folder, got {self.file!r}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a model is, what it takes and gives, and how it came to be.

    Input: uint8 RGB, (B, height_px, width_px, 3), resized by engines.preprocess. Output: float32 (B, embedding_dim),
    unit length, so that a dot product is the cosine.
    """

    method: str
    height_px: int
    width_px: int
    embedding_dim: int
    graphs: tuple[Graph, ...]
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    dataset: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    calibration: dict[str, Any] = field(default_factory=dict[str, Any])
    parity: dict[str, Any] = field(default_factory=dict[str, Any])
    reference: dict[str, str] = field(default_factory=dict[str, str])  # file and sha256 of the embeddings of PyTorch
    matching: dict[str, Any] = field(default_factory=dict[str, Any])  # threshold (cosine) and its false_match_rate
    tools: dict[str, str] = field(default_factory=dict[str, str])
    git_revision: str = "unknown"
    created: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if (type(self.format), self.format) != (int, FORMAT):  # True and 1.0 are 1 too
            raise BadInput(
                f"manifest: expected format {FORMAT}, got {self.format!r}; rebuild with deploy/build_engine.py"
            )
        for name in ("height_px", "width_px", "embedding_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadInput(f"manifest: expected a positive integer for {name}, got {value!r}")
        _expect(self, str, ("method", "git_revision", "created"))
        _expect(self, dict, ("recipe", "dataset", "metrics", "calibration", "parity", "matching", "reference", "tools"))
        for name in ("reference", "tools"):
            if not all(isinstance(value, str) for value in getattr(self, name).values()):
                raise BadInput(f"manifest: expected texts in {name}, got {getattr(self, name)!r}; rebuild the engine")
        if not self.graphs:
            raise BadInput("manifest: expected at least one graph, got none; rebuild with deploy/build_engine.py")

    def find(self, modality: Modality, precision: Precision, form: Form) -> Graph | None:
        """Return the graph for these three, or None."""
        for graph in self.graphs:
            if (graph.modality, graph.precision, graph.form) == (modality, precision, form):
                return graph
        return None

    def save(self, folder: Path) -> None:
        """Write manifest.json into folder, atomically."""
        write_text(folder / MANIFEST_NAME, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def load_manifest(folder: Path) -> Manifest:
    """Read and check folder's manifest; every defect is one line that names the field."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise BadInput(
            f"expected an engine folder with {MANIFEST_NAME}, got {folder}; build one with deploy/build_engine.py"
        )
    try:
        raw: object = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(f"{path}: expected a JSON object, got {error}; rebuild the engine") from error
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: expected a JSON object, got {type(raw).__name__}; rebuild the engine")
    fields = cast("dict[str, Any]", raw)
    listed: object = fields.pop("graphs", None)
    if not isinstance(listed, list):
        raise BadInput(f"{path}: expected a list for 'graphs', got {type(listed).__name__}")
    try:
        graphs = tuple(Graph(**graph) for graph in cast("list[dict[str, Any]]", listed))
        return Manifest(graphs=graphs, **fields)
    except TypeError as error:
        raise BadInput(f"{path}: a field is missing or unknown ({error}); rebuild the engine") from error


def _expect(record: Graph | Manifest, kind: type, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(record, name)
        if not isinstance(value, kind):
            what = "a text" if kind is str else "an object"
            raise BadInput(f"manifest: expected {what} for {name}, got {value!r}; rebuild the engine")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text, reading it in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def verified_path(folder: Path, graph: Graph) -> Path:
    """Return the path of graph's file after its SHA-256 was compared with the manifest's."""
    path = folder / graph.file
    if not path.is_file():
        raise BadInput(f"{folder}: the manifest names {graph.file}, which is missing; rebuild the engine")
    found = sha256_of(path)
    if found != graph.sha256:
        raise BadInput(
            f"{path}: SHA-256 is {found[:12]}..., the manifest says {graph.sha256[:12]}...; the file was changed or "
            "damaged: copy the folder again or rebuild it with deploy/build_engine.py"
        )
    return path
