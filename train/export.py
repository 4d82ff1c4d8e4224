"""Export a method: pixels in, unit vectors out, as ONNX and as the PyTorch program that ONNX is measured against.

Shapes: B batch, C channel, H height, W width, D embedding.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from engines.atomic import atomic_path
from engines.manifest import MODALITIES, Graph, Manifest, sha256_of
from engines.provenance import git_revision, tool_versions, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import onnx
    from torch.export import ExportedProgram

    from engines.manifest import Form, Modality
    from train.method import Method

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
OPSET = 19  # what every reader here takes; TensorRT 8.x needs 17, which calib can convert to
INPUT, OUTPUT = "pixels", "embedding"
EXPORT_TOOLS = ("torch", "onnx", "onnxscript")


class PixelsToEmbedding(nn.Module):
    """What ships: uint8 RGB (B, H, W, 3) to float32 (B, D) of unit length, for one modality."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, method: Method, modality: Modality) -> None:
        super().__init__()
        self.method = method
        self.modality: Modality = modality
        self.register_buffer("mean_C11", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std_C11", torch.tensor(IMAGENET_STD).view(3, 1, 1))

    def forward(self, image_BHWC: Tensor) -> Tensor:
        # Cast before anything else: TensorRT takes uint8 as an input type and for nothing but a cast.
        image_BCHW = image_BHWC.float().permute(0, 3, 1, 2) / 255.0
        normal_BCHW = (image_BCHW - self.mean_C11) / self.std_C11
        return normalize(self.method.embed(normal_BCHW, self.modality).float(), dim=1)


def export_model(
    method: Method,
    folder: Path,
    *,
    dataset: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write the ONNX graphs, the PyTorch programs and, last, the manifest into folder.

    A single-stream method has one graph, listed for both modalities; others have one graph a modality.
    """
    frozen = copy.deepcopy(method).cpu().float().eval()  # the caller's method keeps its device and mode
    revision = git_revision()
    graphs: list[Graph] = []
    for modality in MODALITIES[:1] if method.single_stream else MODALITIES:
        covered = MODALITIES if method.single_stream else (modality,)
        program = trace(frozen, modality)
        model = to_onnx(program)
        describe(model, method, covered, revision)
        stem = "model" if method.single_stream else modality
        files: list[tuple[Form, Path]] = [
            ("onnx", folder / f"{stem}.fp32.onnx"),
            ("torch", folder / f"{stem}.fp32.pt2"),
        ]
        with atomic_path(files[0][1]) as temporary:
            temporary.write_bytes(model.SerializeToString())
        with atomic_path(files[1][1]) as temporary, _quiet_exporter():
            torch.export.save(program, temporary)
        for form, path in files:
            digest = sha256_of(path)
            graphs += [
                Graph(file=path.name, sha256=digest, modality=name, precision="fp32", form=form) for name in covered
            ]
    manifest = Manifest(
        method=method.name,
        height_px=method.recipe.height_px,
        width_px=method.recipe.width_px,
        embedding_dim=method.embedding_dim,
        graphs=tuple(graphs),
        recipe=json.loads(json.dumps(dataclasses.asdict(method.recipe))),
        dataset=dict(dataset or {}),
        metrics=dict(metrics or {}),
        tools=tool_versions(EXPORT_TOOLS),
        git_revision=revision,
        created=utc_now(),
    )
    manifest.save(folder)
    return manifest


def trace(method: Method, modality: Modality) -> ExportedProgram:
    """Trace one modality with a free batch size."""
    recipe = method.recipe
    # Two images: torch.export would take a batch of 1 for a constant.
    example_BHWC = torch.zeros((2, recipe.height_px, recipe.width_px, 3), dtype=torch.uint8)
    with _quiet_exporter():
        return torch.export.export(
            PixelsToEmbedding(method, modality).eval(),
            (example_BHWC,),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )


def to_onnx(program: ExportedProgram) -> onnx.ModelProto:
    """Convert a traced program; the exporter's optimiser folds BatchNorm into the convolution before it."""
    with _quiet_exporter():
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
        )
    assert exported is not None  # with dynamo=True the exporter returns a program or raises
    model = exported.model_proto
    _name_batch(model)
    return model


def describe(model: onnx.ModelProto, method: Method, modalities: tuple[Modality, ...], revision: str) -> None:
    """Write into the file what it is, so that it explains itself away from its manifest."""
    facts = {
        "method": method.name,
        "recipe": json.dumps(dataclasses.asdict(method.recipe)),
        "modality": ",".join(modalities),
        "input": f"{INPUT}: uint8 RGB (batch, {method.recipe.height_px}, {method.recipe.width_px}, 3)",
        "output": f"{OUTPUT}: float32 (batch, {method.embedding_dim}), unit length",
        "git_revision": revision,
    }
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the batch dimension "batch" in place of the tracer's symbol, such as "s77"."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says of itself: nothing in it is ours to act on."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)  # 15 lines a graph on their own passes, and that torchvision is not installed
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own deprecated LeafSpec while it decomposes a program.
            warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
