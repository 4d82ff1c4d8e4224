"""Copies of an engine folder that a test may spoil: its files are hard links until they are replaced."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from deploy.parity.reference import REFERENCE_NAME, write_reference
from engines.manifest import MANIFEST_NAME, load_manifest, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from engines.manifest import Form, Modality, Precision
    from train.datasets.images import ImageRecord


def engine_copy(
    source: Path, target: Path, data: Path, records: Sequence[ImageRecord], reference_ND: NDArray[np.float32]
) -> Path:
    """Copy a folder and write the reference of these images into it."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in {MANIFEST_NAME, REFERENCE_NAME}:
            os.link(path, target / path.name)
    manifest = load_manifest(source)
    manifest.save(target)
    digest = write_reference(target, data, records, reference_ND, split="val")
    dataclasses.replace(manifest, reference={"file": REFERENCE_NAME, "sha256": digest}).save(target)
    return target


def change_graph(
    folder: Path,
    change: Callable[[onnx.ModelProto], None],
    modality: Modality,
    precision: Precision,
    form: Form = "onnx",
) -> None:
    """Change one ONNX file and have the manifest take it for right."""
    import onnx

    manifest = load_manifest(folder)
    graph = manifest.find(modality, precision, form)
    assert graph is not None
    path = folder / graph.file
    model = onnx.load(str(path))
    change(model)
    path.unlink()  # the link, not the file that other tests read
    path.write_bytes(model.SerializeToString())
    graphs = tuple(
        dataclasses.replace(item, sha256=sha256_of(path)) if item.file == graph.file else item
        for item in manifest.graphs
    )
    dataclasses.replace(manifest, graphs=graphs).save(folder)


def change_constant(model: onnx.ModelProto, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Replace an initializer by change of it."""
    from onnx import numpy_helper

    for item in model.graph.initializer:
        if item.name == name:
            item.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(item)), name))
            return
    raise AssertionError(f"no constant {name}")
