"""The graphs of an engine folder while it is built: read, written beside each other, listed in the manifest."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from engines.atomic import atomic_path
from engines.manifest import Graph, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import onnx

    from engines.manifest import Form, Manifest, Modality, Precision
    from train.datasets.images import ImageRecord

SUFFIX: dict[Form, str] = {
    "onnx": ".onnx",
    "onnx-typed": ".typed.onnx",
    "onnx-opset17": ".opset17.onnx",
    "onnx-uint8": ".uint8.onnx",
}


def fp32_files(manifest: Manifest) -> dict[str, list[Modality]]:
    """Map the stem of each FP32 ONNX file (model, visible, infrared) to the modalities that it embeds."""
    files: dict[str, list[Modality]] = {}
    for graph in manifest.graphs:
        if (graph.precision, graph.form) == ("fp32", "onnx"):
            files.setdefault(graph.file.split(".")[0], []).append(graph.modality)
    return files


def file_name(stem: str, precision: Precision, form: Form) -> str:
    return f"{stem}.{precision}{SUFFIX[form]}"


def read_graph(folder: Path, stem: str, precision: Precision = "fp32", form: Form = "onnx") -> onnx.ModelProto:
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString((folder / file_name(stem, precision, form)).read_bytes())
    return model


def write_graphs(
    folder: Path, manifest: Manifest, precision: Precision, form: Form, models: Mapping[str, onnx.ModelProto]
) -> Manifest:
    """Write a model for each stem and return the saved manifest, in which they take the place of older ones."""
    graphs = [graph for graph in manifest.graphs if (graph.precision, graph.form) != (precision, form)]
    for stem, modalities in fp32_files(manifest).items():
        path = folder / file_name(stem, precision, form)
        with atomic_path(path) as temporary:
            temporary.write_bytes(models[stem].SerializeToString())
        digest = sha256_of(path)
        graphs += [
            Graph(file=path.name, sha256=digest, modality=modality, precision=precision, form=form)
            for modality in modalities
        ]
    result = dataclasses.replace(manifest, graphs=tuple(graphs))
    result.save(folder)
    return result


def of_modalities(stem_modalities: Iterable[Modality], records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Return the images that a graph of these modalities will see."""
    wanted = set(stem_modalities)
    return [record for record in records if record.modality in wanted]
