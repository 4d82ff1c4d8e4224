"""Calibrate one exported FP32 graph: run it over images once, give a table for each way to choose ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calib.placement import place
from calib.ranges import RANGE_METHODS, measure
from calib.samples import CALIBRATION_BATCH, images_sha256, pixel_batches
from calib.table import CalibrationTable
from engines.manifest import sha256_of
from engines.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from calib.ranges import RangeMethod
    from train.datasets.images import ImageRecord


def calibrate(
    onnx_path: Path, records: Sequence[ImageRecord], height_px: int, width_px: int, *, threads: int | None = None
) -> dict[RangeMethod, CalibrationTable]:
    """Return a table for each range method, from one pass over the images."""
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(onnx_path.read_bytes())
    tensors = place(model).measured
    batches = progress(
        pixel_batches(records, height_px, width_px),
        total=-(-len(records) // CALIBRATION_BATCH),
        unit="batches",
        label="calibrate",
    )
    histograms = measure(model, tensors, batches, threads=threads)
    graph, images = sha256_of(onnx_path), images_sha256(records)
    return {
        method: CalibrationTable(
            graph_sha256=graph,
            range_method=method,
            images=len(records),
            images_sha256=images,
            amax={name: histogram.amax(method) for name, histogram in histograms.items()},
        )
        for method in RANGE_METHODS
    }
