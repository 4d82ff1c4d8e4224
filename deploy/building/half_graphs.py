"""Add the precision-typed graphs: FP16, and INT8 with FP16 between. Strongly typed builders take nothing else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from calib.half import to_half
from calib.half_ranges import measure_largest
from calib.samples import pixel_batches
from deploy.building.graphs import fp32_files, of_modalities, read_graph, write_graphs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx

    from engines.manifest import Manifest, Precision
    from train.datasets.images import ImageRecord

    Largest = dict[str, dict[str, float]]  # stem -> tensor -> largest magnitude

log = logging.getLogger(__name__)

RANGE_IMAGES = 128  # the check has headroom for what they did not show


def measure_graphs(folder: Path, manifest: Manifest, samples: Sequence[ImageRecord]) -> Largest:
    """Measure every tensor of the FP32 graphs on the calibration images."""
    found: Largest = {}
    for stem, modalities in fp32_files(manifest).items():
        used = of_modalities(modalities, samples)[:RANGE_IMAGES]
        batches = pixel_batches(used, manifest.height_px, manifest.width_px)
        found[stem] = measure_largest(read_graph(folder, stem), batches)
    return found


def add_fp16(folder: Path, manifest: Manifest, largest: Largest) -> tuple[Manifest, dict[str, Any]]:
    """Write the FP16 graphs; return the saved manifest and which nodes stay FP32, with the reason."""
    models = {stem: read_graph(folder, stem) for stem in fp32_files(manifest)}
    return _add(folder, manifest, "fp16", models, largest)


def add_typed_int8(
    folder: Path, manifest: Manifest, models: Mapping[str, onnx.ModelProto], largest: Largest
) -> tuple[Manifest, dict[str, Any]]:
    """Write the INT8 graphs with FP16 between; the layers that stay out of INT8 become FP16."""
    return _add(folder, manifest, "int8", models, largest)


def _add(
    folder: Path, manifest: Manifest, precision: Precision, models: Mapping[str, onnx.ModelProto], largest: Largest
) -> tuple[Manifest, dict[str, Any]]:
    halves = {stem: to_half(model, largest[stem]) for stem, model in models.items()}
    for stem, half in halves.items():
        log.info("%s %s typed: %d nodes stay FP32", stem, precision, len(half.kept))
    written = write_graphs(
        folder, manifest, precision, "onnx-typed", {stem: half.model for stem, half in halves.items()}
    )
    return written, {stem: half.kept for stem, half in halves.items()}
