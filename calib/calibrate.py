"""Calibrate one exported FP32 graph: run it over images once, give a table for each way to choose ranges."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from calib.implicit import implicit_tensors
from calib.placement import place
from calib.ranges import RANGE_METHODS, measure
from calib.samples import CALIBRATION_BATCH, images_sha256, pixel_batches
from calib.table import CalibrationTable
from calib.uint8 import place_uint8
from engines.manifest import sha256_of
from engines.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx

    from calib.ranges import RangeMethod
    from train.datasets.images import ImageRecord


def calibrate(
    onnx_path: Path,
    records: Sequence[ImageRecord],
    height_px: int,
    width_px: int,
    *,
    threads: int | None = None,
    implicit: bool = False,
) -> dict[RangeMethod, CalibrationTable]:
    """Return a table for each range method, from one pass over the images.

    implicit: measure every tensor that TensorRT wants a range for where there are no Q/DQ pairs (a DLA up to 10.x).
    """
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(onnx_path.read_bytes())
    batches = progress(
        pixel_batches(records, height_px, width_px),
        total=-(-len(records) // CALIBRATION_BATCH),
        unit="batches",
        label="calibrate",
    )
    histograms = measure(model, measured_tensors(model, implicit=implicit), batches, threads=threads)
    graph, images, names = sha256_of(onnx_path), images_sha256(records), list_sha256(records)
    return {
        method: CalibrationTable(
            graph_sha256=graph,
            range_method=method,
            images=len(records),
            images_sha256=images,
            list_sha256=names,
            amax={name: histogram.amax(method) for name, histogram in histograms.items()},
            lowest={name: histogram.lowest for name, histogram in histograms.items()},
        )
        for method in RANGE_METHODS
    }


def measured_tensors(model: onnx.ModelProto, *, implicit: bool = False) -> tuple[str, ...]:
    """List what the forms of a graph need ranges of: the symmetric one, the uint8 one and, if asked, the implicit."""
    names = {*place(model).measured, *place_uint8(model).measured}
    return tuple(sorted(names.union(implicit_tensors(model)) if implicit else names))


def list_sha256(records: Sequence[ImageRecord]) -> str:
    """Hash which images were taken, in their order: the same for the same list over changed files."""
    names = (f"cam{record.camera}/{record.identity:04d}/{record.path.name}\n" for record in records)
    return hashlib.sha256("".join(names).encode()).hexdigest()
