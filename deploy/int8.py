"""Add the INT8 graphs to an engine folder, with the ranges that keep the matches."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from calib.calibrate import calibrate
from calib.quantize import quantize
from calib.ranges import RANGE_METHODS
from engines.atomic import atomic_path
from engines.manifest import Graph, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from calib.drift import Drift
    from calib.ranges import RangeMethod
    from calib.table import CalibrationTable
    from engines.manifest import Manifest, Modality
    from train.datasets.images import ImageRecord

    Tables = dict[str, dict[RangeMethod, CalibrationTable]]  # FP32 file -> its tables

log = logging.getLogger(__name__)


def add_int8(
    folder: Path,
    manifest: Manifest,
    samples: Sequence[ImageRecord],
    measure: Callable[[], dict[str, Drift]],
    broken: Callable[[dict[str, Drift]], list[str]],
) -> tuple[Manifest, dict[str, Drift]]:
    """Calibrate once, write the graphs with each range method until one keeps within the limits.

    Where none does, the one with the highest mean cosine stays. Returns the saved manifest and its drift.
    """
    tables = _calibrate(folder, manifest, samples)
    tried: dict[RangeMethod, dict[str, Drift]] = {}
    current = manifest
    for method in RANGE_METHODS:
        current = _write(folder, manifest, tables, method, len(samples))
        tried[method] = measure()
        if not broken(tried[method]):
            break
        log.info("ranges by %s are over the limits: %s", method, "; ".join(broken(tried[method])))
    else:
        best = max(tried, key=lambda method: min(drift.mean_cosine for drift in tried[method].values()))
        current = _write(folder, manifest, tables, best, len(samples))
        return current, tried[best]
    return current, tried[method]


def _calibrate(folder: Path, manifest: Manifest, samples: Sequence[ImageRecord]) -> Tables:
    tables: Tables = {}
    for file, modalities in _fp32_files(manifest).items():
        used = [record for record in samples if record.modality in modalities]
        log.info("calibrating %s on %d training images (%s)", file, len(used), " and ".join(sorted(modalities)))
        tables[file] = calibrate(folder / file, used, manifest.height_px, manifest.width_px)
    return tables


def _write(folder: Path, manifest: Manifest, tables: Tables, method: RangeMethod, images: int) -> Manifest:
    import onnx

    graphs: list[Graph] = []
    sources: dict[str, dict[str, str]] = {}
    for file, modalities in _fp32_files(manifest).items():
        table = tables[file][method]
        source = onnx.ModelProto()
        source.ParseFromString((folder / file).read_bytes())
        model = quantize(source, table.amax)
        model.metadata_props.add(key="calibration_images_sha256", value=table.images_sha256)
        int8_path, table_path = (
            folder / file.replace(".fp32.", ".int8."),
            folder / file.replace(".fp32.onnx", ".calibration.json"),
        )
        with atomic_path(int8_path) as temporary:
            temporary.write_bytes(model.SerializeToString())
        table.save(table_path)
        sources[table_path.name] = {"sha256": sha256_of(table_path), "images_sha256": table.images_sha256}
        digest = sha256_of(int8_path)
        graphs += [
            Graph(file=int8_path.name, sha256=digest, modality=modality, precision="int8", form="onnx")
            for modality in modalities
        ]
    calibration = {"images": images, "split": "train", "range_method": method, "tables": sources}
    result = dataclasses.replace(manifest, graphs=(*manifest.graphs, *graphs), calibration=calibration)
    result.save(folder)
    return result


def _fp32_files(manifest: Manifest) -> dict[str, list[Modality]]:
    """Map each FP32 ONNX file to the modalities that it embeds."""
    files: dict[str, list[Modality]] = {}
    for graph in manifest.graphs:
        if (graph.precision, graph.form) == ("fp32", "onnx"):
            files.setdefault(graph.file, []).append(graph.modality)
    return files
